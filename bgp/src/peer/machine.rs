//! The machine: a function an event, and for messages and deadlines a function a state.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::action::{Action, Actions, Farewell, Reason};
use super::backoff::Backoff;
use super::event::{Event, Loss, Side, Stop};
use super::negotiation::{Negotiated, Offer};
use super::restart::{self, Kept};
use super::state::{Connection, Dialer, Running, SessionState, Stage, State};
use crate::bfd::PathState;
use crate::config::{PeerConfig, PeerOrigin, RouterId};
use crate::wire::notification::{Cause, Cease, Notification};

mod bfd;
mod deadlines;
mod limit;
mod messages;
mod newcomer;

/// RFC 4271 §8.2.2: a great value, 4 minutes are suggested.
const HOLD_IN_OPEN_SENT: Duration = Duration::from_secs(240);
/// A peer that nobody has named takes a place of its range, and has dialled because it has something to say.
const HOLD_OF_A_STRANGER: Duration = Duration::from_secs(30);
/// RFC 9687 §3.2: the send hold time is the greater of this and twice the hold time.
const LEAST_SEND_HOLD: Duration = Duration::from_secs(480);
/// The least time a dial is given.
const LEAST_DIAL_TIME: Duration = Duration::from_secs(5);
/// For so long nobody may dial a passive speaker until it asks whether anybody ever will.
const NOBODY_DIALS: Duration = Duration::from_secs(120);
/// For so long a peer that ended an opening session with a NOTIFICATION is not listened to.
const REFUSE_AFTER_RECEIVED: Duration = Duration::from_secs(1);

/// One peer.
#[derive(Debug)]
pub struct Peer {
    config: Arc<PeerConfig>,
    router_id: RouterId,
    backoff: Backoff,
    state: State,
    /// What the next OPEN has in it.
    next_offer: Offer,
    /// There was a session: this speaker is no longer one that has just restarted.
    lived: bool,
    /// What is kept of the last session, and until when.
    kept: Kept,
    /// What BFD says.
    path: PathState,
    last_error: Option<Reason>,
    /// Why the last session that was established ended.
    last_down: Option<Reason>,
}

