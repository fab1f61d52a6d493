//! Sandboxes that start and stop while runtime and agent come and go.

use anyhow::{Context, ensure};
use caracal_lab::Sandbox;
use caracal_lab::report;
use caracal_lab::show::Silent;

use crate::image;
use crate::podman::Podman;
use crate::world::{self, Pod, SOON, reach_each_other};

pub(crate) async fn sandboxes_come_and_go_through_the_cri(sandbox: Sandbox) -> anyhow::Result<()> {
    let lab = world::lab(sandbox).await?;
    let hosts = world::hosts(&lab).await?;
    let [one, two] = hosts.as_slice() else { anyhow::bail!("two nodes were asked for") };
    let (first, second) = (one.run(&lab, "first").await?, two.run(&lab, "second").await?);
    let blocks = report::blocks(lab.cluster()).await?;
    for (host, pod) in [(one, &first), (two, &second)] {
        for address in &pod.sandbox.addresses {
            let own =
                |block: &&report::Block| block.owner == host.node.name() && block.cidr.contains(*address);
            ensure!(
                blocks.iter().any(|block| own(&block)),
                "{address} is in no block of its node: {blocks:?}"
            );
        }
    }
    reach_each_other(one, &first, two, &second).await?;

    // Without a kubelet or any pod in the API: containerd's own client calls the plugin for a container.
    let script = format!("ip -4 address show dev eth0; ping -c 1 -W 5 {}", v4(&second)?);
    let words = [
        "run",
        "--rm",
        "--cni",
        "--snapshotter",
        "native",
        image::SANDBOX,
        "plain",
        "/bin/sh",
        "-c",
        script.as_str(),
    ];
    let said = one.containerd.ctr(one.node, &words).await.context("ctr run --cni")?;
    ensure!(said.contains("/32 scope global eth0") && said.contains(" 0% packet loss"), "{said}");

    // Another runtime, which knows nothing of Kubernetes at all, and shares the node with the first.
    let podman = Podman::install(one.node, &one.archive).await.context("podman")?;
    let said = podman.script(one.node, "lonely", &script).await.context("podman run --network")?;
    ensure!(said.contains("/32 scope global eth0") && said.contains(" 0% packet loss"), "{said}");

    one.remove(&lab, &first).await?;
    two.remove(&lab, &second).await?;
    one.is_bare().await?;
    two.is_bare().await?;
    drop(hosts);
    lab.down(&Silent).await
}

pub(crate) async fn restarts_of_runtime_and_agent_lose_nothing_and_leak_nothing(
    sandbox: Sandbox,
) -> anyhow::Result<()> {
    let lab = world::lab(sandbox).await?;
    let mut hosts = world::hosts(&lab).await?;
    let [one, two] = hosts.as_mut_slice() else { anyhow::bail!("two nodes were asked for") };
    let (kept, far) = (one.run(&lab, "kept").await?, two.run(&lab, "far").await?);
    let gone = one.run(&lab, "gone").await?;

    // Both at once: the sandboxes live on, with what they had.
    one.containerd.kill().await?;
    one.node.agent().kill().await?;
    one.node.agent().start().await?;
    one.containerd.start(one.node).await?;
    one.agent_answers().await?;
    lab.sessions_established(SOON).await?;
    let again = one.containerd.cri().await?.status(&kept.id).await?;
    ensure!(again == kept.sandbox, "before: {:?}, after: {again:?}", kept.sandbox);
    reach_each_other(one, &kept, two, &far).await?;

    // Without an agent a sandbox can be stopped; its addresses come back with the agent.
    one.node.agent().kill().await?;
    one.remove(&lab, &gone).await?;
    let links = one.node.netns().links().await?;
    let devices = links.iter().filter(|link| link.ifname.starts_with("cali")).count();
    ensure!(devices == 1, "{devices} devices of pods, and one pod is left");
    // Nor is a sandbox refused that is wanted meanwhile: it waits for the agent.
    let (late, started) = tokio::join!(one.run(&lab, "late"), one.node.agent().start());
    started?;
    let late = late.context("a sandbox that was asked for before the agent was back")?;
    for address in &late.sandbox.addresses {
        ensure!(!gone.sandbox.addresses.contains(address), "{address} was given out again at once");
    }

    // The runtime dies between two steps of a pod's end.
    one.containerd.cri().await?.stop(&late.id).await?;
    one.containerd.kill().await?;
    one.containerd.start(one.node).await?;
    one.remove(&lab, &late).await?;
    one.remove(&lab, &kept).await?;
    two.remove(&lab, &far).await?;
    one.is_bare().await?;
    two.is_bare().await?;
    drop(hosts);
    lab.down(&Silent).await
}

fn v4(pod: &Pod) -> anyhow::Result<std::net::IpAddr> {
    let found = pod.sandbox.addresses.iter().find(|address| address.is_ipv4());
    found.copied().context("a pod without an IPv4 address")
}
