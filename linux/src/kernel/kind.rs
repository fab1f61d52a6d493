//! What the thread must know of each kind of object: its table, and how an operation becomes a request.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;

use crate::kernel::ObjectKey;
use crate::kernel::keeper::Keeper;
use crate::kernel::tables::Tables;
use crate::netlink::batch::Request;
use crate::object::address::{self, AddressKey, Assigned};
use crate::object::forwarding::{self, Forwarding, ForwardingKey};
use crate::object::link::IfName;
use crate::object::neighbour::{self, Neighbour, NeighbourKey};
use crate::object::route::{Route, RouteKey, message};
use crate::object::setting::{Setting, SettingKey};
use crate::object::tunnel::{self, Tunnel, TunnelKind};
use crate::sysctl;
use crate::table::{Key, Op, Refusal, Table, Value};

/// What becomes of an operation before it reaches the kernel.
pub(super) enum Prepared {
    /// It is sent.
    Send(Request),
    /// What is there must go before what is wanted can come; this makes it go.
    Clear(Request),
    /// It cannot be done now.
    Refuse(Refusal),
    /// Nothing is left to do.
    Done,
}

impl Prepared {
    fn send(message: RouteNetlinkMessage, flags: u16) -> Self {
        Self::Send(Request { message, flags })
    }
}

/// A kind of object, as its key.
pub(super) trait Kind: Key + Copy {
    /// What an object of this kind says besides its key.
    type Value: Value;
    fn object(self) -> ObjectKey;
    fn table(tables: &mut Tables) -> &mut Table<Self, Self::Value>;
    fn prepare(op: &Op<Self, Self::Value>, keeper: &Keeper) -> Prepared;
    /// The kernel says that there is one already, though none was seen.
    fn taken(self, keeper: &mut Keeper) {
        keeper.due.everything();
    }
}

/// How an object is put in place of none, or of ours.
fn flags<K, V>(op: &Op<K, V>) -> u16 {
    NLM_F_CREATE | if matches!(op, Op::Replace(..)) { NLM_F_REPLACE } else { NLM_F_EXCL }
}

impl Kind for IfName {
    type Value = Tunnel;

    fn object(self) -> ObjectKey {
        ObjectKey::Tunnel(self)
    }

    fn table(tables: &mut Tables) -> &mut Table<Self, Tunnel> {
        &mut tables.tunnels
    }

    fn prepare(op: &Op<Self, Tunnel>, keeper: &Keeper) -> Prepared {
        let link = keeper.links.get(op.key());
        match (op, link) {
            (Op::Create(name, tunnel), _) => {
                let message = RouteNetlinkMessage::NewLink(tunnel::creation(name, tunnel));
                Prepared::send(message, NLM_F_CREATE | NLM_F_EXCL)
            }
            (Op::Replace(..), None) => Prepared::Refuse(Refusal::Vanished),
            (Op::Replace(_, tunnel), Some(link)) if tunnel.can_follow(&Tunnel::of(link)) => {
                Prepared::send(RouteNetlinkMessage::SetLink(tunnel::change(link.index, tunnel)), 0)
            }
            (Op::Replace(..), Some(link)) => {
                let message = RouteNetlinkMessage::DelLink(tunnel::removal(link.index));
                Prepared::Clear(Request { message, flags: 0 })
            }
            (Op::Delete(_), None) => Prepared::Done,
            (Op::Delete(_), Some(link)) => {
                let message = match Tunnel::of(link).kind {
                    // The kernel's own device cannot be removed.
                    TunnelKind::Ipip => RouteNetlinkMessage::SetLink(tunnel::down(link.index)),
                    TunnelKind::Vxlan(_) | TunnelKind::Other(_) => {
                        RouteNetlinkMessage::DelLink(tunnel::removal(link.index))
                    }
                };
                Prepared::send(message, 0)
            }
        }
    }
}

impl Kind for SettingKey {
    type Value = Setting;

    fn object(self) -> ObjectKey {
        ObjectKey::Setting(self)
    }

    fn table(tables: &mut Tables) -> &mut Table<Self, Setting> {
        &mut tables.settings
    }

    fn prepare(op: &Op<Self, Setting>, _: &Keeper) -> Prepared {
        let (key, value) = match op {
            Op::Create(key, value) | Op::Replace(key, value) => (key, value),
            Op::Delete(_) => return Prepared::Done,
        };
        match sysctl::write(&key.path(), &value.0.to_string()) {
            Ok(()) => Prepared::Done,
            Err(error) if error.is_missing() => Prepared::Refuse(Refusal::LinkMissing(key.device)),
            Err(error) => Prepared::Refuse(Refusal::Kernel { errno: 0, message: error.to_string() }),
        }
    }
}

impl Kind for AddressKey {
    type Value = Assigned;

    fn object(self) -> ObjectKey {
        ObjectKey::Address(self)
    }

    fn table(tables: &mut Tables) -> &mut Table<Self, Assigned> {
        &mut tables.addresses
    }

