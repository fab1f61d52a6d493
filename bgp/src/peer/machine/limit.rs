//! A peer announces more prefixes than it may (RFC 4271 §6.7, RFC 4486 §4).

use std::time::Instant;

use bytes::{BufMut, BytesMut};

use super::Peer;
use crate::config::{Family, LimitAction, PrefixLimit};
use crate::peer::action::{Actions, Farewell, Reason};
use crate::peer::state::State;
use crate::wire::notification::{Cause, Cease, Notification};

impl Peer {
    /// The RIB counted `found` prefixes. What was the limit when it counted may be another by now.
    pub(super) fn too_many_prefixes(&mut self, now: Instant, family: Family, found: u32, out: &mut Actions) {
        let State::Running(running) = &self.state else { return };
        let Some((side, _)) = running.established() else { return };
        let limit = self.config.session.limits.of(family).filter(|limit| found > limit.prefixes);
        let Some(PrefixLimit { prefixes: limit, action }) = limit else { return };
        let reason = Reason::TooManyPrefixes { family, limit, found };
        match action {
            LimitAction::Warn => self.last_error = Some(reason),
            LimitAction::Stop => {
                self.end(now, side, words(family, limit), reason, out);
                self.end_all(now, &crate::peer::Stop::Silent, &Reason::Stopped, out);
                self.last_error = Some(Reason::TooManyPrefixes { family, limit, found });
                self.state = State::Halted;
            }
            LimitAction::Restart(after) => {
                self.end(now, side, words(family, limit), reason, out);
                self.rest(now + after, now + after);
            }
        }
    }
}

/// The data are the family and the limit (RFC 4486 §4).
fn words(family: Family, limit: u32) -> Farewell {
    let (afi, safi) = family.code();
    let mut data = BytesMut::with_capacity(7);
    data.put_u16(afi);
    data.put_u8(safi);
    data.put_u32(limit);
    Farewell::Notification(Notification { cause: Cause::Cease(Cease::MaxPrefixes), data: data.freeze() })
}
