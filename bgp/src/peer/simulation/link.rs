//! Connections as TCP makes and breaks them.

use std::time::{Duration, Instant};

use crate::random::Random;

/// One direction of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// What is written still arrives.
    pub(super) whole: bool,
    /// Nothing arrives before then; TCP keeps order.
    pub(super) not_before: Instant,
}

/// A connection. Ways are numbered by the speaker that writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connection {
    pub(super) ways: [Way; 2],
}

impl Connection {
    pub(super) fn new(now: Instant) -> Connection {
        Connection { ways: [Way { whole: true, not_before: now }; 2] }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.ways.iter().all(|way| way.whole)
    }

    pub(super) fn cut(&mut self) {
        self.ways.iter_mut().for_each(|way| way.whole = false);
    }
}

/// What may befall a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mishap {
    /// It is gone, and this end alone hears of it.
    Cut { hears: usize },
    /// This end's writing side is closed; the other end sees the end of the stream.
    HalfClosed { by: usize },
    /// What this end writes waits for so long.
    Stalled { by: usize, time: Duration },
}

impl Mishap {
    pub(super) fn any(random: &mut Random) -> Mishap {
        let whom = usize::from(random.one_in(2));
        match random.below(3) {
            0 => Mishap::Cut { hears: whom },
            1 => Mishap::HalfClosed { by: whom },
            _ => Mishap::Stalled { by: whom, time: Duration::from_secs(1 + random.below(100)) },
        }
    }
}
