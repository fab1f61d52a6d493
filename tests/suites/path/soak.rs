//! Another hand at the kernels of all nodes of a cluster, at random, agents killed among it: each time all is as it was.
//!
//! The seed is printed; `CARACAL_SOAK_SEED` plays one again, as far as a cluster does.

use std::time::Duration;

use anyhow::{Context, ensure};
use caracal_lab::show::Silent;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, Node, Sandbox, Topology, report};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::repair::ours;

/// How often the hand is lifted, for several edits each time.
const ROUNDS: u32 = 30;
/// A key that was fought over is left alone for 10 s at first, and twice as long each time after: the hand is quick.
const PATIENCE: Duration = Duration::from_secs(120);
/// What was there before us: none of it is ours to touch.
const FOREIGN: &[&str] = &[
    "ip route add blackhole 10.200.0.0/16 proto static",
    "ip -6 route add blackhole fd00:200::/48 proto static",
    "ip route add blackhole 10.201.0.0/16 table 77 proto 67",
    "ip rule add pref 100 from 10.201.0.0/16 lookup 77",
    "ip neigh add 172.31.255.254 lladdr 02:00:00:00:00:fe nud permanent dev lo",
    "nft add table inet somebody",
    "nft add chain inet somebody forward { type filter hook forward priority 10; policy accept; }",
];

/// What is ours on a node, rules as well.
async fn state(node: &Node) -> anyhow::Result<Vec<String>> {
    let mut all = ours(node).await?;
    let rules = node.netns().exec(&["nft", "-s", "list", "table", "inet", "caracal"]).await?;
    all.extend(rules.stdout.lines().map(str::to_owned));
    Ok(all)
}

/// What is not ours.
async fn foreign(node: &Node) -> anyhow::Result<String> {
    let listings = "ip route show proto static; ip -6 route show proto static; ip route show table 77; ip rule show; \
                    ip neigh show dev lo nud permanent; nft -s list table inet somebody";
    node.netns().exec(&["sh", "-c", listings]).await?.success()
}

/// One thing that another hand may do to a node. Some of it is impossible at the moment, which is the hand's own affair.
fn edit(dice: &mut StdRng, routes: &[String], devices: &[&str]) -> anyhow::Result<String> {
    let route = routes.choose(dice).map_or("", String::as_str);
    let device = devices.choose(dice).context("no pods on the node")?;
    let number = dice.random_range(0..=255_u8);
    let (four, six) = ("ip -4", "ip -6");
    let family = if route.contains(':') { six } else { four };
    Ok(match dice.random_range(0..17) {
        0 | 1 => format!("{family} route del {route}"),
        2 => format!("{family} route replace prohibit {route} proto 67"),
        3 => format!("{four} route flush proto 67"),
        4 => format!("{six} route flush proto 67"),
        5 => "ip neigh flush nud permanent dev vxlan.caracal".to_owned(),
        6 => format!("ip link set {device} down; ip link set {device} up"),
        7 => "ip link set vxlan.caracal down".to_owned(),
        8 => format!("ip link set vxlan.caracal mtu {}", 1280 + u32::from(number)),
        9 => "ip link del vxlan.caracal".to_owned(),
        10 => "ip addr flush dev vxlan.caracal".to_owned(),
        11 => "bridge fdb flush dev vxlan.caracal".to_owned(),
        12 => "nft delete table inet caracal".to_owned(),
        13 => "nft flush table inet caracal".to_owned(),
        14 => format!("ip route add blackhole 10.77.{number}.0/24 proto 67"),
        15 => "echo 0 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv6/conf/all/forwarding"
            .to_owned(),
        _ => format!(
            "cd /proc/sys/net; echo 0 > ipv4/conf/{device}/proxy_arp; echo 2 > ipv4/conf/{device}/rp_filter; \
             echo 0 > ipv6/conf/{device}/proxy_ndp"
        ),
    })
}

