//! Another hand at a node's kernel: what it undoes is there again within a second; what it keeps undoing is told and left.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use caracal_lab::show::Silent;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, Node, Sandbox, Topology};
use caracal_suites::condition::Condition;

const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(30);

/// The settings that a node and its pods cannot do without.
const SETTINGS: &str = "cd /proc/sys/net; for file in ipv4/ip_forward ipv6/conf/all/forwarding ipv[46]/conf/cali*/forwarding \
                        ipv4/conf/cali*/proxy_arp ipv6/conf/cali*/proxy_ndp ipv4/conf/cali*/rp_filter; do \
                        echo $file = $(cat $file); done";

/// All that is ours in a node's tables and settings, in an order of its own.
pub(crate) async fn ours(node: &Node) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    for words in [
        &["ip", "-4", "route", "show", "proto", "67"][..],
        &["ip", "-6", "route", "show", "proto", "67"],
        &["ip", "neigh", "show", "nud", "permanent"],
        &["bridge", "fdb", "show", "dev", "vxlan.caracal"],
        &["ip", "-o", "addr", "show", "dev", "vxlan.caracal"],
    ] {
        let text = node.netns().exec(words).await?.success()?;
        let addresses = words.contains(&"addr");
        all.extend(text.lines().map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            // Of an address its number, its device and itself are told first; the number changes with the device, and how it
            // came there does not matter.
            let counted = if addresses { words.get(1..4).unwrap_or_default() } else { &words[..] };
            counted.join(" ")
        }));
    }
    let settings = node.netns().exec(&["sh", "-c", SETTINGS]).await?.success()?;
    all.extend(settings.lines().map(str::to_owned));
    all.sort();
    Ok(all)
}

pub(crate) async fn what_other_hands_do_to_a_node_is_undone_and_told(sandbox: Sandbox) -> anyhow::Result<()> {
    let lab = Lab::up(sandbox, Topology::racks_of_nodes(2, 2, 2), &Silent).await?;
    let node = lab.node("n1")?;
    let before = ours(node).await?;
    ensure!(before.len() > 8, "hardly anything is ours: {before:#?}");
    ensure!(before.iter().any(|line| line.contains("vxlan.caracal")), "no tunnel is in use: {before:#?}");
    let pod = lab.pods().iter().find(|pod| pod.node() == "n1").context("no pod on n1")?.host_device()?;
    for hand in [
        "ip -4 route flush proto 67",
        "ip -6 route flush proto 67",
        "ip neigh flush nud permanent",
        "ip link set vxlan.caracal down",
        "ip link set vxlan.caracal mtu 1300",
        "ip link del vxlan.caracal",
        "ip addr flush dev vxlan.caracal",
        "echo 0 > /proc/sys/net/ipv4/ip_forward",
        "echo 0 > /proc/sys/net/ipv6/conf/all/forwarding",
        "for device in /proc/sys/net/ipv4/conf/cali*; do echo 0 > $device/proxy_arp; echo 2 > $device/rp_filter; done",
        "for device in /proc/sys/net/ipv6/conf/cali*; do echo 0 > $device/proxy_ndp; done",
    ] {
        node.netns().exec(&["sh", "-c", hand]).await?.success().with_context(|| hand.to_owned())?;
        undone(node, &before, SECOND).await.with_context(|| format!("after `{hand}`"))?;
    }
    // What goes with a device comes back with it.
    for state in ["down", "up"] {
        node.netns().exec(&["ip", "link", "set", pod, state]).await?.success()?;
    }
    undone(node, &before, SECOND).await.with_context(|| format!("after {pod} was down"))?;

    // A hand that does not stop.
    let route = before.iter().find(|line| line.starts_with("blackhole 10.")).context("no blackhole")?.clone();
    let prefix = route.split_whitespace().nth(1).context("no prefix")?.to_owned();
    let contended = wait::until(SOON, "the contest is told", || async {
        node.netns().exec(&["ip", "route", "del", "blackhole", &prefix, "proto", "67"]).await?;
        Ok(Condition::of(node, "RoutesProgrammed").await?.because("RouteContended")?)
    });
    let said = contended.await?.message;
    if !said.contains(&prefix) || !said.contains("another program") {
        bail!("it says: {said}");
    }
    lab.down(&Silent).await
}

async fn undone(node: &Node, before: &[String], within: Duration) -> anyhow::Result<()> {
    wait::until(within, "it is as it was", || async {
        let now = ours(node).await?;
        if now == before {
            return Ok(());
        }
        let lacking: Vec<_> = before.iter().filter(|line| !now.contains(line)).collect();
        let more: Vec<_> = now.iter().filter(|line| !before.contains(line)).collect();
        Err(NotYet::because(format!("lacking {lacking:#?}, too much {more:#?}")))
    })
    .await
}
