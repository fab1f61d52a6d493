//! Where it happens: a network namespace of this process, which vanishes with it.
//!
//! The subject has one address on a subnet; every other address of that subnet is local too (a `local` route), so that
//! a thousand peers can have one each without a thousand being configured.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context, ensure};
use nix::sched::{CloneFlags, unshare};

/// The subject's address.
pub(crate) const SUBJECT: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);

/// The address of a peer.
pub(crate) fn peer(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 65, 0, 1).to_bits() + number)
}

/// Goes there. Before any thread is started: a namespace is a thread's.
pub(crate) fn enter() -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace (this takes root)")?;
    for line in [
        "link set lo up",
        "link add bgp type veth peer name other",
        "link set other up",
        "addr add 10.64.0.1/10 dev bgp",
        "link set bgp up",
        "route add local 10.65.0.0/16 dev lo",
    ] {
        let output = Command::new("ip").args(line.split(' ')).output().context("starting ip")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ip {line}: {}", said.trim());
    }
    Ok(())
}
