//! Operations of the tables to the kernel, and its answers back.

use std::time::Instant;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;

use crate::kernel::ObjectKey;
use crate::kernel::keeper::{Keeper, SLICE};
use crate::netlink::Error;
use crate::netlink::batch::{Failure, Request};
use crate::object::link::IfName;
use crate::object::neighbour::{self, Neighbour, NeighbourKey};
use crate::object::route::{Route, RouteKey, message};
use crate::table::{Op, Refusal, Value};

/// What became of an operation before it reached the kernel.
enum Prepared {
    /// It is sent.
    Send(Request),
    /// It cannot be done now.
    Refuse(Refusal),
    /// Nothing is left to do.
    Done,
}

impl Value for Route {
    fn maker(&self) -> String {
        let name = match self.protocol {
            1 => "an ICMP redirect",
            2 => "the kernel itself",
            3 => "hand or program without a number of its own",
            4 => "hand, as a static route",
            9 => "a router advertisement",
            11 => "zebra (FRR)",
            12 => "BIRD",
            16 => "a DHCP client",
            18 => "keepalived",
            42 => "a Babel daemon",
            186 => "a BGP daemon",
            188 => "an OSPF daemon",
            number => return format!("protocol {number}"),
        };
        format!("{name} (protocol {})", self.protocol)
    }
}

impl Value for Neighbour {
    fn maker(&self) -> String {
        format!("another program, with address {}", self.mac)
    }
}

impl Keeper {
    /// Plans these keys now, before all others.
    pub(super) fn hurry(&mut self, keys: &[ObjectKey]) {
        self.hurried.extend_from_slice(keys);
    }

    /// Performs what urgent batches want.
    pub(super) fn perform_urgent(&mut self) -> Result<(), Error> {
        let keys = std::mem::take(&mut self.hurried);
        let now = Instant::now();
        for keys in keys.chunks(SLICE) {
            let (mut neighbours, mut routes) = (Vec::new(), Vec::new());
            for key in keys {
                match key {
                    ObjectKey::Route(key) => self.routes.plan_key(now, key, &mut routes),
                    ObjectKey::Neighbour(key) => self.neighbours.plan_key(now, key, &mut neighbours),
                }
            }
            self.perform(neighbours, routes)?;
        }
        // A key that turned out to be taken, or to have changed meanwhile, is looked at again at once.
        if keys.iter().any(|key| matches!(key, ObjectKey::Route(key) if self.routes.pending(key))) {
            let mut routes = Vec::new();
            for key in &keys {
                if let ObjectKey::Route(key) = key {
                    self.routes.plan_key(now, key, &mut routes);
                }
            }
            self.perform(Vec::new(), routes)?;
        }
        Ok(())
    }

    /// Performs one slice of whatever is due.
    pub(super) fn perform_slice(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let (mut neighbours, mut routes) = (Vec::new(), Vec::new());
        // Neighbours first: a route should find them there.
        self.neighbours.plan(now, SLICE, &mut neighbours);
        self.routes.plan(now, SLICE - neighbours.len(), &mut routes);
        self.perform(neighbours, routes)
    }

