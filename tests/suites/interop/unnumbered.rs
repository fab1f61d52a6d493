//! Peers by interface: no address is configured, and none but link-local ones is on the link. Routes of both families go
//! through the kernels of both ends.

use anyhow::{Context, ensure};
use caracal_lab::Sandbox;
use caracal_lab::command::ip_batch;
use caracal_lab::wait::{self, NotYet};

use crate::bfd;
use crate::frr::Frr;
use crate::link_local::{self, host, is_up, prefixes, reaches, tables};
use crate::peer::{BFD, SOON};
use crate::segment::{Host, Segment};
use crate::us::Us;

const ASES: [u32; 2] = [64601, 64602];
const DEVICE: &str = "e1";
const PASSWORD: &str = "between-us";

/// A `[[peer]]` by interface, the path to which is watched.
fn peer(device: &str) -> String {
    let keys = "as = \"external\"\nconnect-retry = 0.3\n";
    format!("[[peer]]\ninterface = \"{device}\"\n{keys}password = \"{PASSWORD}\"\n{}", bfd::table())
}

/// The two ends of the cable.
fn cable<'a>(here: &'a Host, there: &'a Host) -> [(&'a Host, &'a str, &'a str); 2] {
    [(here, DEVICE, "fe80::1"), (there, DEVICE, "fe80::2")]
}

async fn ip(host: &Host, line: &str) -> anyhow::Result<()> {
    ip_batch(Some(host.netns().name()), &format!("{line}\n")).await
}

/// Waits until the only peer waits with these words.
async fn waits(us: &Us, host: &Host, words: &str) -> anyhow::Result<()> {
    let said = |peer: &crate::us::Session| peer.last_error.as_ref().is_some_and(|said| said.contains(words));
    us.peers_when(host, |peers| peers.iter().all(|peer| !is_up(peer) && said(peer))).await.map(drop)
}

/// Routes go both ways, by nothing but link-local addresses.
async fn all_is_well(us: &Us, here: &Host) -> anyhow::Result<()> {
    let sessions = bfd::all(us, here, bfd::is_watched).await?;
    ensure!(sessions.len() == 1 && sessions[0].key == DEVICE, "{sessions:?}");
    ensure!(sessions[0].features.iter().any(|word| word == "extended-next-hop:ipv4"), "{sessions:?}");
    let beyond = |path: &crate::us::Path| path.best && path.next_hop.as_deref() == Some("fe80::2%e1");
    us.learns(here, &prefixes(2)[0], beyond).await?;
    reaches(here, 1, 2, "fe80::2", DEVICE).await
}

/// Two of us; the carrier goes and comes, the device goes and another comes, and neither kernel has a default route of it.
pub(crate) async fn with_ourselves(sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there) = (host(&segment, 1).await?, host(&segment, 2).await?);
    for host in [&here, &there] {
        // Whoever says that it is a default router is believed.
        accept_ra(host, 2).await?;
    }
    let us = Us::start(&here, ASES[0], &tables(1, &peer(DEVICE))).await?;
    waits(&us, &here, "waiting for device e1, which is not there").await?;
    segment.cable(cable(&here, &there)).await?;
    waits(&us, &here, "waiting for a router on device e1").await?;
    let they = Us::start(&there, ASES[1], &tables(2, &peer(DEVICE))).await?;
    all_is_well(&us, &here).await?;
    reaches(&there, 2, 1, "fe80::1", DEVICE).await?;

    ip(&there, "link set e1 down").await?;
    waits(&us, &here, "waiting for device e1, which has no carrier").await?;
    waits(&they, &there, "waiting for device e1, which is down").await?;
    us.loses(&here, &prefixes(2)[0]).await?;
    // IPv6 addresses go with a device that goes down.
    ip(&there, "link set e1 up\naddress add fe80::2/64 dev e1 nodad").await?;
    all_is_well(&us, &here).await?;

    ip(&here, "link del e1").await?;
    waits(&us, &here, "waiting for device e1, which is not there").await?;
    us.loses(&here, &prefixes(2)[1]).await?;
    segment.cable(cable(&here, &there)).await?;
    all_is_well(&us, &here).await?;
    no_default_route(&here).await?;
    no_default_route(&there).await
}

/// How devices that come believe router advertisements.
async fn accept_ra(host: &Host, how: u8) -> anyhow::Result<()> {
    let words = format!("echo {how} > /proc/sys/net/ipv6/conf/default/accept_ra");
    host.run(&["sh", "-c", &words]).await.map(drop)
}

/// A host has no default route of a router advertisement.
async fn no_default_route(host: &Host) -> anyhow::Result<()> {
    let text = host.run(&["ip", "-6", "route", "show", "default"]).await?;
    ensure!(text.trim().is_empty(), "a neighbour is a default router: {text}");
    Ok(())
}

