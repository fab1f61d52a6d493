//! `cargo compare path`: what packets between pods of two nodes cost on caracal's path, beside the same path made by hand: the same
//! veths, tunnels and masquerading on the same segment, by `ip` and `nft` alone, and no agent.
//!
//! All of it is a lab's: two nodes of one rack with a pod each, and beside them two machines of ours. Both paths stand at the same
//! time, and packets go by them in turns. Programs of the product carry no packet, so what is measured is what they have put into
//! the kernel. IPv4 only.

mod devices;
mod hand;
mod load;

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use caracal_api::IpPool;
use caracal_lab::netns::Netns;
use caracal_lab::show::Silent;
use caracal_lab::topology::Encapsulation;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, Pod, Product, Sandbox, Side, Topology, sandbox};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::Path as Asked;
use crate::cpus::Cpus;
use crate::report::{OURS, Report, words};
use hand::{Hand, Rules};
use load::Connection;

/// The subject with all that caracal has the kernel do, and no caracal.
const SAME_RULES: &str = "by hand, same rules";
/// The subject that has the least of rules.
const BY_HAND: &str = "by hand, few rules";
/// For what follows a change of pools.
const SOON: Duration = Duration::from_secs(60);

/// How packets get from node to node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// As they are.
    Direct,
    /// In UDP.
    Vxlan,
    /// In IPv4.
    Ipip,
}

impl Way {
    const ALL: [Self; 3] = [Self::Direct, Self::Vxlan, Self::Ipip];

    fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Vxlan => "vxlan",
            Self::Ipip => "ipip",
        }
    }

    fn named(name: &str) -> anyhow::Result<Self> {
        let found = Self::ALL.into_iter().find(|way| way.name() == name);
        found.with_context(|| format!("`{name}` is no way: direct, vxlan and ipip are"))
    }

    /// The modes of a pool whose packets go so.
    fn modes(self) -> serde_json::Value {
        let mode = |of| if self == of { "Always" } else { "Never" };
        json!({"vxlanMode": mode(Self::Vxlan), "ipipMode": mode(Self::Ipip)})
    }

    /// The agent's device that they leave by.
    fn device(self) -> &'static str {
        match self {
            Self::Direct => "eth0",
            Self::Vxlan => "vxlan.caracal",
            Self::Ipip => "tunl0",
        }
    }
}

/// Measures what was asked for and prints it, in a sandbox of its own.
pub(crate) fn run(asked: &Asked) -> anyhow::Result<()> {
    let ways: Vec<Way> = asked.ways.iter().map(|name| Way::named(name)).collect::<Result<_, _>>()?;
    ensure!(!ways.is_empty(), "nothing is asked for");
    let name = format!("compare-path-{}", std::process::id());
    match sandbox::enter(&name, Product::find)? {
        Side::Outside(code) if code == std::process::ExitCode::SUCCESS => Ok(()),
        Side::Outside(_) => anyhow::bail!("it failed inside the lab"),
        Side::Inside(sandbox) => {
            let runtime = tokio::runtime::Runtime::new().context("starting tokio")?;
            runtime.block_on(inside(asked, &ways, sandbox))
        }
    }
}

/// One end of a path and the other.
struct Ends<'a> {
    from: &'a Netns,
    to: &'a Netns,
    at: IpAddr,
}

async fn inside(asked: &Asked, ways: &[Way], sandbox: Sandbox) -> anyhow::Result<()> {
    let cpus = Cpus::divide()?;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("asking for the kernel")?;
    println!("Linux {}; sender and receiver on a CPU each", kernel.trim());
    // Pods have room for any tunnel from the start, which is what an MTU is for.
    let topology = Topology { encapsulation: Encapsulation::Vxlan, ..Topology::one_rack(2, 1) };
    let lab = Lab::up(sandbox, topology, &Silent).await?;
    let [one, other] = lab.pods() else { anyhow::bail!("there are {} pods, not two", lab.pods().len()) };
    let mtu = devices::mtu(one.netns(), "eth0").await?;
    let segment = &lab.topology().racks[0].name;
    let hand = Hand::make(segment, mtu, 201).await?;
    let same = Hand::make(segment, mtu, 203).await?;
    hand.obey(&Rules::Masquerade).await?;
    let subjects = [
        (OURS, Ends { from: one.netns(), to: other.netns(), at: other.address(false)? }),
        (SAME_RULES, Ends { from: same.pod(0), to: same.pod(1), at: same.far_end().into() }),
        (BY_HAND, Ends { from: hand.pod(0), to: hand.pod(1), at: hand.far_end().into() }),
    ];
    let mut report = Report::default();
    for (case, way) in ways.iter().enumerate() {
        if *way == Way::Ipip && !hand.has_ipip().await? {
            println!("ipip is left out: this kernel has none; `cargo compare path --vm` takes one that has");
            continue;
        }
        lead(&lab, [one, other], *way).await?;
        let node = lab.node(one.node())?.netns();
        let table = rules(node).await?;
        same.obey(&Rules::Same(table.clone())).await?;
        same.lead(*way).await?;
        hand.lead(*way).await?;
        for line in devices::differences(&lab, one, &hand, *way).await? {
            println!("{}: {line}", way.name());
        }
        for round in 0..=asked.rounds {
            let mut turn: Vec<usize> = (0..subjects.len()).collect();
            // Who comes first may have it better.
            if round % 2 == 1 {
                turn.reverse();
            }
            for place in turn {
                let (subject, ends) = &subjects[place];
                let connection = Connection::open(ends.from, ends.to, ends.at).await;
                let connection = connection.with_context(|| format!("{subject}, {}", way.name()))?;
                let figures = connection.measure(&cpus, asked.seconds, asked.round_trips).await?;
                let name = if round == 0 { "to warm up".to_owned() } else { format!("round {round}") };
                println!("{name}, {}, {subject}: {}", way.name(), words(&figures));
                if round > 0 {
                    report.add((case, place), way.name(), subject, &figures);
                }
            }
        }
        ensure!(rules(node).await? == table, "caracal's rules changed while packets went {}", way.name());
    }
    report.finish(asked.json.as_deref())?;
    lab.down(&Silent).await
}

/// The agent's table, without what it counted.
async fn rules(node: &Netns) -> anyhow::Result<String> {
    node.exec(&["nft", "--stateless", "list", "table", "inet", "caracal"]).await?.success()
}

/// Has the pools ask for this way, and waits until packets between the pods go by it.
async fn lead(lab: &Lab, pods: [&Pod; 2], way: Way) -> anyhow::Result<()> {
    let api: Api<IpPool> = Api::all(lab.cluster().client());
    for pool in lab.topology().pools.iter().filter(|pool| pool.cidr.is_ipv4()) {
        let patch = Patch::Merge(json!({"spec": way.modes()}));
        let done = api.patch(&pool.name, &PatchParams::default(), &patch).await;
        done.with_context(|| format!("changing pool {}", pool.name))?;
    }
    let [one, other] = pods;
    for (from, to) in [(one, other), (other, one)] {
        let (node, to) = (lab.node(from.node())?.netns(), to.address(false)?);
        wait::until(SOON, &format!("{to} is behind {}", way.device()), || async {
            let route = node.exec(&["ip", "route", "get", &to.to_string()]).await?.success()?;
            let by = route.split_whitespace().any(|word| word == way.device());
            if by { Ok(()) } else { Err(NotYet::because(route)) }
        })
        .await?;
    }
    Ok(())
}
