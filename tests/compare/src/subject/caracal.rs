//! caracal-bgpd.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use super::{Subject, write};
use crate::load::{Client, PORT, SUBJECT_AS};
use crate::place;

pub(super) fn prepare(subject: &Subject, folder: &Path, clients: &[Client]) -> anyhow::Result<Vec<String>> {
    let own = place::SUBJECT;
    let mut text =
        format!("[speaker]\nas = {SUBJECT_AS}\nrouter-id = \"{own}\"\nlisten = [\"{own}:{PORT}\"]\n");
    for Client { address, asn, internal } in clients {
        writeln!(text, "[[peer]]\naddress = \"{address}\"\nas = {asn}\npassive = true")?;
        writeln!(text, "families = [\"ipv4-unicast\"]\nhold-time = 180\nreflector-client = {internal}")?;
    }
    let file = write(folder, "bgpd.toml", &text)?;
    Ok(subject.words(&["--config", &file]))
}

pub(super) fn version(subject: &Subject) -> anyhow::Result<String> {
    let output = Command::new(&subject.program).arg("--version").output().context("asking for a version")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(said.split_whitespace().last().unwrap_or_default().to_owned())
}