/// FRR's own peers by interface, with a password.
pub(crate) async fn with_frr(sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there) = (host(&segment, 1).await?, host(&segment, 2).await?);
    // FRR says that it is a default router.
    accept_ra(&here, 0).await?;
    segment.cable(cable(&here, &there)).await?;
    let us = Us::start(&here, ASES[0], &tables(1, &peer(DEVICE))).await?;
    let (interval, multiplier) = BFD;
    let _they = Frr::with(
        &there,
        &link_local::frr(DEVICE, &format!(" neighbor {DEVICE} interface remote-as external\n neighbor {DEVICE} bfd {multiplier} {interval} {interval}\n")),
    )
    .await?;
    all_is_well(&us, &here).await?;
    ip(&here, "link del e1").await?;
    waits(&us, &here, "waiting for device e1, which is not there").await?;
    segment.cable(cable(&here, &there)).await?;
    all_is_well(&us, &here).await?;
    no_default_route(&here).await
}

/// Of two routers on one link neither is taken, and the words say which they are.
pub(crate) async fn two_are_refused(sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let here = segment.host(1).await?;
    let mut others = Vec::new();
    for (number, asn) in [(2, 64602), (3, 64603)] {
        let host = segment.host(number).await?;
        let us = Us::start(&host, asn, &peer("e0")).await?;
        others.push((host, us));
    }
    let us = Us::start(&here, ASES[0], &peer("e0")).await?;
    waits(&us, &here, "there are two routers on device e0, fe80::2 and fe80::3").await
}

/// What tshark says of each packet.
const FIELDS: [&str; 11] = [
    "icmpv6.type",
    "frame.time_epoch",
    "ipv6.src",
    "ipv6.dst",
    "ipv6.hlim",
    "icmpv6.checksum.status",
    "icmpv6.nd.ra.cur_hop_limit",
    "icmpv6.nd.ra.flag",
    "icmpv6.nd.ra.router_lifetime",
    "icmpv6.opt.type",
    "icmpv6.opt.linkaddr",
];

/// Our advertisements as Wireshark reads them, and that who asks is answered: an answer is the only reason to advertise sooner
/// than 3.3 s after the last time.
pub(crate) async fn as_others_read_it(sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there) = (host(&segment, 1).await?, host(&segment, 2).await?);
    segment.cable(cable(&here, &there)).await?;
    let mut words = vec!["-l", "-n", "-i", DEVICE, "-f", "icmp6", "-T", "fields", "-E", "separator=|"];
    words.extend(FIELDS.iter().flat_map(|field| ["-e", field]));
    let witness = there.start("tshark", std::path::Path::new("/usr/bin/tshark"), &words).await?;
    let _us = Us::start(&here, ASES[0], &tables(1, &peer(DEVICE))).await?;
    let advertised = || -> anyhow::Result<Vec<Vec<String>>> {
        let text = std::fs::read(witness.log()).context("reading what tshark says")?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines = text.lines().map(|line| line.split('|').map(str::to_owned).collect::<Vec<_>>());
        Ok(lines.filter(|fields| fields.len() == FIELDS.len() && fields[0] == "134").collect())
    };
    let fields = wait::until(SOON, "tshark has seen an advertisement", || async {
        witness.must_live().await?;
        advertised()?.pop().ok_or_else(|| NotYet::because("it has seen none"))
    })
    .await?;
    let text = here.run(&["ip", "link", "show", DEVICE]).await?;
    ensure!(text.contains(&format!("link/ether {}", fields[10])), "{text}: {fields:?}");
    let told: Vec<&str> = fields.iter().map(String::as_str).collect();
    // From here, to all nodes, by nobody farther away; whole; nothing of hop limits, flags and prefixes, and no default router.
    let wanted = ["fe80::1", "ff02::1", "255", "1", "0", "0x00", "0", "1"];
    ensure!(told[2..10] == wanted, "{FIELDS:?}: {told:?}");

    wait::until(SOON, "a solicitation is answered", || async {
        // With a new address the kernel asks for routers.
        ip(&there, "address del fe80::2/64 dev e1").await?;
        ip(&there, "address add fe80::2/64 dev e1 nodad").await?;
        let all = advertised()?;
        let times: Result<Vec<f64>, _> = all.iter().map(|fields| fields[1].parse::<f64>()).collect();
        let times = times.context("reading times")?;
        let soon = times.windows(2).any(|pair| pair[1] - pair[0] < 3.29);
        if soon { Ok(()) } else { Err(NotYet::because(format!("{times:?}"))) }
    })
    .await
}