/// The host's ends of a node's pods.
fn devices<'a>(lab: &'a Lab, node: &Node) -> anyhow::Result<Vec<&'a str>> {
    lab.pods().iter().filter(|pod| pod.node() == node.name()).map(|pod| pod.host_device()).collect()
}

/// The routes under our mark, as `ip route` names them, without what it says behind `proto`.
async fn marked(node: &Node) -> anyhow::Result<Vec<String>> {
    let text = node
        .netns()
        .exec(&["sh", "-c", "ip -4 route show proto 67; ip -6 route show proto 67"])
        .await?
        .success()?;
    let prefix = |line: &str| {
        let mut words = line.split_whitespace().skip_while(|word| *word == "blackhole");
        words.next().map(str::to_owned)
    };
    Ok(text.lines().filter_map(prefix).collect())
}

pub(crate) async fn whatever_another_hand_does_at_random_all_nodes_end_as_they_were(
    sandbox: Sandbox,
) -> anyhow::Result<()> {
    let seed = std::env::var("CARACAL_SOAK_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    println!("CARACAL_SOAK_SEED={seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let lab = Lab::up(sandbox, Topology::racks_of_nodes(2, 4, 2), &Silent).await?;
    let mut before = Vec::new();
    for node in lab.nodes() {
        for line in FOREIGN {
            node.netns().exec(&["sh", "-c", &line.replace("{", "'{").replace("}", "}'")]).await?.success()?;
        }
        let state = state(node).await?;
        ensure!(state.iter().any(|line| line.contains("vxlan.caracal")), "no tunnel is in use: {state:#?}");
        ensure!(state.iter().any(|line| line.contains("chain ")), "there are no rules: {state:#?}");
        before.push((state, foreign(node).await?));
    }
    for round in 1..=ROUNDS {
        let mut hand = Vec::new();
        for node in lab.nodes() {
            for _ in 0..dice.random_range(0..4) {
                let edit = edit(&mut dice, &marked(node).await?, &devices(&lab, node)?)?;
                node.netns().exec(&["sh", "-c", &edit]).await?;
                hand.push(format!("{}: {edit}", node.name()));
            }
        }
        // Every fourth time an agent dies beside it, and finds what the hand has left when it is back.
        if round % 4 == 0 {
            let node = lab.nodes().choose(&mut dice).context("no nodes")?;
            node.agent().kill().await?;
            let edit = edit(&mut dice, &marked(node).await?, &devices(&lab, node)?)?;
            node.netns().exec(&["sh", "-c", &edit]).await?;
            node.agent().start().await?;
            hand.push(format!("{}: the agent killed, then {edit}", node.name()));
        }
        for (node, (state, _)) in lab.nodes().iter().zip(&before) {
            as_before(node, state)
                .await
                .with_context(|| format!("{} in round {round} after {hand:#?}", node.name()))?;
        }
    }
    for (node, (_, others)) in lab.nodes().iter().zip(&before) {
        let now = foreign(node).await?;
        ensure!(now == *others, "{}: what was never ours has changed from\n{others}\nto\n{now}", node.name());
    }
    let lost: Vec<_> =
        report::ping_all(&lab).await?.into_iter().filter(|cell| cell.failure.is_some()).collect();
    ensure!(lost.is_empty(), "not answered: {lost:#?}");
    lab.down(&Silent).await
}

async fn as_before(node: &Node, before: &[String]) -> anyhow::Result<()> {
    wait::until(PATIENCE, "it is as it was", || async {
        let now = state(node).await?;
        let lacking: Vec<_> = before.iter().filter(|line| !now.contains(line)).collect();
        let more: Vec<_> = now.iter().filter(|line| !before.contains(line)).collect();
        if lacking.is_empty() && more.is_empty() {
            return Ok(());
        }
        Err(NotYet::because(format!("lacking {lacking:#?}, too much {more:#?}")))
    })
    .await
}
