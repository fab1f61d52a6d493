//! A message has come: a function a state (RFC 4271 §8.2.2).

use std::sync::Arc;
use std::time::Instant;

use super::{Peer, REFUSE_AFTER_RECEIVED};
use crate::peer::action::{Action, Actions, Farewell, Reason};
use crate::peer::collision;
use crate::peer::event::Side;
use crate::peer::negotiation::{self, Offer};
use crate::peer::state::{Established, OpenConfirm, OpenSent, Stage, State};
use crate::wire::error::Error;
use crate::wire::message::Message;
use crate::wire::notification::{Cause, Cease, FsmError, Notification, OpenError};
use crate::wire::open::Open;

impl Peer {
    pub(super) fn received(&mut self, now: Instant, side: Side, message: Message, out: &mut Actions) {
        let State::Running(running) = &mut self.state else { return };
        let Some(connection) = running.get(side) else { return };
        match connection.stage {
            Stage::Delaying(_) => self.in_delay(now, side, message, out),
            Stage::OpenSent(OpenSent { offer, .. }) => self.in_open_sent(now, side, offer, message, out),
            Stage::OpenConfirm(_) => self.in_open_confirm(now, side, message, out),
            Stage::Established(_) => self.in_established(now, side, message, out),
        }
    }

    /// The peer spoke first: there is nothing to wait for any more.
    fn in_delay(&mut self, now: Instant, side: Side, message: Message, out: &mut Actions) {
        match message {
            Message::Open(open) => {
                let sent = self.send_open(now, side, out);
                self.opened_by_peer(now, side, sent.offer, &open, out);
            }
            Message::Notification(notification) => self.told_off(now, side, notification, out),
            Message::Keepalive | Message::Update(_) | Message::RouteRefresh(_) => {
                self.unexpected(now, side, FsmError::Unspecific, message.name(), out);
            }
        }
    }

    fn in_open_sent(&mut self, now: Instant, side: Side, offer: Offer, message: Message, out: &mut Actions) {
        match message {
            Message::Open(open) => self.opened_by_peer(now, side, offer, &open, out),
            Message::Notification(notification) => self.told_off(now, side, notification, out),
            Message::Keepalive | Message::Update(_) | Message::RouteRefresh(_) => {
                self.unexpected(now, side, FsmError::OpenSent, message.name(), out);
            }
        }
    }

    /// Both OPENs are there.
    fn opened_by_peer(&mut self, now: Instant, side: Side, offer: Offer, open: &Open, out: &mut Actions) {
        let State::Running(running) = &mut self.state else { return };
        let Some(connection) = running.slot(side) else { return };
        match negotiation::negotiate(&self.config, self.router_id, offer, open, connection.endpoints) {
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
                self.lived = true;
                // The peer is back: it has this long to announce again what it announced before.
                if let Some(options) = self.config.session.graceful_restart {
                    self.kept.returned(now + options.stale_time);
                }
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

    /// The peer ended the connection with a NOTIFICATION.
    fn told_off(&mut self, now: Instant, side: Side, notification: Notification, out: &mut Actions) {
        let State::Running(running) = &mut self.state else { return };
        let was_established = running.established().is_some_and(|(stands, _)| stands == side);
        let offered = running.get(side).and_then(|connection| connection.stage.offer());
        let cause = notification.cause;
        self.end(now, side, Farewell::Silent, Reason::Received(notification), out);
        match cause {
            // Neither says that anything is wrong, nor does a timer that ran out on a bad path.
            Cause::Cease(Cease::Collision | Cease::Rejected) | Cause::HoldTimer | Cause::SendHoldTimer => (),
            // A speaker from before there were capabilities: it is greeted once without them.
            Cause::Open(OpenError::Parameter)
                if offered == Some(Offer::Full) && Offer::bare_is_possible(&self.config) =>
            {
                self.next_offer = Offer::Bare;
            }
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
}
