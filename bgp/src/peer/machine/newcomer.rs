//! A connection has come: it is taken or refused.

use std::time::{Duration, Instant};

use super::{HOLD_IN_OPEN_SENT, HOLD_OF_A_STRANGER, Peer};
use crate::peer::action::{Action, Actions, Farewell, Reason};
use crate::peer::collision;
use crate::peer::event::{Endpoints, Side};
use crate::peer::negotiation::{self, Offer};
use crate::peer::restart;
use crate::peer::state::{Connection, Delaying, Dialer, OpenSent, Running, Stage, State};
use crate::wire::message::Message;
use crate::wire::notification::{Cause, Cease};

/// For so long after a session came up a connection from the peer may be one that it dialled before.
const LATE_COLLISION: Duration = Duration::from_secs(5);

/// What becomes of a connection that the peer dialled.
enum Welcome {
    /// It takes the place of one that is not established.
    Taken,
    /// The peer has restarted: its old connection is of no use to it.
    InsteadOf(Side),
    /// The established connection stays, after a look whether it is alive.
    Refused(Side),
    /// Nobody is let in.
    Resting,
}

impl Peer {
    pub(super) fn opened(&mut self, now: Instant, side: Side, endpoints: Endpoints, out: &mut Actions) {
        let rejected = || Farewell::Notification(Cause::Cease(Cease::Rejected).into());
        let State::Running(running) = &mut self.state else {
            out.push(Action::Refuse(side, rejected()));
            return;
        };
        match side {
            Side::Active => match running.dialer {
                Dialer::Dialing { .. } => running.dialer = Dialer::Held,
                // It came after it was given up.
                Dialer::Held | Dialer::Resting { .. } | Dialer::Listening { .. } => {
                    out.push(Action::Refuse(side, Farewell::Silent));
                    return;
                }
            },
            Side::Passive => match welcome(now, running) {
                Welcome::Resting => return out.push(Action::Refuse(side, rejected())),
                Welcome::Refused(stands) => {
                    // Either a late collision, or the peer died without a word and is back. In the second case this
                    // KEEPALIVE makes its system reset the old connection, and the peer is welcome in a moment.
                    out.push(Action::Send(stands, Message::Keepalive));
                    let collision = Farewell::Notification(Cause::Cease(Cease::Collision).into());
                    return out.push(Action::Refuse(side, collision));
                }
                // No NOTIFICATION: it would end what the peer means to go on with (RFC 4724 §5).
                Welcome::InsteadOf(old) => {
                    self.end(now, old, Farewell::Silent, Reason::Restarted, out);
                    self.end(now, side, Farewell::Silent, Reason::Replaced, out);
                }
                Welcome::Taken => {
                    let collision = Farewell::Notification(Cause::Cease(Cease::Collision).into());
                    self.end(now, side, collision, Reason::Replaced, out);
                }
            },
        }
        self.take(now, side, endpoints, out);
    }

    fn take(&mut self, now: Instant, side: Side, endpoints: Endpoints, out: &mut Actions) {
        out.push(Action::Accept(side));
        let stage = match self.config.session.delay_open {
            Some(delay) => Stage::Delaying(Delaying { until: now + delay }),
            None => Stage::OpenSent(self.send_open(now, side, out)),
        };
        if let State::Running(running) = &mut self.state {
            *running.slot(side) = Some(Connection { endpoints, stage });
        }
    }

    /// Says OPEN. A peer that did not understand the last one is sent one without capabilities, once (RFC 5492 §3).
    pub(super) fn send_open(&mut self, now: Instant, side: Side, out: &mut Actions) -> OpenSent {
        let offer = std::mem::replace(&mut self.next_offer, Offer::Full);
        let mut open = negotiation::offer(&self.config, self.router_id, offer);
        match offer {
            Offer::Full => {
                open.capabilities.extend(restart::capability(&self.config, self.lived));
                open.capabilities.extend(restart::long_lived_capability(&self.config, self.lived));
            }
            Offer::Bare => (),
        }
        out.push(Action::Send(side, Message::Open(open)));
        let hold = if self.is_of_a_range() { HOLD_OF_A_STRANGER } else { HOLD_IN_OPEN_SENT };
        OpenSent { offer, hold: now + hold }
    }
}

fn welcome(now: Instant, running: &Running) -> Welcome {
    if running.refuses(Some(now)) {
        return Welcome::Resting;
    }
    let Some((stands, established)) = running.established() else { return Welcome::Taken };
    let settled = now >= established.since + LATE_COLLISION;
    if settled && established.terms.graceful_restart.is_some() {
        return Welcome::InsteadOf(stands);
    }
    if stands == Side::Passive || collision::winner(&established.terms) == Side::Active {
        return Welcome::Refused(stands);
    }
    Welcome::Taken
}
