//! What the machine wants done to connections.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::{Connection, RefreshError, Session};
use crate::config::Password;
use crate::net::dial::{self, Options};
use crate::net::report::{Ending, Report, ReportEvent};
use crate::peer::{Action, Actions, Event, Farewell, Negotiated, Reason, Side};
use crate::wire::message::Message;
use crate::wire::route_refresh::RouteRefresh;

/// Signals of the RIB waiting for the session.
const SIGNALS: usize = 4;

impl<C: From<Report>> Session<C> {
    pub(super) fn slot(&mut self, side: Side) -> &mut Option<Connection> {
        match side {
            Side::Active => &mut self.active,
            Side::Passive => &mut self.passive,
        }
    }

    pub(super) fn accepted(&mut self, stream: TcpStream) {
        let remote = self.config.remote.ip();
        if let Err(error) = dial::prepare(&stream, remote, &Options::of(&self.config)) {
            tracing::warn!(peer = %self.key, %error, "an accepted connection could not be set up");
            return;
        }
        self.opened(Side::Passive, stream);
    }

    /// The connections there are go over to another password.
    pub(super) fn rekey(&mut self, password: &Password) {
        let remote = self.config.remote.ip();
        for connection in [&self.active, &self.passive].into_iter().flatten() {
            // The old key stays, so nobody else gets in; the peer with the new one does not, until the hold time ends it.
            if let Err(error) = dial::rekey(connection.reader.as_ref(), remote, password) {
                tracing::warn!(peer = %self.key, %error, "a connection stays with its old password");
            }
        }
    }

    pub(super) fn opened(&mut self, side: Side, stream: TcpStream) {
        match super::connection::endpoints(&stream) {
            Ok(endpoints) => {
                self.newcomer = Some(stream);
                self.on(Event::Opened(side, endpoints));
                self.newcomer = None;
            }
            Err(error) if side == Side::Active => {
                self.on(Event::Closed(side, crate::peer::Loss::Failed(error.kind())));
            }
            Err(error) => {
                tracing::debug!(peer = %self.key, %error, "an accepted connection was gone at once")
            }
        }
    }

    pub(super) fn carry_out(&mut self, actions: Actions) {
        // The machine closes a connection, and says next that the session on it is over.
        let mut last_words = Farewell::Silent;
        for action in actions {
            match action {
                Action::Dial => {
                    let (remote, options) = (self.config.remote, Options::of(&self.config));
                    self.dialing = Some(Box::pin(dial::dial(remote, options)));
                }
                Action::Accept(side) => {
                    if let Some(stream) = self.newcomer.take() {
                        *self.slot(side) = Some(Connection::new(stream, Arc::clone(&self.statistics)));
                    }
                }
                Action::Send(side, message) => self.send(side, &message),
                Action::Close(side, farewell) => {
                    self.close(side, &farewell);
                    last_words = farewell;
                }
                Action::Refuse(_, farewell) => {
                    if let Some(stream) = self.newcomer.take() {
                        let connection = Connection::new(stream, Arc::clone(&self.statistics));
                        self.part(connection, &farewell);
                    }
                }
                Action::Up(side, terms) => self.up(side, terms),
                Action::Down(reason, keep) => {
                    tracing::info!(peer = %self.key, name = %self.config.name, "session down: {reason}");
                    self.signals = None;
                    let ending = ending(std::mem::replace(&mut last_words, Farewell::Silent), reason);
                    self.report(ReportEvent::Down(keep, ending));
                }
                Action::LongLived(families) => {
                    tracing::info!(peer = %self.key, ?families, "the peer is away for long: its routes are kept as a last resort");
                    self.report(ReportEvent::LongLived(families));
                }
                Action::Forget => self.report(ReportEvent::Forget),
            }
        }
    }

    fn send(&mut self, side: Side, message: &Message) {
        let bytes = encoded(message);
        let Some(connection) = self.slot(side) else { return };
        if let Message::Open(_) = message {
            connection.opens.sent = bytes.clone();
        }
        if !connection.writer.write(bytes) {
            // The writer is stuck and the send hold timer runs; a KEEPALIVE more would not help.
            tracing::debug!(peer = %self.key, message = message.name(), "a message was dropped: the peer does not read");
        }
    }

    fn close(&mut self, side: Side, farewell: &Farewell) {
        match self.slot(side).take() {
            Some(connection) => self.part(connection, farewell),
            None if side == Side::Active => self.dialing = None,
            None => (),
        }
    }

    fn part(&mut self, connection: Connection, farewell: &Farewell) {
        let words = match farewell {
            Farewell::Silent => Bytes::new(),
            Farewell::Notification(notification) => {
                tracing::debug!(peer = %self.key, "saying {notification}");
                encoded(&Message::Notification(notification.clone()))
            }
        };
        self.partings.retain(|parting| !parting.is_finished());
        self.partings.push(connection.writer.finish(words, connection.reader));
    }

    fn up(&mut self, side: Side, negotiated: Arc<Negotiated>) {
        let context = negotiated.context();
        let Some(connection) = self.slot(side) else { return };
        connection.context = Some(context);
        connection.longest = negotiated.longest_received;
        let opens = Arc::new(std::mem::take(&mut connection.opens));
        let writer = connection.writer.updates();
        self.statistics.established.fetch_add(1, Ordering::Relaxed);
        tracing::info!(peer = %self.key, name = %self.config.name, families = ?negotiated.families, "session up");
        let (signals, from_rib) = mpsc::channel(SIGNALS);
        self.signals = Some(from_rib);
        self.report(ReportEvent::Up { negotiated, opens, writer, signals });
    }

    pub(super) fn refresh(&mut self) -> Result<(), RefreshError> {
        let terms = self.peer.negotiated().cloned().ok_or(RefreshError::NotEstablished)?;
        if !terms.route_refresh {
            return Err(RefreshError::NotSupported);
        }
        let established = [&self.active, &self.passive].into_iter().flatten();
        for connection in established.filter(|connection| connection.context.is_some()) {
            for family in terms.families.iter() {
                if !connection.writer.write(encoded(&Message::RouteRefresh(RouteRefresh::of(family)))) {
                    return Err(RefreshError::NotEstablished);
                }
            }
        }
        Ok(())
    }
}

pub(super) fn encoded(message: &Message) -> Bytes {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes);
    bytes.freeze()
}

/// How a session ended, by the last words on its connection and the reason.
fn ending(last_words: Farewell, reason: Reason) -> Ending {
    match (last_words, reason) {
        (Farewell::Notification(words), _) => Ending::Said(words),
        (Farewell::Silent, Reason::Received(words)) => Ending::Heard(words),
        (Farewell::Silent, Reason::Lost(_)) => Ending::Lost,
        (
            Farewell::Silent,
            Reason::DialTimedOut
            | Reason::HoldTimer
            | Reason::PathDown
            | Reason::SendHoldTimer
            | Reason::Malformed(_)
            | Reason::Unexpected(_)
            | Reason::Collision
            | Reason::Replaced
            | Reason::Restarted
            | Reason::NobodyDials
            | Reason::TooManyPrefixes { .. }
            | Reason::Stopped
            | Reason::Reconfigured(_),
        ) => Ending::Silent,
    }
}
