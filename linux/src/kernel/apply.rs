//! Operations of the tables to the kernel, and its answers back.

use std::time::Instant;

use crate::kernel::ObjectKey;
use crate::kernel::keeper::{Keeper, SLICE};
use crate::kernel::kind::{Kind, Prepared};
use crate::kernel::tables::Tables;
use crate::netlink::Error;
use crate::netlink::batch::{Failure, Request};
use crate::object::address::{AddressKey, Assigned};
use crate::object::forwarding::{Forwarding, ForwardingKey};
use crate::object::link::IfName;
use crate::object::neighbour::{Neighbour, NeighbourKey};
use crate::object::route::{Route, RouteKey};
use crate::object::setting::{Setting, SettingKey};
use crate::object::tunnel::Tunnel;
use crate::table::{Op, Refusal};

/// What the tables have put out.
#[derive(Default)]
struct Planned {
    tunnels: Vec<Op<IfName, Tunnel>>,
    settings: Vec<Op<SettingKey, Setting>>,
    addresses: Vec<Op<AddressKey, Assigned>>,
    forwarding: Vec<Op<ForwardingKey, Forwarding>>,
    neighbours: Vec<Op<NeighbourKey, Neighbour>>,
    routes: Vec<Op<RouteKey, Route>>,
}

impl Planned {
    /// What is due, at most this many, those first that others need.
    fn slice(tables: &mut Tables, now: Instant, budget: usize) -> Self {
        let mut planned = Self::default();
        let mut left = budget;
        tables.tunnels.plan(now, left, &mut planned.tunnels);
        left -= planned.tunnels.len();
        tables.settings.plan(now, left, &mut planned.settings);
        left -= planned.settings.len();
        tables.addresses.plan(now, left, &mut planned.addresses);
        left -= planned.addresses.len();
        tables.forwarding.plan(now, left, &mut planned.forwarding);
        left -= planned.forwarding.len();
        tables.neighbours.plan(now, left, &mut planned.neighbours);
        left -= planned.neighbours.len();
        tables.routes.plan(now, left, &mut planned.routes);
        planned
    }

    /// What is due for these keys.
    fn of(tables: &mut Tables, now: Instant, keys: &[ObjectKey]) -> Self {
        let mut planned = Self::default();
        for key in keys {
            match key {
                ObjectKey::Tunnel(key) => tables.tunnels.plan_key(now, key, &mut planned.tunnels),
                ObjectKey::Setting(key) => tables.settings.plan_key(now, key, &mut planned.settings),
                ObjectKey::Address(key) => tables.addresses.plan_key(now, key, &mut planned.addresses),
                ObjectKey::Forwarding(key) => tables.forwarding.plan_key(now, key, &mut planned.forwarding),
                ObjectKey::Neighbour(key) => tables.neighbours.plan_key(now, key, &mut planned.neighbours),
                ObjectKey::Route(key) => tables.routes.plan_key(now, key, &mut planned.routes),
            }
        }
        planned
    }
}

/// An operation that was sent.
struct Sent<K, V> {
    op: Op<K, V>,
    /// It removes what is there, so that what is wanted can come.
    clears: bool,
}

impl Keeper {
    /// Plans these keys now, before all others.
    pub(super) fn hurry(&mut self, keys: &[ObjectKey]) {
        self.hurried.extend_from_slice(keys);
    }

    /// Performs what urgent batches want.
    pub(super) fn perform_urgent(&mut self) -> Result<(), Error> {
        let keys = std::mem::take(&mut self.hurried);
        for keys in keys.chunks(SLICE) {
            let planned = Planned::of(&mut self.tables, Instant::now(), keys);
            self.perform(planned)?;
        }
        // A key that turned out to be taken, or to have changed meanwhile, is looked at again at once.
        let again = |key: &ObjectKey| matches!(key, ObjectKey::Route(key) if self.tables.routes.pending(key));
        if keys.iter().any(again) {
            let planned = Planned::of(&mut self.tables, Instant::now(), &keys);
            self.perform(planned)?;
        }
        Ok(())
    }

    /// Performs one slice of whatever is due.
    pub(super) fn perform_slice(&mut self) -> Result<(), Error> {
        let planned = Planned::slice(&mut self.tables, Instant::now(), SLICE);
        self.perform(planned)
    }

