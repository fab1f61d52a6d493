//! The file that says which peers of ranges are there: one line for each that has to be waited for after a restart
//! (RFC 4724 §4.1), since nobody else can name them.
//!
//! One is in it from its first session on, if it ends its tables with a word (it knows of graceful restart), until nothing is left
//! of it. Those of an earlier process stay in it until the choice among routes is made: who is killed before that is to wait for
//! them again. A file that cannot be read to its end says nothing: the next process waits its whole time.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use super::memory_file::{self, Format, Keeper};
use crate::config::PeerKey;

/// The first line, which says how to read the others.
const HEAD: &str = "caracal peers 1";
/// The last, so that a part is not taken for the whole.
const END: &str = "end";

const FORMAT: Format<BTreeSet<PeerKey>> = Format { about: "the peers of ranges", text };

/// Where peers of ranges are written down.
#[derive(Debug)]
pub(super) struct PeerMemory {
    tell: watch::Sender<Arc<BTreeSet<PeerKey>>>,
    /// Nothing was told yet.
    new: bool,
    _keeper: Keeper,
}

impl PeerMemory {
    /// Writes to this file. Must be called on a tokio runtime.
    pub(super) fn new(path: &Path) -> PeerMemory {
        let tell = watch::Sender::default();
        let keeper = Keeper::start(path.to_owned(), FORMAT, tell.subscribe());
        PeerMemory { tell, new: true, _keeper: keeper }
    }

    /// These are there.
    pub(super) fn tell(&mut self, there: BTreeSet<PeerKey>) {
        let new = std::mem::replace(&mut self.new, false);
        self.tell.send_if_modified(|told| {
            let changes = new || **told != there;
            if changes {
                *told = Arc::new(there);
            }
            changes
        });
    }
}

/// Those that an earlier process has written down; `None`: that is not known.
pub(super) fn read(path: &Path) -> Option<BTreeSet<PeerKey>> {
    let text = memory_file::read(path, FORMAT.about)?;
    let found = parse(&text);
    match &found {
        Some(all) => tracing::info!(peers = all.len(), "peers of ranges were there before this process"),
        None => {
            tracing::warn!(file = %path.display(), "no whole list of the peers of ranges that were there")
        }
    }
    found
}

fn text(all: &BTreeSet<PeerKey>) -> String {
    let lines = all.iter().map(|key| format!("{key}\n"));
    format!("{HEAD}\n{}{END}\n", lines.collect::<String>())
}

fn parse(text: &str) -> Option<BTreeSet<PeerKey>> {
    let inside = text.strip_prefix(HEAD)?.strip_prefix('\n')?.strip_suffix('\n')?.strip_suffix(END)?;
    inside.lines().map(|line| line.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> BTreeSet<PeerKey> {
        ["192.0.2.1", "192.0.2.11", "2001:db8::1"].map(|key| key.parse().unwrap()).into()
    }

    #[test]
    fn what_is_written_is_read_again() {
        assert_eq!(parse(&text(&all())), Some(all()));
        assert_eq!(parse(&text(&BTreeSet::new())), Some(BTreeSet::new()));
    }

    #[test]
    fn a_part_of_it_says_nothing() {
        let whole = text(&all());
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]), None, "{:?}", &whole[..cut]);
        }
        assert_eq!(parse(&whole.replacen("peers 1", "peers 2", 1)), None, "another version");
        assert_eq!(parse(&whole.replacen("192.0.2.1\n", "racks\n", 1)), None);
    }
}
