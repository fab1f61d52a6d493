//! What happens when a deadline has come: a function a state.

use std::time::Instant;

use super::{LEAST_DIAL_TIME, Peer};
use crate::peer::action::{Action, Actions, Farewell, Reason};
use crate::peer::event::{Loss, Side};
use crate::peer::restart;
use crate::peer::state::{Dialer, Stage, State};
use crate::wire::message::Message;
use crate::wire::notification::Cause;

/// What a connection's deadlines ask for.
enum Due {
    Nothing,
    /// Nobody said OPEN first.
    Open,
    Keepalive,
    HoldTimer,
    SendHoldTimer,
}

impl Peer {
    pub(super) fn tick(&mut self, now: Instant, out: &mut Actions) {
        for side in Side::BOTH {
            match self.due(now, side) {
                Due::Nothing => (),
                Due::Open => {
                    let sent = self.send_open(now, side, out);
                    if let State::Running(running) = &mut self.state
                        && let Some(connection) = running.slot(side)
                    {
                        connection.stage = Stage::OpenSent(sent);
                    }
                }
                Due::Keepalive => out.push(Action::Send(side, Message::Keepalive)),
                // A path that fell silent is tried again soon: this is no error of the peer's.
                Due::HoldTimer => {
                    self.end(now, side, words(Cause::HoldTimer), Reason::HoldTimer, out);
                }
                Due::SendHoldTimer => {
                    self.end(now, side, words(Cause::SendHoldTimer), Reason::SendHoldTimer, out);
                }
            }
        }
        match self.kept.due(now) {
            restart::Due::Nothing => (),
            restart::Due::LongLived(families) => out.push(Action::LongLived(families)),
            restart::Due::Forget => out.push(Action::Forget),
        }
        if let State::Running(running) = &mut self.state
            && running.refuse_until.is_some_and(|until| until <= now)
        {
            running.refuse_until = None;
        }
        self.tick_dialer(now, out);
    }

    fn due(&mut self, now: Instant, side: Side) -> Due {
        let State::Running(running) = &mut self.state else { return Due::Nothing };
        let Some(connection) = running.slot(side) else { return Due::Nothing };
        let past = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let (hold, keepalive, send_hold, terms) = match &mut connection.stage {
            Stage::Delaying(state) => {
                return if state.until <= now { Due::Open } else { Due::Nothing };
            }
            Stage::OpenSent(state) => {
                return if state.hold <= now { Due::HoldTimer } else { Due::Nothing };
            }
            Stage::OpenConfirm(state) => (state.hold, &mut state.keepalive, None, &state.terms),
            Stage::Established(state) => (state.hold, &mut state.keepalive, state.send_hold, &state.terms),
        };
        if past(send_hold) {
            return Due::SendHoldTimer;
        }
        if past(hold) {
            return Due::HoldTimer;
        }
        if past(*keepalive) {
            *keepalive = terms.keepalive.map(|interval| now + self.backoff.jitter(interval));
            return Due::Keepalive;
        }
        Due::Nothing
    }

    fn tick_dialer(&mut self, now: Instant, out: &mut Actions) {
        let State::Running(running) = &mut self.state else { return };
        match running.dialer {
            Dialer::Resting { until } if until <= now => {
                let give_up = now + self.config.connect_retry.max(LEAST_DIAL_TIME);
                running.dialer = Dialer::Dialing { give_up };
                running.rest_until = None;
                out.push(Action::Dial);
            }
            Dialer::Dialing { give_up } if give_up <= now => {
                running.dialer = Dialer::Held;
                self.last_error = Some(Reason::DialTimedOut);
                out.push(Action::Close(Side::Active, Farewell::Silent));
                self.not_reached(Loss::Failed(std::io::ErrorKind::TimedOut), out);
            }
            Dialer::Listening { complain: Some(complain) } if complain <= now => {
                running.dialer = Dialer::Listening { complain: None };
                self.last_error = Some(Reason::NobodyDials);
            }
            Dialer::Held | Dialer::Resting { .. } | Dialer::Dialing { .. } | Dialer::Listening { .. } => (),
        }
    }
}

fn words(cause: Cause) -> Farewell {
    Farewell::Notification(cause.into())
}
