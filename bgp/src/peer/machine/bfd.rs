//! What BFD says of the path (RFC 5882 §4.3): the order of the signals decides.
//!
//! The path is down while the connection stands: packets do not pass, the session ends at once and its routes go. The
//! connection was lost first: the peer restarts, and that its BFD falls silent, too, is part of that (§4.3.2). Its routes
//! are then kept for as long as its system can be reached: a refused dial is an answer, one that nobody answers is none.
//!
//! An end that is turned off by its operator says nothing of the path, and neither does a BFD session that never came up.

use std::io::ErrorKind;
use std::time::Instant;

use super::Peer;
use crate::bfd::PathState;
use crate::peer::action::{Actions, Farewell, Reason};
use crate::peer::event::Loss;
use crate::peer::state::State;
use crate::wire::notification::{Cause, Cease};

impl Peer {
    pub(super) fn bfd(&mut self, now: Instant, path: PathState, out: &mut Actions) {
        if std::mem::replace(&mut self.path, path) == path {
            return;
        }
        let State::Running(running) = &mut self.state else { return };
        let established = running.established().map(|(side, _)| side);
        match (path, established) {
            // Dialled again soon, as after the hold time: BFD itself damps a path that flaps.
            (PathState::Down, Some(side)) => {
                let words = Farewell::Notification(Cause::Cease(Cease::BfdDown).into());
                self.end(now, side, words, Reason::PathDown, out);
            }
            (PathState::Up, None) => running.dialer.hurry(now.max(running.rest_until.unwrap_or(now))),
            (PathState::Down, None)
            | (PathState::Up, Some(_))
            | (PathState::Unknown | PathState::AdminDown | PathState::Quiet, _) => (),
        }
    }

    /// A dial ended so. With BFD down, too, or silent for as long as it would be, had the peer not asked for patience, a peer
    /// whose system does not even refuse is not restarting: what was kept of it goes.
    pub(super) fn not_reached(&mut self, loss: Loss, out: &mut Actions) {
        let silent = match loss {
            Loss::Failed(kind) => {
                [ErrorKind::TimedOut, ErrorKind::HostUnreachable, ErrorKind::NetworkUnreachable]
                    .contains(&kind)
            }
            Loss::Closed | Loss::Unprepared(..) => false,
        };
        if silent && matches!(self.path, PathState::Down | PathState::Quiet) {
            self.forget(out);
        }
    }
}
