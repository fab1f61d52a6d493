//! The file in which BFD sessions outlive the process: one line for each that is Up.
//!
//! It is written when a session comes up, goes down or changes its times, which is seldom (`speaker/memory_file.rs`). What cannot
//! be read is left out: its session begins anew, as it would without the file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::{NonZeroU8, NonZeroU32};
use std::path::Path;
use std::time::Duration;

use super::memory_file::{self, Format};
use crate::bfd::{Hops, Memory};
use crate::config::{Interface, PeerKey};

/// The first line, which says how to read the others.
const HEAD: &str = "caracal bfd 1";

/// What is remembered of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) hops: Hops,
    /// The port its packets came from (RFC 5881 §4: one for all of a session); 0: it had none.
    pub(super) port: u16,
    pub(super) memory: Memory,
}

/// What is remembered of all.
pub(super) type Memories = BTreeMap<PeerKey, Remembered>;

/// What the file says, and how.
pub(super) const FORMAT: Format<Memories> = Format { about: "the sessions of BFD", text };

/// What an earlier process has written.
pub(super) fn read(path: &Path) -> Memories {
    memory_file::read(path, FORMAT.about).map(|text| parse(&text)).unwrap_or_default()
}

fn text(all: &Memories) -> String {
    let mut text = format!("{HEAD}\n");
    for (key, Remembered { hops, port, memory }) in all {
        let (kind, hops) = match (key, hops) {
            (PeerKey::Address(_), hops) => ("address", hops),
            (PeerKey::LinkLocal(..), hops) => ("link", hops),
            (PeerKey::Interface(_), hops) => ("interface", hops),
        };
        let hops = match hops {
            Hops::One => "one",
            Hops::Many => "many",
        };
        let times = [memory.told_tx, memory.told_rx, memory.remote_tx, memory.remote_rx];
        let [told_tx, told_rx, remote_tx, remote_rx] = times.map(|time| time.as_micros());
        let (ours, theirs) = (memory.discriminator, memory.remote_discriminator);
        let multiplier = memory.remote_multiplier;
        let line = format!(
            "{kind} {key} {hops} {port} {ours} {theirs} {told_tx} {told_rx} {remote_tx} {remote_rx} {multiplier}"
        );
        if writeln!(text, "{line}").is_err() {
            tracing::trace!("a text has no end");
        }
    }
    text
}

fn parse(text: &str) -> Memories {
    match text.lines().next() {
        Some(HEAD) => text.lines().skip(1).filter_map(line).collect(),
        Some(_) | None => Memories::new(),
    }
}

fn line(line: &str) -> Option<(PeerKey, Remembered)> {
    let mut words = line.split(' ');
    let key = match (words.next()?, words.next()?) {
        ("address" | "link", text) => text.parse().ok()?,
        ("interface", text) => PeerKey::Interface(Interface::new(text).ok()?),
        (_, _) => return None,
    };
    let hops = match words.next()? {
        "one" => Hops::One,
        "many" => Hops::Many,
        _ => return None,
    };
    let port = words.next()?.parse().ok()?;
    let mut name = || words.next()?.parse::<NonZeroU32>().ok();
    let (discriminator, remote_discriminator) = (name()?, name()?);
    let mut time = || words.next()?.parse::<u32>().ok().map(|micros| Duration::from_micros(micros.into()));
    let (told_tx, told_rx, remote_tx, remote_rx) = (time()?, time()?, time()?, time()?);
    let remote_multiplier: NonZeroU8 = words.next()?.parse().ok()?;
    let memory = Memory {
        discriminator,
        remote_discriminator,
        told_tx,
        told_rx,
        remote_tx,
        remote_rx,
        remote_multiplier,
    };
    words.next().is_none().then_some((key, Remembered { hops, port, memory }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remembered(name: u32, hops: Hops) -> Remembered {
        let millis = Duration::from_millis;
        let memory = Memory {
            discriminator: NonZeroU32::new(name).unwrap(),
            remote_discriminator: NonZeroU32::MAX,
            told_tx: Duration::from_secs(4095),
            told_rx: millis(300),
            remote_tx: millis(50),
            remote_rx: Duration::ZERO,
            remote_multiplier: NonZeroU8::MAX,
        };
        Remembered { hops, port: 49_152, memory }
    }

    fn all() -> Memories {
        let interface = PeerKey::Interface(Interface::new("eth0.7").unwrap());
        let mut all: Memories =
            [("192.0.2.1", Hops::Many), ("2001:db8::1", Hops::One), ("fe80::1%eth0", Hops::One)]
                .map(|(key, hops)| (key.parse().unwrap(), remembered(1, hops)))
                .into();
        all.insert(interface, remembered(u32::MAX, Hops::One));
        all
    }

    #[test]
    fn what_is_written_is_read_again() {
        assert_eq!(parse(&text(&all())), all());
        assert_eq!(parse(&text(&Memories::new())), Memories::new());
    }

    #[test]
    fn what_cannot_be_read_is_left_out_and_the_rest_is_not() {
        let whole = text(&all());
        let lines: Vec<&str> = whole.lines().collect();
        for (place, line) in lines.iter().enumerate().skip(1) {
            for cut in 0..line.len() {
                let mut damaged = lines.clone();
                damaged[place] = &line[..cut];
                let found = parse(&damaged.join("\n"));
                // The last number may have lost digits: it is a number still.
                let most = all().len();
                assert!(
                    found.len() == most - 1 || found.len() == most && cut > line.len() - 3,
                    "{line} {cut}"
                );
            }
        }
        assert!(parse(&whole.replacen("bfd 1", "bfd 2", 1)).is_empty(), "another version");
        assert!(parse("").is_empty());
    }
}
