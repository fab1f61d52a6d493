//! FRR's `bgpd` alone, without `zebra`; it has threads for reading and writing.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;

use super::{Subject, family, write};
use crate::generator::family::Family;
use crate::load::{Client, SUBJECT_AS};
use crate::place;

pub(super) fn prepare(subject: &Subject, folder: &Path, clients: &[Client]) -> anyhow::Result<Vec<String>> {
    let id = place::ROUTER_ID;
    let announced = if family(clients) == Family::V4 { "ipv4" } else { "ipv6" };
    let mut text = format!("hostname frr\nrouter bgp {SUBJECT_AS}\n bgp router-id {id}\n");
    text.push_str(
        " no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n no bgp network import-check\n",
    );
    text.push_str(" neighbor P peer-group\n neighbor P passive\n neighbor P timers 60 180\n");
    text.push_str(" neighbor P advertisement-interval 0\n");
    for Client { address, asn, .. } in clients {
        writeln!(text, " neighbor {address} remote-as {asn}\n neighbor {address} peer-group P")?;
    }
    writeln!(text, " address-family {announced} unicast\n  neighbor P activate")?;
    if clients.iter().any(|client| client.internal) {
        text.push_str("  neighbor P route-reflector-client\n");
    }
    text.push_str(" exit-address-family\nexit\n");
    let file = write(folder, "frr.conf", &text)?;
    let (vty, pid, zebra) = (folder.join("vty"), folder.join("frr.pid"), folder.join("no-zebra.sock"));
    std::fs::create_dir_all(&vty).with_context(|| format!("making {}", vty.display()))?;
    let [vty, pid, zebra] = [vty, pid, zebra].map(|path| path.display().to_string());
    Ok(subject.words(&[
        "-n",
        "-Z",
        "-S",
        "-f",
        &file,
        "-i",
        &pid,
        "-z",
        &zebra,
        "--vty_socket",
        &vty,
        "-P",
        "0",
    ]))
}
