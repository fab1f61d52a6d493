//! BIRD 2: it has one thread.

use std::fmt::Write as _;
use std::path::Path;

use super::{Subject, family, write};
use crate::load::{Client, SUBJECT_AS};
use crate::place;

pub(super) fn prepare(subject: &Subject, folder: &Path, clients: &[Client]) -> anyhow::Result<Vec<String>> {
    let (id, own) = (place::ROUTER_ID, place::subject(family(clients)));
    let channel = if own.is_ipv4() { "ipv4" } else { "ipv6" };
    // Next hops inside the AS are found among the subnets of the machine, which are told to nobody.
    let mut text = format!(
        "router id {id};\nprotocol device {{ scan time 3600; }}\nprotocol direct {{ {channel}; interface \"bgp\"; }}\n"
    );
    for (place, Client { address, asn, internal, .. }) in clients.iter().enumerate() {
        writeln!(text, "protocol bgp p{place} {{ local {own} as {SUBJECT_AS}; neighbor {address} as {asn};")?;
        writeln!(text, "connect delay time 1; error wait time 1,4;")?;
        writeln!(text, "passive on; hold time 180;{}", if *internal { " rr client;" } else { "" })?;
        writeln!(text, "{channel} {{ import all; export where source = RTS_BGP; }}; }}")?;
    }
    let file = write(folder, "bird.conf", &text)?;
    let (control, pid) = (folder.join("bird.ctl"), folder.join("bird.pid"));
    let (control, pid) = (control.display().to_string(), pid.display().to_string());
    Ok(subject.words(&["-f", "-c", &file, "-s", &control, "-P", &pid]))
}
