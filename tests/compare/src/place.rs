//! Where it happens: a network namespace of this process, which vanishes with it.
//!
//! The subject has one address of each family on a subnet; every other address of that subnet is local too (a `local` route),
//! so that a thousand peers can have one each without a thousand being configured.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;

use anyhow::{Context, ensure};
use nix::sched::{CloneFlags, unshare};

use crate::generator::family::Family;

/// The subject's router id, and its IPv4 address.
pub(crate) const ROUTER_ID: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);
const SUBJECT_V6: Ipv6Addr = Ipv6Addr::new(0xfd64, 0, 0, 0, 0, 0, 0, 1);

/// The subject's address.
pub(crate) fn subject(family: Family) -> IpAddr {
    match family {
        Family::V4 => ROUTER_ID.into(),
        Family::V6 => SUBJECT_V6.into(),
    }
}

/// The router id of a peer, which is its IPv4 address.
pub(crate) fn router_id(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 65, 0, 1).to_bits() + number)
}

/// The address of a peer.
pub(crate) fn peer(family: Family, number: u32) -> IpAddr {
    match family {
        Family::V4 => router_id(number).into(),
        Family::V6 => {
            let first = Ipv6Addr::new(0xfd64, 0, 0, 0x65, 0, 0, 0, 1);
            Ipv6Addr::from_bits(first.to_bits() + u128::from(number)).into()
        }
    }
}

/// Goes there. Before any thread is started: a namespace is a thread's.
pub(crate) fn enter() -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace (this takes root)")?;
    for line in [
        "link set lo up",
        "link add bgp type veth peer name other",
        "link set other up",
        "addr add 10.64.0.1/10 dev bgp",
        "addr add fd64::1/48 dev bgp nodad",
        "link set bgp up",
        "route add local 10.65.0.0/16 dev lo",
        "-6 route add local fd64:0:0:65::/64 dev lo",
    ] {
        let output = Command::new("ip").args(line.split(' ')).output().context("starting ip")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ip {line}: {}", said.trim());
    }
    // IPv4 lets a peer take such an address as its own; IPv6 does so only when told.
    std::fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1")
        .context("letting peers have addresses that are only routed (net.ipv6.ip_nonlocal_bind)")
}
