//! The machine: a function an event, and for messages and deadlines a function a state.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::action::{Action, Actions, Farewell, Keep, Reason};
use super::backoff::Backoff;
use super::collision;
use super::event::{Endpoints, Event, Loss, Side, Stop};
use super::negotiation::{self, Negotiated};
use super::state::{
    Connection, Dialer, Established, OpenConfirm, OpenSent, Running, SessionState, Stage, State,
};
use crate::config::{PeerConfig, RouterId};
use crate::wire::error::Error;
use crate::wire::message::Message;
use crate::wire::notification::{Cause, Cease, FsmError, Notification};

mod deadlines;

/// RFC 4271 §8.2.2: a great value, 4 minutes are suggested.
const HOLD_IN_OPEN_SENT: Duration = Duration::from_secs(240);
/// RFC 9687 §3.2: the send hold time is the greater of this and twice the hold time.
const LEAST_SEND_HOLD: Duration = Duration::from_secs(480);
/// The least time a dial is given.
const LEAST_DIAL_TIME: Duration = Duration::from_secs(5);
/// For so long a peer that ended an opening session with a NOTIFICATION is not listened to.
const REFUSE_AFTER_RECEIVED: Duration = Duration::from_secs(1);

/// One peer.
#[derive(Debug)]
pub struct Peer {
    config: Arc<PeerConfig>,
    router_id: RouterId,
    backoff: Backoff,
    state: State,
    last_error: Option<Reason>,
}

impl Peer {
    /// A peer that is stopped. `seed` makes its random waits differ from those of others.
    pub fn new(config: Arc<PeerConfig>, router_id: RouterId, seed: u64) -> Self {
        Peer { config, router_id, backoff: Backoff::new(seed), state: State::Stopped, last_error: None }
    }

    /// Takes an event; what is to be done is added to `out`.
    pub fn on(&mut self, now: Instant, event: Event, out: &mut Actions) {
        match event {
            Event::Configure(config, router_id) => self.configure(now, config, router_id, out),
            Event::Start => self.start(now),
            Event::Stop(stop) => self.stop(now, stop, out),
            Event::Opened(side, endpoints) => self.opened(now, side, endpoints, out),
            Event::Closed(side, loss) => self.closed(now, side, loss, out),
            Event::Received(side, message) => self.received(now, side, message, out),
            Event::Malformed(side, error) => {
                self.fail(now, side, error.notification(), Reason::Malformed(error), out);
            }
            Event::Backlogged(side) => self.heard(now, side),
            Event::Unwritable(side, since) => self.write_blocked(side, Some(since)),
            Event::Writable(side) => self.write_blocked(side, None),
            Event::Tick => self.tick(now, out),
        }
        self.steer_dialer(now, out);
    }