impl Peer {
    /// A peer that is stopped. `seed` makes its random waits differ from those of others.
    pub fn new(config: Arc<PeerConfig>, router_id: RouterId, seed: u64) -> Self {
        Peer {
            config,
            router_id,
            backoff: Backoff::new(seed),
            state: State::Stopped,
            next_offer: Offer::Full,
            lived: false,
            kept: Kept::Nothing,
            path: PathState::Unknown,
            last_error: None,
            last_down: None,
        }
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
            Event::TooManyPrefixes(family, found) => self.too_many_prefixes(now, family, found, out),
            Event::Bfd(path) => self.bfd(now, path, out),
            Event::Tick => self.tick(now, out),
        }
        self.steer_dialer(now, out);
    }

    /// When to send [`Event::Tick`] at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Stopped | State::Halted => None,
            State::Running(running) => {
                let refused = running.refuse_until.filter(|_| self.is_of_a_range());
                running.deadline().into_iter().chain(self.kept.deadline()).chain(refused).min()
            }
        }
    }

    /// Whether a peer that nobody has named has nothing here any more: no connection, nothing that is kept for it, and
    /// nothing that is held against it.
    pub fn is_vacant(&self) -> bool {
        match &self.state {
            State::Stopped | State::Halted => false,
            State::Running(running) => {
                let connected = running.active.is_some() || running.passive.is_some();
                let held = self.kept != Kept::Nothing || running.refuse_until.is_some();
                self.is_of_a_range() && !connected && !held
            }
        }
    }

    fn is_of_a_range(&self) -> bool {
        match self.config.origin {
            PeerOrigin::Range(_) => true,
            PeerOrigin::Mesh | PeerOrigin::Configured => false,
        }
    }

    /// The state for people.
    pub fn state(&self, now: Instant) -> SessionState {
        match &self.state {
            State::Stopped | State::Halted => SessionState::Idle,
            State::Running(running) => running.name(Some(now)),
        }
    }

    /// The terms of the established session.
    pub fn negotiated(&self) -> Option<&Arc<Negotiated>> {
        match &self.state {
            State::Stopped | State::Halted => None,
            State::Running(running) => running.established().map(|(_, established)| &established.terms),
        }
    }

    /// Why the last session or attempt ended.
    pub fn last_error(&self) -> Option<&Reason> {
        self.last_error.as_ref()
    }

    /// Why the last session that was established ended; attempts since then do not change it.
    pub fn last_down(&self) -> Option<&Reason> {
        self.last_down.as_ref()
    }

    /// Whether an operator, or a limit that only an operator can lift, keeps the peer down.
    pub fn is_stopped(&self) -> bool {
        match self.state {
            State::Stopped | State::Halted => true,
            State::Running(_) => false,
        }
    }

    fn configure(&mut self, now: Instant, config: Arc<PeerConfig>, router_id: RouterId, out: &mut Actions) {
        let identity = (self.router_id != router_id).then_some("router id");
        let reset = identity.or_else(|| self.config.needs_reset(&config));
        let other = reset.is_some() || self.config != config;
        self.config = config;
        self.router_id = router_id;
        // Whatever was wrong may be right now.
        self.backoff.forget();
        self.next_offer = Offer::Full;
        match &mut self.state {
            State::Stopped => return,
            State::Halted if other => self.state = State::Running(Running::resting(now)),
            State::Halted => return,
            State::Running(running) => {
                running.refuse_until = None;
                running.rest_until = None;
                running.dialer.hurry(now);
            }
        }
        if let Some(what) = reset {
            let stop = Stop::Cease(Cease::Reconfigured);
            self.end_all(now, &stop, &Reason::Reconfigured(what), out);
            self.state = State::Running(Running::resting(now));
        }
    }

    fn start(&mut self, now: Instant) {
        match self.state {
            State::Stopped | State::Halted => {
                self.backoff.forget();
                self.next_offer = Offer::Full;
                self.state = State::Running(Running::resting(now));
            }
            State::Running(_) => (),
        }
    }

    fn stop(&mut self, now: Instant, stop: Stop, out: &mut Actions) {
        self.end_all(now, &stop, &Reason::Stopped, out);
        self.state = State::Stopped;
    }

    /// Ends both connections and any dialling.
    fn end_all(&mut self, now: Instant, stop: &Stop, reason: &Reason, out: &mut Actions) {
        let State::Running(running) = &mut self.state else { return };
        if let Dialer::Dialing { .. } = running.dialer {
            out.push(Action::Close(Side::Active, Farewell::Silent));
            running.dialer = Dialer::Held;
        }
        let farewell = match stop {
            Stop::Cease(cease) => Farewell::Notification(Cause::Cease(*cease).into()),
            Stop::Saying(cease, text) => Farewell::Notification(Notification::with_text(*cease, text)),
            Stop::Silent => Farewell::Silent,
        };
        for side in Side::BOTH {
            self.end(now, side, farewell.clone(), reason.clone(), out);
        }
        self.forget(out);
    }

    /// What was kept of the last session goes.
    fn forget(&mut self, out: &mut Actions) {
        if std::mem::replace(&mut self.kept, Kept::Nothing) != Kept::Nothing {
            out.push(Action::Forget);
        }
    }

    fn closed(&mut self, now: Instant, side: Side, loss: Loss, out: &mut Actions) {
        let State::Running(running) = &mut self.state else { return };
        if side == Side::Active
            && let Dialer::Dialing { .. } = running.dialer
        {
            running.dialer = Dialer::Held;
            self.not_reached(loss, out);
            self.last_error = Some(Reason::Lost(loss));
            return;
        }
        if let Some(connection) = running.slot(side).take() {
            self.ended(now, connection, Reason::Lost(loss), out);
        }
    }

    /// Ends a connection by an error of the peer: damped, and for the time of it nobody is let in.
    fn fail(&mut self, now: Instant, side: Side, words: Notification, reason: Reason, out: &mut Actions) {
        if self.end(now, side, Farewell::Notification(words), reason, out) {
            let until = now + self.backoff.after_notification();
            self.rest(until, until);
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
        let hard = match &connection.stage {
            Stage::Established(state) => restart::needs_hard_reset(&state.terms, &reason),
            Stage::Delaying(_) | Stage::OpenSent(_) | Stage::OpenConfirm(_) => false,
        };
        out.push(Action::Close(
            side,
            match farewell {
                Farewell::Notification(words) if hard => Farewell::Notification(words.as_hard_reset()),
                Farewell::Notification(_) | Farewell::Silent => farewell,
            },
        ));
        self.ended(now, connection, reason, out);
        true
    }

    fn ended(&mut self, now: Instant, connection: Connection, reason: Reason, out: &mut Actions) {
        match connection.stage {
            Stage::Established(established) => {
                self.backoff.session_ended(established.since, now);
                let keep = restart::keep(now, &established.terms, &reason);
                self.kept = Kept::after(keep, &established.terms);
                self.last_down = Some(reason.clone());
                out.push(Action::Down(reason.clone(), keep));
            }
            Stage::Delaying(_) | Stage::OpenSent(_) | Stage::OpenConfirm(_) => (),
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
            Stage::Delaying(_) | Stage::OpenSent(_) | Stage::OpenConfirm(_) => (),
            Stage::Established(state) => state.hold = state.terms.hold_time.duration().map(|hold| now + hold),
        }
    }

    /// RFC 9687: a peer that keeps its window closed is as dead as a silent one. With a hold time of zero neither
    /// end wants to know.
    fn write_blocked(&mut self, side: Side, since: Option<Instant>) {
        let State::Running(running) = &mut self.state else { return };
        let Some(connection) = running.slot(side) else { return };
        match &mut connection.stage {
            Stage::Delaying(_) | Stage::OpenSent(_) | Stage::OpenConfirm(_) => (),
            Stage::Established(state) => {
                let send_hold = state.terms.hold_time.duration().map(|hold| LEAST_SEND_HOLD.max(hold * 2));
                state.send_hold = since.zip(send_hold).map(|(since, time)| since + time);
            }
        }
    }

    /// Dialling is wanted exactly while the peer can be reached, no connection is past OpenSent and none is dialled already.
    /// A passive peer is listened for instead.
    fn steer_dialer(&mut self, now: Instant, out: &mut Actions) {
        let State::Running(running) = &mut self.state else { return };
        let past_open_sent = Side::BOTH.into_iter().any(|side| running.terms(side).is_some());
        let passive = self.config.passive;
        let reachable = self.config.waits.is_none();
        let wanted = reachable && !passive && running.active.is_none() && !past_open_sent;
        let listen = reachable && passive && running.active.is_none() && running.passive.is_none();
        match (&running.dialer, wanted, listen) {
            (Dialer::Held | Dialer::Listening { .. }, true, _) => {
                let wait = now + self.backoff.after_loss(self.config.connect_retry);
                let until = running.rest_until.map_or(wait, |rest| rest.max(wait));
                running.dialer = Dialer::Resting { until };
            }
            (Dialer::Dialing { .. }, false, _) => {
                out.push(Action::Close(Side::Active, Farewell::Silent));
                running.dialer = Dialer::Held;
            }
            (Dialer::Held | Dialer::Resting { .. }, false, true) => {
                running.dialer = Dialer::Listening { complain: Some(now + NOBODY_DIALS) };
            }
            (Dialer::Resting { .. } | Dialer::Listening { .. }, false, false) => {
                running.dialer = Dialer::Held
            }
            (Dialer::Held, false, false)
            | (Dialer::Listening { .. }, false, true)
            | (Dialer::Resting { .. } | Dialer::Dialing { .. }, true, _) => (),
        }
    }
}
