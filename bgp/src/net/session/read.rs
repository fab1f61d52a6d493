//! From bytes to events of the machine and reports for the RIB.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Session;
use super::carry_out::encoded;
use crate::config::Families;
use crate::net::faults::Say;
use crate::net::report::{Report, ReportEvent};
use crate::peer::{Event, Side};
use crate::wire::error::Error;
use crate::wire::message::Message;
use crate::wire::route_refresh::{Kind, RouteRefresh};
use crate::wire::update;

impl<C: From<Report>> Session<C> {
    /// Deals with every whole message that has come. The machine may close the connection at any of them.
    pub(super) fn parse(&mut self, side: Side) {
        while let Some(connection) = self.slot(side) {
            let longest = connection.longest;
            match Message::take(&mut connection.buffer, longest) {
                Ok(Some((header, message))) => {
                    self.statistics.received.count(header.kind, header.length);
                    self.message(side, message);
                }
                Ok(None) => return,
                Err(error) => return self.malformed(side, error),
            }
        }
    }

    fn message(&mut self, side: Side, message: Message) {
        let context = self.slot(side).as_ref().and_then(|connection| connection.context);
        match (message, context) {
            (Message::Update(body), Some(context)) => match update::decode(&body, &context) {
                Ok(update) => {
                    self.on(Event::Received(side, Message::Update(body)));
                    self.note_faults(&update.faults);
                    self.report(ReportEvent::Update(Box::new(update)));
                }
                Err(error) => self.malformed(side, error),
            },
            (Message::RouteRefresh(refresh), Some(context)) => {
                self.on(Event::Received(side, Message::RouteRefresh(refresh)));
                self.refresh_wanted(refresh, context.families);
            }
            (message, _) => {
                if let (Message::Open(_), Some(connection)) = (&message, self.slot(side)) {
                    connection.opens.received = encoded(&message);
                }
                self.on(Event::Received(side, message));
            }
        }
    }

    fn refresh_wanted(&mut self, refresh: RouteRefresh, families: Families) {
        let family = refresh.family().filter(|family| families.contains(*family));
        match (family, refresh.kind) {
            (Some(family), Kind::Request) => self.report(ReportEvent::Refresh(family)),
            (Some(family), Kind::Begin) => self.report(ReportEvent::RefreshBegins(family)),
            (Some(family), Kind::End) => self.report(ReportEvent::RefreshEnds(family)),
            (None, _) | (_, Kind::Other(_)) => tracing::debug!(
                peer = %self.key, ?refresh, "a refresh of a family that was not negotiated, or of no known kind"
            ),
        }
    }

    fn note_faults(&self, faults: &[Error]) {
        if !faults.is_empty() {
            self.statistics.faulty_updates.fetch_add(1, Ordering::Relaxed);
        }
        faults.iter().for_each(|fault| self.note(fault));
    }

    fn note(&self, fault: &Error) {
        let Say::Told { passed_over } = self.statistics.faults.note(Instant::now(), fault) else { return };
        let (disposition, rfc) = (fault.disposition().code(), fault.rfc());
        tracing::warn!(
            peer = %self.key, name = %self.config.name, disposition, rfc, passed_over,
            "the peer sent something faulty: {fault}"
        );
    }

    /// Bytes that cost the session.
    fn malformed(&mut self, side: Side, error: Error) {
        self.note(&error);
        self.on(Event::Malformed(side, error));
    }

    pub(super) fn report(&mut self, event: ReportEvent) {
        self.outbox.push_back(Report { key: self.key, event });
    }
}
