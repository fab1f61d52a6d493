//! A rack: one Ethernet segment, a bridge in the fabric's namespace (that of process 1). The fabric itself has an
//! address in it: the machines' gateway, and a place outside the cluster to look from.

use std::fmt::Write as _;

use ipnetwork::IpNetwork;

use crate::command;
use crate::topology::{GATEWAY, RackPlan};

/// A bridge, up and addressed.
#[derive(Debug)]
pub struct Rack {
    plan: RackPlan,
}

impl Rack {
    /// Makes the bridge.
    pub(crate) async fn make(plan: &RackPlan) -> anyhow::Result<Self> {
        let name = &plan.name;
        let mut lines = String::from("link set lo up\n");
        // Snooping needs a querier, and there is none: without it groups would be pruned now and then.
        writeln!(lines, "link add {name} type bridge mcast_snooping 0")?;
        writeln!(lines, "link set {name} addrgenmode none")?;
        writeln!(lines, "link set {name} up")?;
        writeln!(lines, "address add fe80::{GATEWAY}/64 dev {name} nodad")?;
        for address in plan.addresses(GATEWAY) {
            writeln!(lines, "address add {address} dev {name}{}", nodad(&address))?;
        }
        command::ip_batch(None, &lines).await?;
        Ok(Self { plan: plan.clone() })
    }

    /// What it was made from.
    pub fn plan(&self) -> &RackPlan {
        &self.plan
    }

    /// Cables a namespace to the rack: `port` on the bridge, `device` inside with its addresses and default routes.
    pub(crate) async fn plug(
        &self,
        netns: &str,
        device: &str,
        addresses: &[IpNetwork; 2],
    ) -> anyhow::Result<()> {
        let rack = &self.plan.name;
        let cable = format!(
            "link add {netns} type veth peer name {device} netns {netns}\nlink set {netns} master {rack} up\n"
        );
        command::ip_batch(None, &cable).await?;
        // A link-local address that the kernel derives is tentative for a second or two, and until then the machine
        // cannot ask for its neighbours: a pod's first packets would be lost on a lab that is up sooner.
        let [v4, _] = addresses;
        let host = v4.ip().to_string();
        let host = host.rsplit('.').next().unwrap_or_default();
        let mut inside = format!("link set {device} addrgenmode none\nlink set {device} up\n");
        writeln!(inside, "address add fe80::{host}/64 dev {device} nodad")?;
        for address in addresses {
            writeln!(inside, "address add {address} dev {device}{}", nodad(address))?;
        }
        for gateway in self.plan.hosts(GATEWAY) {
            writeln!(inside, "route add default via {gateway} dev {device}")?;
        }
        command::ip_batch(Some(netns), &inside).await
    }
}

/// Static addresses of a lab are used at once: nobody else can have them.
fn nodad(address: &IpNetwork) -> &'static str {
    if address.is_ipv6() { " nodad" } else { "" }
}