    fn perform(&mut self, planned: Planned) -> Result<(), Error> {
        if !planned.tunnels.is_empty() {
            let mut requests = Vec::new();
            let sent = self.stage(planned.tunnels, &mut requests);
            let answers = self.write(requests)?;
            self.conclude(sent, &mut answers.into_iter());
            // The others are put on them by the numbers that the kernel has given them.
            self.listen()?;
        }
        let mut requests = Vec::with_capacity(planned.neighbours.len() + planned.routes.len());
        // Settings need no request, and a route should find its neighbour there.
        let settings = self.stage(planned.settings, &mut requests);
        let addresses = self.stage(planned.addresses, &mut requests);
        let forwarding = self.stage(planned.forwarding, &mut requests);
        let neighbours = self.stage(planned.neighbours, &mut requests);
        let routes = self.stage(planned.routes, &mut requests);
        if requests.is_empty() {
            return Ok(());
        }
        let mut answers = self.write(requests)?.into_iter();
        self.conclude(settings, &mut answers);
        self.conclude(addresses, &mut answers);
        self.conclude(forwarding, &mut answers);
        self.conclude(neighbours, &mut answers);
        self.conclude(routes, &mut answers);
        self.look_up(Instant::now())
    }

    /// Turns operations into requests, and answers those that need none.
    fn stage<K: Kind>(
        &mut self,
        ops: Vec<Op<K, K::Value>>,
        requests: &mut Vec<Request>,
    ) -> Vec<Sent<K, K::Value>> {
        let now = Instant::now();
        let mut sent = Vec::with_capacity(ops.len());
        for op in ops {
            let (request, clears) = match K::prepare(&op, self) {
                Prepared::Send(request) => (request, false),
                Prepared::Clear(request) => (request, true),
                Prepared::Refuse(why) => {
                    K::table(&mut self.tables).done(now, op.key(), Err(why));
                    continue;
                }
                Prepared::Done => {
                    K::table(&mut self.tables).done(now, op.key(), Ok(()));
                    continue;
                }
            };
            requests.push(request);
            sent.push(Sent { op, clears });
        }
        sent
    }

    fn write(&mut self, requests: Vec<Request>) -> Result<Vec<Result<(), Failure>>, Error> {
        self.counts.changes += requests.len() as u64;
        let answers = self.writer.perform(requests);
        answers.map_err(|source| Error::Socket { doing: "changing what is in the kernel".to_owned(), source })
    }

    fn conclude<K: Kind>(
        &mut self,
        sent: Vec<Sent<K, K::Value>>,
        answers: &mut impl Iterator<Item = Result<(), Failure>>,
    ) {
        let now = Instant::now();
        for (Sent { op, clears }, answer) in sent.into_iter().zip(answers) {
            let result = answer.or_else(|failure| verdict(&op, failure));
            let result = if clears { result.and(Err(Refusal::Vanished)) } else { result };
            match result {
                // Without an answer only a listing tells what is.
                Err(Refusal::NoAnswer) => self.due.everything(),
                Err(Refusal::Exists) => op.key().taken(self),
                Ok(()) | Err(_) => {}
            }
            K::table(&mut self.tables).done(now, op.key(), result);
        }
    }

    /// Why nothing can be put on this device now.
    pub(super) fn unready(&self, device: &IfName) -> Option<Refusal> {
        match self.links.get(device) {
            None => Some(Refusal::LinkMissing(*device)),
            Some(link) if !link.up => Some(Refusal::LinkDown(*device)),
            Some(_) => None,
        }
    }
}

/// What a failure means for the operation that failed.
fn verdict<K, V>(op: &Op<K, V>, failure: Failure) -> Result<(), Refusal> {
    let refused = match failure {
        Failure::NoAnswer => return Err(Refusal::NoAnswer),
        Failure::Refused(refused) => refused,
    };
    match (op, refused.errno) {
        // What should go is gone.
        (Op::Delete(_), libc::ESRCH | libc::ENOENT | libc::ENODEV | libc::EADDRNOTAVAIL) => Ok(()),
        (Op::Create(..), libc::EEXIST) => Err(Refusal::Exists),
        (Op::Replace(..), libc::ENOENT | libc::ESRCH | libc::ENODEV) => Err(Refusal::Vanished),
        (_, errno) => Err(Refusal::Kernel { errno, message: refused.words() }),
    }
}