    fn prepare(op: &Op<Self, Assigned>, keeper: &Keeper) -> Prepared {
        let key = op.key();
        let (protocol, index) = (keeper.settings.protocol, keeper.links.index(&key.device));
        match (op, index) {
            (Op::Delete(_), None) => Prepared::Done,
            (Op::Delete(_), Some(index)) => {
                let message = address::message(index, key.network, false, 0);
                Prepared::send(RouteNetlinkMessage::DelAddress(message), 0)
            }
            (Op::Create(..) | Op::Replace(..), None) => Prepared::Refuse(Refusal::LinkMissing(key.device)),
            (Op::Create(..) | Op::Replace(..), Some(index)) => match keeper.unready(&key.device) {
                Some(why) => Prepared::Refuse(why),
                None => {
                    let message = address::message(index, key.network, true, protocol);
                    Prepared::send(RouteNetlinkMessage::NewAddress(message), flags(op))
                }
            },
        }
    }
}

impl Kind for ForwardingKey {
    type Value = Forwarding;

    fn object(self) -> ObjectKey {
        ObjectKey::Forwarding(self)
    }

    fn table(tables: &mut Tables) -> &mut Table<Self, Forwarding> {
        &mut tables.forwarding
    }

    fn prepare(op: &Op<Self, Forwarding>, keeper: &Keeper) -> Prepared {
        let key = op.key();
        match (op, keeper.links.index(&key.device)) {
            (Op::Delete(_), None) => Prepared::Done,
            (Op::Delete(_), Some(index)) => {
                let message = forwarding::message(key.mac, index, None);
                Prepared::send(RouteNetlinkMessage::DelNeighbour(message), 0)
            }
            (Op::Create(..) | Op::Replace(..), None) => Prepared::Refuse(Refusal::LinkMissing(key.device)),
            (Op::Create(_, entry) | Op::Replace(_, entry), Some(index)) => {
                let message = forwarding::message(key.mac, index, Some(entry));
                Prepared::send(RouteNetlinkMessage::NewNeighbour(message), flags(op))
            }
        }
    }
}

impl Kind for NeighbourKey {
    type Value = Neighbour;

    fn object(self) -> ObjectKey {
        ObjectKey::Neighbour(self)
    }

    fn table(tables: &mut Tables) -> &mut Table<Self, Neighbour> {
        &mut tables.neighbours
    }

    fn prepare(op: &Op<Self, Neighbour>, keeper: &Keeper) -> Prepared {
        let key = op.key();
        let protocol = keeper.settings.protocol;
        match (op, keeper.links.index(&key.device)) {
            // It went with its device.
            (Op::Delete(_), None) => Prepared::Done,
            (Op::Delete(_), Some(index)) => {
                let message = neighbour::message(key.address, index, None, protocol);
                Prepared::send(RouteNetlinkMessage::DelNeighbour(message), 0)
            }
            (Op::Create(..) | Op::Replace(..), None) => Prepared::Refuse(Refusal::LinkMissing(key.device)),
            (Op::Create(_, value) | Op::Replace(_, value), Some(index)) => {
                if let Some(why) = keeper.unready(&key.device) {
                    return Prepared::Refuse(why);
                }
                let message = neighbour::message(key.address, index, Some(value), protocol);
                // On a device of ours an entry that is there is a learned one. Elsewhere it may be someone's.
                let ours = keeper.is_workload(&key.device) || keeper.is_own_tunnel(&key.device);
                let flags = if ours { NLM_F_CREATE | NLM_F_REPLACE } else { flags(op) };
                Prepared::send(RouteNetlinkMessage::NewNeighbour(message), flags)
            }
        }
    }

    fn taken(self, _: &mut Keeper) {
        // It is seen by the next listing; until then it is tried again.
    }
}

impl Kind for RouteKey {
    type Value = Route;

    fn object(self) -> ObjectKey {
        ObjectKey::Route(self)
    }

    fn table(tables: &mut Tables) -> &mut Table<Self, Route> {
        &mut tables.routes
    }

    fn prepare(op: &Op<Self, Route>, keeper: &Keeper) -> Prepared {
        let (key, route, flags) = match op {
            Op::Create(key, route) => (key, route, NLM_F_CREATE | NLM_F_EXCL),
            Op::Replace(key, route) => (key, route, NLM_F_REPLACE),
            Op::Delete(key) => {
                let seen = keeper.tables.routes.own_value(key);
                let number = seen.map_or(keeper.settings.protocol, |route| route.protocol);
                let message = message::removal(key, number);
                return Prepared::send(RouteNetlinkMessage::DelRoute(message), 0);
            }
        };
        if let Some(why) = route.hops().iter().find_map(|hop| keeper.unready(&hop.device)) {
            return Prepared::Refuse(why);
        }
        match message::write(key, route, |device| keeper.links.index(device)) {
            Ok(message) => Prepared::send(RouteNetlinkMessage::NewRoute(message), flags),
            Err(missing) => Prepared::Refuse(Refusal::LinkMissing(missing)),
        }
    }

    fn taken(self, keeper: &mut Keeper) {
        keeper.unexplained.insert(self);
    }
}

impl Value for Tunnel {
    fn maker(&self) -> String {
        format!("another program, as a device of another kind ({self})")
    }
}

impl Value for Setting {
    fn maker(&self) -> String {
        format!("another program, which set it to {}", self.0)
    }
}

impl Value for Assigned {
    fn maker(&self) -> String {
        "another program".to_owned()
    }
}

impl Value for Forwarding {
    fn maker(&self) -> String {
        format!("another program, towards {}", self.destination)
    }
}

impl Value for Neighbour {
    fn maker(&self) -> String {
        format!("another program, with address {}", self.mac)
    }
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