    fn perform(
        &mut self,
        neighbours: Vec<Op<NeighbourKey, Neighbour>>,
        routes: Vec<Op<RouteKey, Route>>,
    ) -> Result<(), Error> {
        let now = Instant::now();
        let mut requests = Vec::with_capacity(neighbours.len() + routes.len());
        let mut sent_neighbours = Vec::new();
        for op in neighbours {
            match self.prepare_neighbour(&op) {
                Prepared::Send(request) => {
                    requests.push(request);
                    sent_neighbours.push(op);
                }
                Prepared::Refuse(why) => self.neighbours.done(now, op.key(), Err(why)),
                Prepared::Done => self.neighbours.done(now, op.key(), Ok(())),
            }
        }
        let mut sent_routes = Vec::new();
        for op in routes {
            match self.prepare_route(&op) {
                Prepared::Send(request) => {
                    requests.push(request);
                    sent_routes.push(op);
                }
                Prepared::Refuse(why) => self.routes.done(now, op.key(), Err(why)),
                Prepared::Done => self.routes.done(now, op.key(), Ok(())),
            }
        }
        if requests.is_empty() {
            return Ok(());
        }
        self.counts.changes += requests.len() as u64;
        let answers = self.writer.perform(requests);
        let answers = answers
            .map_err(|source| Error::Socket { doing: "changing routes and neighbours".to_owned(), source })?;
        let now = Instant::now();
        let mut answers = answers.into_iter();
        for (op, answer) in sent_neighbours.into_iter().zip(answers.by_ref()) {
            let result = answer.or_else(|failure| verdict(&op, failure));
            self.note_lost_answer(&result);
            self.neighbours.done(now, op.key(), result);
        }
        for (op, answer) in sent_routes.into_iter().zip(answers) {
            let result = answer.or_else(|failure| verdict(&op, failure));
            self.note_lost_answer(&result);
            if result == Err(Refusal::Exists) {
                self.unexplained.insert(*op.key());
            }
            self.routes.done(now, op.key(), result);
        }
        self.look_up(now)
    }

    /// Without an answer only a listing tells what is.
    fn note_lost_answer(&mut self, result: &Result<(), Refusal>) {
        if *result == Err(Refusal::NoAnswer) {
            self.due.everything();
        }
    }

    fn prepare_route(&self, op: &Op<RouteKey, Route>) -> Prepared {
        let (key, route, flags) = match op {
            Op::Create(key, route) => (key, route, NLM_F_CREATE | NLM_F_EXCL),
            Op::Replace(key, route) => (key, route, NLM_F_REPLACE),
            Op::Delete(key) => {
                let message = message::removal(key, self.settings.protocol);
                return Prepared::Send(Request { message: RouteNetlinkMessage::DelRoute(message), flags: 0 });
            }
        };
        if let Some(why) = route.hops().iter().find_map(|hop| self.unready(&hop.device)) {
            return Prepared::Refuse(why);
        }
        match message::write(key, route, |device| self.links.index(device)) {
            Ok(message) => Prepared::Send(Request { message: RouteNetlinkMessage::NewRoute(message), flags }),
            Err(missing) => Prepared::Refuse(Refusal::LinkMissing(missing)),
        }
    }

    fn prepare_neighbour(&self, op: &Op<NeighbourKey, Neighbour>) -> Prepared {
        let key = op.key();
        let protocol = self.settings.protocol;
        match (op, self.links.index(&key.device)) {
            // It went with its device.
            (Op::Delete(_), None) => Prepared::Done,
            (Op::Delete(_), Some(index)) => {
                let message = neighbour::message(key.address, index, None, protocol);
                Prepared::Send(Request { message: RouteNetlinkMessage::DelNeighbour(message), flags: 0 })
            }
            (Op::Create(..) | Op::Replace(..), None) => Prepared::Refuse(Refusal::LinkMissing(key.device)),
            (Op::Create(_, value) | Op::Replace(_, value), Some(index)) => match self.unready(&key.device) {
                Some(why) => Prepared::Refuse(why),
                None => {
                    let message = neighbour::message(key.address, index, Some(value), protocol);
                    // On a device of ours an entry that is there is a learned one. Elsewhere it may be someone's.
                    let replace = self.is_workload(&key.device) || matches!(op, Op::Replace(..));
                    let flags = NLM_F_CREATE | if replace { NLM_F_REPLACE } else { NLM_F_EXCL };
                    Prepared::Send(Request { message: RouteNetlinkMessage::NewNeighbour(message), flags })
                }
            },
        }
    }

    /// Why nothing can be put on this device now.
    fn unready(&self, device: &IfName) -> Option<Refusal> {
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
        (Op::Delete(_), libc::ESRCH | libc::ENOENT | libc::ENODEV) => Ok(()),
        (Op::Create(..), libc::EEXIST) => Err(Refusal::Exists),
        (Op::Replace(..), libc::ENOENT | libc::ESRCH) => Err(Refusal::Vanished),
        (_, errno) => Err(Refusal::Kernel { errno, message: refused.words() }),
    }
}
