//! What callers want of the kernel thread, and what they are told when they do not get it.

use std::fmt;

use crate::object::address::{AddressKey, Assigned};
use crate::object::forwarding::{Forwarding, ForwardingKey};
use crate::object::link::IfName;
use crate::object::neighbour::{Neighbour, NeighbourKey};
use crate::object::route::{Route, RouteKey};
use crate::object::setting::{Setting, SettingKey};
use crate::object::tunnel::Tunnel;
use crate::table::Refusal;

/// Something wanted of the kernel: an object, or (none) that ours is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A tunnel device.
    Tunnel(IfName, Option<Tunnel>),
    /// A setting of a device. Without a value it is left as it is, and not kept any more.
    Setting(SettingKey, Option<Setting>),
    /// An address on a tunnel device.
    Address(AddressKey, Option<Assigned>),
    /// A forwarding entry of a VXLAN device.
    Forwarding(ForwardingKey, Option<Forwarding>),
    /// A permanent neighbour.
    Neighbour(NeighbourKey, Option<Neighbour>),
    /// A route of the main table. Its `protocol` is filled in.
    Route(RouteKey, Option<Route>),
}

impl Wanted {
    /// What names the object.
    pub fn key(&self) -> ObjectKey {
        match self {
            Self::Tunnel(key, _) => ObjectKey::Tunnel(*key),
            Self::Setting(key, _) => ObjectKey::Setting(*key),
            Self::Address(key, _) => ObjectKey::Address(*key),
            Self::Forwarding(key, _) => ObjectKey::Forwarding(*key),
            Self::Neighbour(key, _) => ObjectKey::Neighbour(*key),
            Self::Route(key, _) => ObjectKey::Route(*key),
        }
    }
}

/// What names an object of any kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKey {
    /// A tunnel device.
    Tunnel(IfName),
    /// A setting of a device.
    Setting(SettingKey),
    /// An address on a tunnel device.
    Address(AddressKey),
    /// A forwarding entry of a VXLAN device.
    Forwarding(ForwardingKey),
    /// A neighbour.
    Neighbour(NeighbourKey),
    /// A route.
    Route(RouteKey),
}

impl ObjectKey {
    /// The object as not wanted any more.
    pub fn unwanted(self) -> Wanted {
        match self {
            Self::Tunnel(key) => Wanted::Tunnel(key, None),
            Self::Setting(key) => Wanted::Setting(key, None),
            Self::Address(key) => Wanted::Address(key, None),
            Self::Forwarding(key) => Wanted::Forwarding(key, None),
            Self::Neighbour(key) => Wanted::Neighbour(key, None),
            Self::Route(key) => Wanted::Route(key, None),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tunnel(key) => write!(f, "tunnel device {key}"),
            Self::Setting(key) => write!(f, "setting {key}"),
            Self::Address(key) => write!(f, "address {key}"),
            Self::Forwarding(key) => write!(f, "forwarding entry {key}"),
            Self::Neighbour(key) => write!(f, "neighbour {key}"),
            Self::Route(key) => write!(f, "route {key}"),
        }
    }
}

/// An object that is not as wanted, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{object} is not as wanted: {why}")]
pub struct Refused {
    /// Which object.
    pub object: ObjectKey,
    /// Why.
    #[source]
    pub why: Refusal,
}

impl Refused {
    /// The reason as one word: `RouteConflict`, `RouteContended`, `NeighbourKernelRefused`, …
    pub fn code(&self) -> String {
        let object = match self.object {
            ObjectKey::Tunnel(_) => "Tunnel",
            ObjectKey::Setting(_) => "Setting",
            ObjectKey::Address(_) => "Address",
            ObjectKey::Forwarding(_) => "Forwarding",
            ObjectKey::Neighbour(_) => "Neighbour",
            ObjectKey::Route(_) => "Route",
        };
        format!("{object}{}", self.why.code())
    }
}

/// Everything that is not as wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals {
    /// How many objects there are.
    pub total: usize,
    /// The first of them, at most [`Refusals::MOST`].
    pub first: Vec<Refused>,
}

impl Refusals {
    /// How many are told one by one.
    pub const MOST: usize = 100;

    /// Those that another hand holds or keeps changing.
    pub fn contests(&self) -> impl Iterator<Item = &Refused> {
        let contest =
            |refused: &&Refused| matches!(refused.why, Refusal::Conflict { .. } | Refusal::Contended { .. });
        self.first.iter().filter(contest)
    }
}
