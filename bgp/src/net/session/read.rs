//! From bytes to events of the machine and reports for the RIB.

use std::sync::atomic::Ordering;

use super::Session;
use crate::config::Families;
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
                Err(error) => return self.on(Event::Malformed(side, error)),
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
                Err(error) => self.on(Event::Malformed(side, error)),
            },
            (Message::RouteRefresh(refresh), Some(context)) => {
                self.on(Event::Received(side, Message::RouteRefresh(refresh)));
                self.refresh_wanted(refresh, context.families);
            }
            (message, _) => self.on(Event::Received(side, message)),
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
        if faults.is_empty() {
            return;
        }
        self.statistics.faulty_updates.fetch_add(1, Ordering::Relaxed);
        for fault in faults {
            let disposition = fault.disposition();
            tracing::warn!(peer = %self.key, ?disposition, "a faulty UPDATE (RFC 7606): {fault}");
        }
    }

    pub(super) fn report(&mut self, event: ReportEvent) {
        self.outbox.push_back(Report { key: self.key, event });
    }
}