    /// When to send [`Event::Tick`] at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Stopped => None,
            State::Running(running) => running.deadline(),
        }
    }

    /// The state for people.
    pub fn state(&self, now: Instant) -> SessionState {
        match &self.state {
            State::Stopped => SessionState::Idle,
            State::Running(running) => running.name(Some(now)),
        }
    }

    /// The terms of the established session.
    pub fn negotiated(&self) -> Option<&Arc<Negotiated>> {
        match &self.state {
            State::Stopped => None,
            State::Running(running) => running.established().map(|(_, established)| &established.terms),
        }
    }

    /// Why the last session or attempt ended.
    pub fn last_error(&self) -> Option<&Reason> {
        self.last_error.as_ref()
    }

    fn configure(&mut self, now: Instant, config: Arc<PeerConfig>, router_id: RouterId, out: &mut Actions) {
        let identity = (self.router_id != router_id).then_some("router id");
        let changed = identity.or_else(|| self.config.needs_reset(&config));
        self.config = config;
        self.router_id = router_id;
        // Whatever was wrong may be right now.
        self.backoff.forget();
        let State::Running(running) = &mut self.state else { return };
        running.refuse_until = None;
        running.rest_until = None;
        if let Dialer::Resting { until } = &mut running.dialer {
            *until = now;
        }
        if let Some(what) = changed {
            self.end_all(now, Stop::Cease(Cease::Reconfigured), &Reason::Reconfigured(what), out);
            self.state = State::Running(Running::resting(now));
        }
    }

    fn start(&mut self, now: Instant) {
        match self.state {
            State::Stopped => {
                self.backoff.forget();
                self.state = State::Running(Running::resting(now));
            }
            State::Running(_) => (),
        }
    }

    fn stop(&mut self, now: Instant, stop: Stop, out: &mut Actions) {
        self.end_all(now, stop, &Reason::Stopped, out);
        self.state = State::Stopped;
    }

    /// Ends both connections and any dialling.
    fn end_all(&mut self, now: Instant, stop: Stop, reason: &Reason, out: &mut Actions) {
        let State::Running(running) = &mut self.state else { return };
        if let Dialer::Dialing { .. } = running.dialer {
            out.push(Action::Close(Side::Active, Farewell::Silent));
            running.dialer = Dialer::Held;
        }
        let farewell = match stop {
            Stop::Cease(cease) => Farewell::Notification(Cause::Cease(cease).into()),
            Stop::Silent => Farewell::Silent,
        };
        for side in Side::BOTH {
            self.end(now, side, farewell.clone(), reason.clone(), out);
        }
    }

    fn opened(&mut self, now: Instant, side: Side, endpoints: Endpoints, out: &mut Actions) {
        let rejected = || Farewell::Notification(Cause::Cease(Cease::Rejected).into());
        let State::Running(running) = &mut self.state else {
            out.push(Action::Refuse(side, rejected()));
            return;
        };
        match side {
            Side::Active => match running.dialer {
                Dialer::Dialing { .. } => running.dialer = Dialer::Held,
                // It came after it was given up.
                Dialer::Held | Dialer::Resting { .. } => {
                    out.push(Action::Refuse(side, Farewell::Silent));
                    return;
                }
            },
            Side::Passive => {
                if running.refuses(Some(now)) {
                    out.push(Action::Refuse(side, rejected()));
                    return;
                }
                if let Some((stands, established)) = running.established()
                    && (stands == Side::Passive || collision::winner(&established.terms) == Side::Active)
                {
                    // Either a late collision, or the peer died without a word and is back. In the second case this
                    // KEEPALIVE makes its system reset the old connection, and the peer is welcome in a moment.
                    out.push(Action::Send(stands, Message::Keepalive));
                    out.push(Action::Refuse(
                        side,
                        Farewell::Notification(Cause::Cease(Cease::Collision).into()),
                    ));
                    return;
                }
                let collision = Farewell::Notification(Cause::Cease(Cease::Collision).into());
                self.end(now, side, collision, Reason::Replaced, out);
            }
        }
        let open = negotiation::offer(&self.config, self.router_id);
        out.push(Action::Send(side, Message::Open(open)));
        let stage = Stage::OpenSent(OpenSent { hold: now + HOLD_IN_OPEN_SENT });
        if let State::Running(running) = &mut self.state {
            *running.slot(side) = Some(Connection { endpoints, stage });
        }
    }

    fn closed(&mut self, now: Instant, side: Side, loss: Loss, out: &mut Actions) {
        let State::Running(running) = &mut self.state else { return };
        if side == Side::Active
            && let Dialer::Dialing { .. } = running.dialer
        {
            running.dialer = Dialer::Held;
            self.last_error = Some(Reason::Lost(loss));
            return;
        }
        if let Some(connection) = running.slot(side).take() {
            self.ended(now, connection, Reason::Lost(loss), out);
        }
    }

    fn received(&mut self, now: Instant, side: Side, message: Message, out: &mut Actions) {
        let State::Running(running) = &mut self.state else { return };
        let Some(connection) = running.get(side) else { return };
        match connection.stage {
            Stage::OpenSent(_) => self.in_open_sent(now, side, message, out),
            Stage::OpenConfirm(_) => self.in_open_confirm(now, side, message, out),
            Stage::Established(_) => self.in_established(now, side, message, out),
        }
    }

    fn in_open_sent(&mut self, now: Instant, side: Side, message: Message, out: &mut Actions) {
        let State::Running(running) = &mut self.state else { return };
        let Some(connection) = running.slot(side) else { return };
        match message {
            Message::Open(open) => {
                match negotiation::negotiate(&self.config, self.router_id, &open, connection.endpoints) {
                    Ok(terms) => {
                        out.push(Action::Send(side, Message::Keepalive));
                        connection.stage = Stage::OpenConfirm(OpenConfirm {
                            hold: terms.hold_time.duration().map(|hold| now + hold),
                            keepalive: terms.keepalive.map(|interval| now + self.backoff.jitter(interval)),
                            terms: Arc::new(terms),
                        });
                        self.resolve_collision(now, side, out);
                    }
                    Err(error) => self.refuse_open(now, side, error, out),
                }
            }
            Message::Notification(notification) => self.told_off(now, side, notification, out),
            Message::Keepalive | Message::Update(_) | Message::RouteRefresh(_) => {
                self.unexpected(now, side, FsmError::OpenSent, message.name(), out);
            }
        }
    }

    fn in_open_confirm(&mut self, now: Instant, side: Side, message: Message, out: &mut Actions) {
        let State::Running(running) = &mut self.state else { return };
        let Some(connection) = running.slot(side) else { return };
        match message {
            Message::Keepalive => {
                let Some(terms) = connection.stage.terms().cloned() else { return };
                connection.stage = Stage::Established(Established {
                    since: now,
                    hold: terms.hold_time.duration().map(|hold| now + hold),
                    keepalive: terms.keepalive.map(|interval| now + self.backoff.jitter(interval)),
                    send_hold: None,
                    terms: Arc::clone(&terms),
                });
                self.last_error = None;
                out.push(Action::Up(side, terms));
            }
            Message::Notification(notification) => self.told_off(now, side, notification, out),
            Message::Open(_) | Message::Update(_) | Message::RouteRefresh(_) => {
                self.unexpected(now, side, FsmError::OpenConfirm, message.name(), out);
            }
        }
    }

    fn in_established(&mut self, now: Instant, side: Side, message: Message, out: &mut Actions) {
        match message {
            Message::Keepalive | Message::Update(_) | Message::RouteRefresh(_) => self.heard(now, side),
            Message::Notification(notification) => self.told_off(now, side, notification, out),
            Message::Open(_) => self.unexpected(now, side, FsmError::Established, message.name(), out),
        }
    }

    /// Two connections past OpenSent: one must go, and both ends choose the same.
    fn resolve_collision(&mut self, now: Instant, newest: Side, out: &mut Actions) {
        let State::Running(running) = &mut self.state else { return };
        let (Some(terms), Some(_)) = (running.terms(newest), running.terms(newest.other())) else { return };
        let loser = collision::winner(terms).other();
        let farewell = Farewell::Notification(Cause::Cease(Cease::Collision).into());
        self.end(now, loser, farewell, Reason::Collision, out);
    }

    fn refuse_open(&mut self, now: Instant, side: Side, error: Error, out: &mut Actions) {
        self.fail(now, side, error.notification(), Reason::Malformed(error), out);
    }

    fn unexpected(
        &mut self,
        now: Instant,
        side: Side,
        error: FsmError,
        what: &'static str,
        out: &mut Actions,
    ) {
        self.fail(now, side, Cause::StateMachine(error).into(), Reason::Unexpected(what), out);
    }

    /// Ends a connection by an error of the peer: damped, and for the time of it nobody is let in.
    fn fail(&mut self, now: Instant, side: Side, words: Notification, reason: Reason, out: &mut Actions) {
        if self.end(now, side, Farewell::Notification(words), reason, out) {
            let until = now + self.backoff.after_notification();
            self.rest(until, until);
        }
    }

    /// The peer ended the connection with a NOTIFICATION.
    fn told_off(&mut self, now: Instant, side: Side, notification: Notification, out: &mut Actions) {
        let State::Running(running) = &mut self.state else { return };
        let was_established = running.established().is_some_and(|(stands, _)| stands == side);
        let cause = notification.cause;
        self.end(now, side, Farewell::Silent, Reason::Received(notification), out);
        match cause {
            // Neither says that anything is wrong, nor does a timer that ran out on a bad path.
            Cause::Cease(Cease::Collision | Cease::Rejected) | Cause::HoldTimer | Cause::SendHoldTimer => (),
            Cause::Cease(
                Cease::Unspecific
                | Cease::MaxPrefixes
                | Cease::Shutdown
                | Cease::Deconfigured
                | Cease::Reset
                | Cease::Reconfigured
                | Cease::Resources
                | Cease::HardReset
                | Cease::BfdDown,
            )
            | Cause::Header(_)
            | Cause::Open(_)
            | Cause::Update(_)
            | Cause::StateMachine(_)
            | Cause::Refresh(_)
            | Cause::Other(..) => {
                let refuse = if was_established { now } else { now + REFUSE_AFTER_RECEIVED };
                let rest = now + self.backoff.after_notification();
                self.rest(rest, refuse);
            }
        }
    }

    fn rest(&mut self, dial: Instant, accept: Instant) {
        let State::Running(running) = &mut self.state else { return };
        running.rest_until = Some(dial);
        running.refuse_until = Some(accept);
        if let Dialer::Resting { until } = &mut running.dialer {
            *until = dial.max(*until);
        }
    }

    /// Closes a connection from here; whether there was one.
    fn end(
        &mut self,
        now: Instant,
        side: Side,
        farewell: Farewell,
        reason: Reason,
        out: &mut Actions,
    ) -> bool {
        let State::Running(running) = &mut self.state else { return false };
        let Some(connection) = running.slot(side).take() else { return false };
        out.push(Action::Close(side, farewell));
        self.ended(now, connection, reason, out);
        true
    }

    fn ended(&mut self, now: Instant, connection: Connection, reason: Reason, out: &mut Actions) {
        match connection.stage {
            Stage::Established(established) => {
                self.backoff.session_ended(established.since, now);
                out.push(Action::Down(reason.clone(), Keep::Nothing));
            }
            Stage::OpenSent(_) | Stage::OpenConfirm(_) => (),
        }
        if reason != Reason::Collision {
            self.last_error = Some(reason);
        }
    }

    /// Any sign of life counts for the hold time.
    fn heard(&mut self, now: Instant, side: Side) {
        let State::Running(running) = &mut self.state else { return };
        let Some(connection) = running.slot(side) else { return };
        match &mut connection.stage {
            Stage::OpenSent(_) | Stage::OpenConfirm(_) => (),
            Stage::Established(state) => state.hold = state.terms.hold_time.duration().map(|hold| now + hold),
        }
    }

    /// RFC 9687: a peer that keeps its window closed is as dead as a silent one. With a hold time of zero neither
    /// end wants to know.
    fn write_blocked(&mut self, side: Side, since: Option<Instant>) {
        let State::Running(running) = &mut self.state else { return };
        let Some(connection) = running.slot(side) else { return };
        match &mut connection.stage {
            Stage::OpenSent(_) | Stage::OpenConfirm(_) => (),
            Stage::Established(state) => {
                let send_hold = state.terms.hold_time.duration().map(|hold| LEAST_SEND_HOLD.max(hold * 2));
                state.send_hold = since.zip(send_hold).map(|(since, time)| since + time);
            }
        }
    }

    /// Dialling is wanted exactly while no connection is past OpenSent and none is dialled already.
    fn steer_dialer(&mut self, now: Instant, out: &mut Actions) {
        let State::Running(running) = &mut self.state else { return };
        let past_open_sent = Side::BOTH.into_iter().any(|side| running.terms(side).is_some());
        let wanted = !self.config.passive && running.active.is_none() && !past_open_sent;
        match (&running.dialer, wanted) {
            (Dialer::Held, true) => {
                let wait = now + self.backoff.after_loss(self.config.connect_retry);
                let until = running.rest_until.map_or(wait, |rest| rest.max(wait));
                running.dialer = Dialer::Resting { until };
            }
            (Dialer::Dialing { .. }, false) => {
                out.push(Action::Close(Side::Active, Farewell::Silent));
                running.dialer = Dialer::Held;
            }
            (Dialer::Resting { .. }, false) => running.dialer = Dialer::Held,
            (Dialer::Held, false) | (Dialer::Resting { .. } | Dialer::Dialing { .. }, true) => (),
        }
    }
}
