//! Everything that is kept: a table a kind of object.

use std::time::Instant;

use crate::kernel::kind::Kind;
use crate::kernel::{ObjectKey, Refused};
use crate::object::address::{AddressKey, Assigned};
use crate::object::forwarding::{Forwarding, ForwardingKey};
use crate::object::link::IfName;
use crate::object::neighbour::{Neighbour, NeighbourKey};
use crate::object::route::{Route, RouteKey};
use crate::object::setting::{Setting, SettingKey};
use crate::object::tunnel::Tunnel;
use crate::table::{Refusal, Standing, Sweep, Table};

/// The tables, in the order in which their objects need each other.
pub(super) struct Tables {
    pub(super) tunnels: Table<IfName, Tunnel>,
    pub(super) settings: Table<SettingKey, Setting>,
    pub(super) addresses: Table<AddressKey, Assigned>,
    pub(super) forwarding: Table<ForwardingKey, Forwarding>,
    pub(super) neighbours: Table<NeighbourKey, Neighbour>,
    pub(super) routes: Table<RouteKey, Route>,
}

/// Evaluates an expression for each table.
macro_rules! each {
    ($tables:expr, $table:ident => $value:expr) => {{
        let tables = $tables;
        [
            {
                let $table = &tables.tunnels;
                $value
            },
            {
                let $table = &tables.settings;
                $value
            },
            {
                let $table = &tables.addresses;
                $value
            },
            {
                let $table = &tables.forwarding;
                $value
            },
            {
                let $table = &tables.neighbours;
                $value
            },
            {
                let $table = &tables.routes;
                $value
            },
        ]
    }};
}

impl Tables {
    pub(super) fn new() -> Self {
        Self {
            tunnels: Table::new(Sweep::Held),
            settings: Table::new(Sweep::Held),
            addresses: Table::new(Sweep::Held),
            forwarding: Table::new(Sweep::Held),
            neighbours: Table::new(Sweep::Held),
            routes: Table::new(Sweep::Held),
        }
    }

    pub(super) fn release_sweep(&mut self) {
        self.tunnels.release_sweep();
        self.settings.release_sweep();
        self.addresses.release_sweep();
        self.forwarding.release_sweep();
        self.neighbours.release_sweep();
        self.routes.release_sweep();
    }

    /// Tries again, in every table, what was refused for a reason that this holds for.
    pub(super) fn retry(&mut self, may: impl Fn(&ObjectKey, &Refusal) -> bool) {
        fn of<K: Kind>(table: &mut Table<K, K::Value>, may: &impl Fn(&ObjectKey, &Refusal) -> bool) {
            table.retry(|key, _, why| may(&key.object(), why));
        }
        of(&mut self.tunnels, &may);
        of(&mut self.settings, &may);
        of(&mut self.addresses, &may);
        of(&mut self.forwarding, &may);
        of(&mut self.neighbours, &may);
        of(&mut self.routes, &may);
    }

    pub(super) fn is_dirty(&self) -> bool {
        each!(self, table => table.is_dirty()).contains(&true)
    }

    /// When something is due even if nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        each!(self, table => table.deadline()).into_iter().flatten().min()
    }

    /// How many objects are not as wanted.
    pub(super) fn refused(&self) -> usize {
        each!(self, table => table.refused()).into_iter().sum()
    }

    /// Changes whenever [`Tables::refusals`] does.
    pub(super) fn generation(&self) -> u64 {
        each!(self, table => table.generation()).into_iter().sum()
    }

    /// Every object that is not as wanted, and why.
    pub(super) fn refusals(&self) -> impl Iterator<Item = Refused> + '_ {
        fn of<K: Kind>(table: &Table<K, K::Value>) -> impl Iterator<Item = Refused> + '_ {
            table.refusals().map(|(key, why)| Refused { object: key.object(), why: why.clone() })
        }
        of(&self.tunnels)
            .chain(of(&self.settings))
            .chain(of(&self.addresses))
            .chain(of(&self.forwarding))
            .chain(of(&self.neighbours))
            .chain(of(&self.routes))
    }

    pub(super) fn standing(&self, object: &ObjectKey) -> Standing<'_> {
        match object {
            ObjectKey::Tunnel(key) => self.tunnels.standing(key),
            ObjectKey::Setting(key) => self.settings.standing(key),
            ObjectKey::Address(key) => self.addresses.standing(key),
            ObjectKey::Forwarding(key) => self.forwarding.standing(key),
            ObjectKey::Neighbour(key) => self.neighbours.standing(key),
            ObjectKey::Route(key) => self.routes.standing(key),
        }
    }
}
