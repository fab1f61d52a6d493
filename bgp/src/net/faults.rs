//! What a peer did wrong on the wire, kept for its status and told once in the log.
//!
//! Faults are counted by kind: what they cost, where they lay, what was wrong. There are few kinds, and no more than
//! [`KINDS`] are kept, so that no peer fills memory or log with its mistakes. A kind is logged when it first appears and
//! then at most once every [`QUIET`].

use std::mem::{Discriminant, discriminant};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::wire::error::{Disposition, Error, Fault, Section};

/// How many kinds are kept; of others only the number.
pub const KINDS: usize = 32;
/// The time between two lines of the log about one kind.
pub const QUIET: Duration = Duration::from_secs(60);

/// The faults of one peer, over all its sessions.
#[derive(Debug, Default)]
pub struct Faults {
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    kinds: Vec<Kind>,
    totals: Totals,
}

#[derive(Debug)]
struct Kind {
    disposition: Disposition,
    section: Section,
    what: Discriminant<Fault>,
    record: FaultRecord,
    told: Instant,
    untold: u64,
}

/// How many faults cost what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// An attribute was dropped.
    pub attribute_discard: u64,
    /// The prefixes of a message were withdrawn.
    pub treat_as_withdraw: u64,
    /// The session ended.
    pub session_reset: u64,
}

/// One kind of fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRecord {
    /// What it cost.
    pub disposition: Disposition,
    /// The part of a message it lay in.
    pub section: Section,
    /// The section of the RFC that calls it a fault or says what it costs.
    pub rfc: &'static str,
    /// The last one in words.
    pub words: String,
    /// Where the last one lay: octets from the end of the message's header.
    pub offset: usize,
    /// How many there were.
    pub count: u64,
    /// When the last one came.
    pub last: SystemTime,
}

/// What to say in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Say {
    /// This is one of a new kind, or of one that was not told of for long; so many were passed over meanwhile.
    Told { passed_over: u64 },
    /// It was told of not long ago.
    Nothing,
}

impl Faults {
    /// Counts a fault.
    pub(super) fn note(&self, now: Instant, error: &Error) -> Say {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let disposition = error.disposition();
        let total = match disposition {
            Disposition::AttributeDiscard => &mut log.totals.attribute_discard,
            Disposition::TreatAsWithdraw => &mut log.totals.treat_as_withdraw,
            Disposition::SessionReset => &mut log.totals.session_reset,
        };
        *total += 1;
        let what = discriminant(&error.fault);
        let same = |kind: &&mut Kind| {
            (kind.disposition, kind.section, kind.what) == (disposition, error.section, what)
        };
        if let Some(kind) = log.kinds.iter_mut().find(same) {
            return kind.again(now, error);
        }
        if log.kinds.len() >= KINDS {
            return Say::Nothing;
        }
        let record = FaultRecord {
            disposition,
            section: error.section,
            rfc: error.rfc(),
            words: error.to_string(),
            offset: error.offset,
            count: 1,
            last: SystemTime::now(),
        };
        log.kinds.push(Kind { disposition, section: error.section, what, record, told: now, untold: 0 });
        Say::Told { passed_over: 0 }
    }

    /// Every kind there was, the latest first.
    pub fn records(&self) -> Vec<FaultRecord> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records: Vec<_> = log.kinds.iter().map(|kind| kind.record.clone()).collect();
        records.sort_by_key(|record| std::cmp::Reverse(record.last));
        records
    }

    /// How many faults cost what, those of kinds that are not kept too.
    pub fn totals(&self) -> Totals {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).totals
    }
}

impl Kind {
    fn again(&mut self, now: Instant, error: &Error) -> Say {
        self.record.count += 1;
        self.record.last = SystemTime::now();
        self.record.offset = error.offset;
        if now < self.told + QUIET {
            self.untold += 1;
            return Say::Nothing;
        }
        self.told = now;
        self.record.words = error.to_string();
        Say::Told { passed_over: std::mem::take(&mut self.untold) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: u8, offset: usize) -> Error {
        Error { section: Section::Attribute(code), offset, fault: Fault::AttributeLength(offset) }
    }

    #[test]
    fn a_kind_is_told_once_and_again_after_a_while_with_what_was_passed_over() {
        let (faults, start) = (Faults::default(), Instant::now());
        assert_eq!(faults.note(start, &error(8, 3)), Say::Told { passed_over: 0 });
        for _ in 0..5 {
            assert_eq!(faults.note(start + QUIET / 2, &error(8, 4)), Say::Nothing);
        }
        assert_eq!(
            faults.note(start + QUIET / 2, &error(7, 4)),
            Say::Told { passed_over: 0 },
            "another kind"
        );
        assert_eq!(faults.note(start + QUIET, &error(8, 5)), Say::Told { passed_over: 5 });
        let of_communities = |record: &FaultRecord| record.section == Section::Attribute(8);
        let record = faults.records().into_iter().find(of_communities).unwrap();
        assert_eq!((record.count, record.offset, record.rfc), (7, 5, "RFC 7606 §7.8"));
        assert_eq!(record.disposition, Disposition::TreatAsWithdraw);
        assert_eq!(faults.totals(), Totals { attribute_discard: 1, treat_as_withdraw: 7, session_reset: 0 });
    }

    #[test]
    fn a_peer_that_invents_kinds_fills_no_memory() {
        let faults = Faults::default();
        for code in 0..=u8::MAX {
            faults.note(Instant::now(), &error(code, 0));
        }
        assert_eq!(faults.records().len(), KINDS);
        let totals = faults.totals();
        assert_eq!(totals.attribute_discard + totals.treat_as_withdraw + totals.session_reset, 256);
    }
}
