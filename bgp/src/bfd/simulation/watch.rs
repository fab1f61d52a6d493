//! Somebody who sees every packet of one end and knows what RFC 5880 forbids.

use std::time::{Duration, Instant};

use crate::bfd::packet::Packet;
use crate::bfd::session::State;

pub(super) struct Watch {
    /// The times of the poll that has no answer yet.
    poll: Option<(Duration, Duration)>,
    last: Option<(Instant, Packet)>,
    started: Instant,
}

impl Watch {
    pub(super) fn new(started: Instant) -> Watch {
        Watch { poll: None, last: None, started }
    }

    pub(super) fn received(&mut self, packet: &Packet) {
        if packet.r#final {
            self.poll = None;
        }
    }

    pub(super) fn is_now(&mut self, state: State) {
        if state != State::Up {
            self.poll = None;
        }
    }

    pub(super) fn sent(&mut self, now: Instant, packet: &Packet) {
        assert!(!(packet.poll && packet.r#final), "P and F in one packet");
        assert!(
            packet.poll || packet.r#final || self.poll.is_none() || packet.state != State::Up,
            "a poll without P"
        );
        if packet.state != State::Up {
            assert!(packet.desired_min_tx >= Duration::from_secs(1), "in a hurry before it is Up");
        }
        let times = (packet.desired_min_tx, packet.required_min_rx);
        if packet.poll {
            assert_eq!(*self.poll.get_or_insert(times), times, "another poll before the answer to the first");
        }
        if packet.r#final {
            return;
        }
        if let Some((then, last)) = &self.last
            && last == packet
            && !packet.poll
            // Turned off, it says so several times at once.
            && packet.state != State::AdminDown
        {
            let least = packet.desired_min_tx * 3 / 4;
            assert!(now - *then >= least, "sooner than it says, {:?} after the start", now - self.started);
        }
        self.last = Some((now, *packet));
    }
}
