//! One speaker of a mesh, and how those that are compared are configured as one.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use super::{OUTSIDE, PREFIXES};
use crate::generator::family::{Family, v4};
use crate::load::{PORT, SUBJECT_AS};
use crate::place;
use crate::subject::{Subject, write};

/// Writes a speaker's configuration into its folder and gives the words that start it.
pub(super) type Write = fn(&Subject, &Path, &Speaker, &[Speaker]) -> anyhow::Result<Vec<String>>;

/// How a subject is configured.
pub(super) fn of(name: &str) -> Option<Write> {
    match name {
        "caracal" => Some(caracal),
        "bird" => Some(bird),
        _ => None,
    }
}

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speaker {
    number: u32,
    /// The number of the address from which the generator listens to it.
    pub(super) listener: u32,
}

impl Speaker {
    pub(super) fn numbered(number: u32, speakers: u32) -> Self {
        Self { number, listener: speakers + number }
    }

    pub(super) fn router_id(&self) -> Ipv4Addr {
        place::router_id(self.number)
    }

    pub(super) fn address(&self) -> IpAddr {
        place::peer(Family::V4, self.number)
    }

    fn prefixes(&self) -> impl Iterator<Item = String> {
        let first = self.number * PREFIXES;
        (first..first + PREFIXES).map(|number| {
            let [a, b, c] = v4(number);
            format!("{a}.{b}.{c}.0/24")
        })
    }

    fn others<'a>(&self, all: &'a [Speaker]) -> impl Iterator<Item = &'a Speaker> {
        let own = self.number;
        all.iter().filter(move |other| other.number != own)
    }

    fn outside(&self) -> IpAddr {
        place::peer(Family::V4, self.listener)
    }
}

fn caracal(subject: &Subject, folder: &Path, own: &Speaker, all: &[Speaker]) -> anyhow::Result<Vec<String>> {
    let (id, address, outside) = (own.router_id(), own.address(), own.outside());
    let mut text =
        format!("[speaker]\nas = {SUBJECT_AS}\nrouter-id = \"{id}\"\nlisten = [\"{address}:{PORT}\"]\n");
    for prefix in own.prefixes() {
        writeln!(text, "[[originate]]\nprefix = \"{prefix}\"")?;
    }
    writeln!(
        text,
        "[[peer]]\naddress = \"{outside}\"\nas = {OUTSIDE}\npassive = true\nfamilies = [\"ipv4-unicast\"]"
    )?;
    for other in own.others(all) {
        writeln!(text, "[[peer]]\naddress = \"{}\"\nas = {SUBJECT_AS}", other.address())?;
        writeln!(text, "local-address = \"{address}\"\nfamilies = [\"ipv4-unicast\"]")?;
    }
    let file = write(folder, "bgpd.toml", &text)?;
    Ok(subject.words(&["--config", &file]))
}

fn bird(subject: &Subject, folder: &Path, own: &Speaker, all: &[Speaker]) -> anyhow::Result<Vec<String>> {
    let (id, address, outside) = (own.router_id(), own.address(), own.outside());
    let mut text = format!(
        "router id {id};\nprotocol device {{ scan time 3600; }}\nprotocol direct {{ ipv4; interface \"bgp\"; }}\nprotocol static {{ ipv4;\n"
    );
    for prefix in own.prefixes() {
        writeln!(text, "route {prefix} blackhole;")?;
    }
    writeln!(text, "}}")?;
    // Dialled again as soon as BIRD lets one ask for: those that start later are not there yet.
    let peer = |text: &mut String, name: &str, address_of: IpAddr, asn: u32, more: &str| {
        writeln!(
            text,
            "protocol bgp {name} {{ local {address} as {SUBJECT_AS}; neighbor {address_of} as {asn}; strict bind;"
        )?;
        writeln!(text, "connect delay time 1; connect retry time 1; error wait time 1,4; {more}")?;
        writeln!(
            text,
            "ipv4 {{ import all; export where source ~ [ RTS_BGP, RTS_STATIC ]; next hop self; }}; }}"
        )
    };
    peer(&mut text, "outside", outside, OUTSIDE, "passive on;")?;
    for other in own.others(all) {
        peer(&mut text, &format!("p{}", other.number), other.address(), SUBJECT_AS, "")?;
    }
    let file = write(folder, "bird.conf", &text)?;
    let (control, pid) = (folder.join("bird.ctl"), folder.join("bird.pid"));
    let (control, pid) = (control.display().to_string(), pid.display().to_string());
    Ok(subject.words(&["-f", "-c", &file, "-s", &control, "-P", &pid]))
}
