//! How packets get from rack to rack: what the topology asks for, made concrete for the kernel at hand.

use anyhow::bail;
use serde::Serialize;
use tokio::process::Command;

use crate::command;
use crate::topology::{Encapsulation, Families, Topology, Tunnel};

/// The tunnel of each family's pools, for packets that leave their subnet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tunnels {
    /// For IPv4 pools.
    pub v4: Option<Tunnel>,
    /// For IPv6 pools.
    pub v6: Option<Tunnel>,
    /// Why it is not what one might expect.
    pub notice: Option<String>,
}

impl Tunnels {
    /// The tunnel of a family.
    pub fn of(&self, v6: bool) -> Option<Tunnel> {
        if v6 { self.v6 } else { self.v4 }
    }

    /// In words, for the headline.
    pub fn in_short(&self) -> &'static str {
        match (self.v4, self.v6) {
            (None, None) => "no encapsulation",
            (Some(Tunnel::Ipip), Some(Tunnel::Vxlan)) => "IPIP (IPv4) and VXLAN (IPv6) across racks",
            (Some(Tunnel::Ipip), _) => "IPIP across racks",
            (Some(Tunnel::Vxlan), _) | (None, Some(_)) => "VXLAN across racks",
        }
    }
}

/// Which kinds of tunnel device a kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// `ipip`.
    pub ipip: bool,
    /// `vxlan`.
    pub vxlan: bool,
}

impl Kernel {
    /// Asks the kernel by making a device of each kind, in the sandbox; a module is loaded where that is allowed.
    pub(crate) async fn probe() -> anyhow::Result<Self> {
        let ipip = has(&["ipip", "local", "127.0.0.1", "remote", "127.0.0.2"]).await?;
        let vxlan = has(&["vxlan", "id", "1", "dstport", "4789"]).await?;
        Ok(Self { ipip, vxlan })
    }
}

async fn has(kind: &[&str]) -> anyhow::Result<bool> {
    let mut add = Command::new("ip");
    add.args(["link", "add", "probe", "type"]).args(kind);
    if !command::run(&mut add).await?.status.success() {
        return Ok(false);
    }
    command::run(Command::new("ip").args(["link", "del", "probe"])).await?.success().map(|_| true)
}

/// Decides the tunnels.
pub(crate) fn decide(topology: &Topology, kernel: Kernel) -> anyhow::Result<Tunnels> {
    let crosses = topology.racks.len() > 1 && !topology.design.tells_routers();
    let (v4, v6) = (topology.families != Families::V6, topology.families != Families::V4);
    let (ipip, notice) = match topology.encapsulation {
        Encapsulation::Never => return Ok(Tunnels::default()),
        Encapsulation::Auto if !crosses => return Ok(Tunnels::default()),
        Encapsulation::Ipip if !kernel.ipip => bail!(
            "--encap ipip: this kernel has no `ipip` (CONFIG_NET_IPIP): load it with `modprobe ipip`, take `--encap \
             vxlan`, or run the lab on a kernel that has it with `cargo lab --vm`"
        ),
        Encapsulation::Auto if v4 && !kernel.ipip => (
            false,
            Some("this kernel has no `ipip`, so IPv4 crosses racks in VXLAN; `--vm` has a kernel with it"),
        ),
        Encapsulation::Auto | Encapsulation::Ipip => (true, None),
        Encapsulation::Vxlan => (false, None),
    };
    let needs_vxlan = v6 || !ipip;
    if needs_vxlan && !kernel.vxlan {
        bail!(
            "this kernel has no `vxlan` (CONFIG_VXLAN), and {} needs it between racks: load it with `modprobe vxlan`, \
             take `--tor`, where the routers know the pods, or run the lab with `cargo lab --vm`",
            if v6 { "IPv6" } else { "IPv4" }
        );
    }
    Ok(Tunnels {
        v4: v4.then_some(if ipip { Tunnel::Ipip } else { Tunnel::Vxlan }),
        v6: v6.then_some(Tunnel::Vxlan),
        notice: notice.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Design;

    const BOTH: Kernel = Kernel { ipip: true, vxlan: true };
    const NO_IPIP: Kernel = Kernel { ipip: false, vxlan: true };
    const NEITHER: Kernel = Kernel { ipip: false, vxlan: false };

    fn decided(encapsulation: Encapsulation, kernel: Kernel) -> Tunnels {
        decide(&Topology { encapsulation, ..Topology::default() }, kernel).unwrap()
    }

    #[test]
    fn auto_takes_ipip_where_the_kernel_has_it() {
        let tunnels = decided(Encapsulation::Auto, BOTH);
        assert_eq!((tunnels.v4, tunnels.v6, tunnels.notice), (Some(Tunnel::Ipip), Some(Tunnel::Vxlan), None));
    }

    #[test]
    fn auto_takes_vxlan_otherwise_and_says_why() {
        let tunnels = decided(Encapsulation::Auto, NO_IPIP);
        assert_eq!(tunnels.v4, Some(Tunnel::Vxlan));
        assert!(tunnels.notice.unwrap().contains("no `ipip`"));
        assert_eq!(decided(Encapsulation::Vxlan, NO_IPIP).notice, None, "it was asked for");
    }

    #[test]
    fn nothing_is_encapsulated_where_nothing_needs_it() {
        for topology in [Topology::one_rack(2, 2), Topology::default().with_design(Design::Tor)] {
            assert_eq!(decide(&topology, NEITHER).unwrap(), Tunnels::default());
        }
    }

    #[test]
    fn what_the_kernel_lacks_is_named_with_the_ways_out() {
        let asked = |encapsulation| Topology { encapsulation, ..Topology::default() };
        let words = decide(&asked(Encapsulation::Ipip), NO_IPIP).unwrap_err().to_string();
        assert!(words.contains("modprobe ipip") && words.contains("--vm"), "{words}");
        let words = decide(&asked(Encapsulation::Vxlan), NEITHER).unwrap_err().to_string();
        assert!(words.contains("modprobe vxlan") && words.contains("--tor"), "{words}");
    }
}
