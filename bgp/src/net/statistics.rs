//! Counters of a peer. They are plain numbers: whoever exports them names them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::faults::Faults;
use crate::wire::code_points::message;

/// The counters of one peer, over all its sessions.
#[derive(Debug, Default)]
pub struct Statistics {
    /// What came in.
    pub received: Messages,
    /// What went out.
    pub sent: Messages,
    /// UPDATEs with a fault that did not cost the session (RFC 7606).
    pub faulty_updates: AtomicU64,
    /// What was wrong with what came in, by kind.
    pub faults: Faults,
    /// Sessions that reached Established.
    pub established: AtomicU64,
}

/// Messages in one direction, by type.
#[derive(Debug, Default)]
pub struct Messages {
    open: AtomicU64,
    update: AtomicU64,
    notification: AtomicU64,
    keepalive: AtomicU64,
    route_refresh: AtomicU64,
    bytes: AtomicU64,
}

/// A reading of [`Messages`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// OPEN.
    pub open: u64,
    /// UPDATE.
    pub update: u64,
    /// NOTIFICATION.
    pub notification: u64,
    /// KEEPALIVE.
    pub keepalive: u64,
    /// ROUTE-REFRESH.
    pub route_refresh: u64,
    /// Octets of all messages, headers included.
    pub bytes: u64,
}

impl Counts {
    /// Messages of all types.
    pub fn total(&self) -> u64 {
        self.open + self.update + self.notification + self.keepalive + self.route_refresh
    }
}

impl Messages {
    /// Counts one message.
    pub(super) fn count(&self, kind: u8, length: usize) {
        let counter = match kind {
            message::OPEN => &self.open,
            message::UPDATE => &self.update,
            message::NOTIFICATION => &self.notification,
            message::KEEPALIVE => &self.keepalive,
            message::ROUTE_REFRESH => &self.route_refresh,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(u64::try_from(length).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The present values.
    pub fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            open: read(&self.open),
            update: read(&self.update),
            notification: read(&self.notification),
            keepalive: read(&self.keepalive),
            route_refresh: read(&self.route_refresh),
            bytes: read(&self.bytes),
        }
    }
}
