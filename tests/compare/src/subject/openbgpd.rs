//! OpenBGPD: a process each for sessions, for decisions, and for the rest.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;

use super::{Subject, family, write};
use crate::load::{Client, SUBJECT_AS};
use crate::place;

pub(super) fn prepare(subject: &Subject, folder: &Path, clients: &[Client]) -> anyhow::Result<Vec<String>> {
    // Where its unprivileged processes shut themselves in.
    std::fs::create_dir_all("/run/openbgpd").context("making /run/openbgpd")?;
    let (id, own) = (place::ROUTER_ID, place::subject(family(clients)));
    let announced = if own.is_ipv4() { "IPv4" } else { "IPv6" };
    let socket = folder.join("openbgpd.sock");
    let mut text = format!("AS {SUBJECT_AS}\nrouter-id {id}\nfib-update no\nlisten on {own}\n");
    writeln!(text, "socket \"{}\"", socket.display())?;
    for Client { address, asn, internal, .. } in clients {
        writeln!(text, "neighbor {address} {{\n remote-as {asn}\n passive\n holdtime 180")?;
        writeln!(
            text,
            " announce {announced} unicast{}\n}}",
            if *internal { "\n route-reflector" } else { "" }
        )?;
    }
    text.push_str("allow from any\nallow to any\n");
    let file = write(folder, "openbgpd.conf", &text)?;
    Ok(subject.words(&["-d", "-f", &file]))
}
