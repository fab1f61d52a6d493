//! caracal-bgpd.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use super::{Subject, family, write};
use crate::load::{Client, PORT, SUBJECT_AS};
use crate::place;

pub(super) fn prepare(subject: &Subject, folder: &Path, clients: &[Client]) -> anyhow::Result<Vec<String>> {
    let (id, own) = (place::ROUTER_ID, place::subject(family(clients)));
    let listen = SocketAddr::new(own, PORT);
    let announced = if own.is_ipv4() { "ipv4-unicast" } else { "ipv6-unicast" };
    let mut text = format!("[speaker]\nas = {SUBJECT_AS}\nrouter-id = \"{id}\"\nlisten = [\"{listen}\"]\n");
    for Client { address, asn, internal, .. } in clients {
        writeln!(text, "[[peer]]\naddress = \"{address}\"\nas = {asn}\npassive = true")?;
        writeln!(text, "families = [\"{announced}\"]\nhold-time = 180\nreflector-client = {internal}")?;
    }
    let file = write(folder, "bgpd.toml", &text)?;
    Ok(subject.words(&["--config", &file]))
}

pub(super) fn version(subject: &Subject) -> anyhow::Result<String> {
    let output = Command::new(&subject.program).arg("--version").output().context("asking for a version")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(said.split_whitespace().last().unwrap_or_default().to_owned())
}
