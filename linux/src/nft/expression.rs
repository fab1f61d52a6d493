//! The expressions of rules: what is matched, and what becomes of the packet.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::nft::attributes::Attributes;

/// The register that everything here passes through.
const REGISTER: u32 = 1;
/// The register of verdicts.
const VERDICT: u32 = 0;

/// An expression as the kernel takes it. Most rules are written by [`Match`] and [`Verdict`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// Takes a property of the packet (`NFT_META_*`).
    Meta(u32),
    /// Takes bytes of the packet: header (1 network, 2 transport), offset, length.
    Payload(u32, u32, u32),
    /// Keeps the bits of what was taken that are set here.
    Mask(Vec<u8>),
    /// Goes on if what was taken is this (`true`) or is not.
    Compare(bool, Vec<u8>),
    /// Goes on if what was taken is in this set (`true`) or is not.
    Lookup(bool, String),
    /// Takes the device by which the source would be reached through the device that the packet came in by; 0 if it would not.
    WayBack,
    /// Counts.
    Counter,
    /// Keeps the packet out of connection tracking.
    Untrack,
    /// Rewrites the source to the address of the device that the packet leaves by, with a port by chance.
    Masquerade,
    /// Drops (0) or accepts (1).
    Immediate(u32),
    /// Takes these bytes.
    Load(Vec<u8>),
    /// Rewrites an address to what was taken.
    Translate {
        /// The destination, else the source.
        destination: bool,
        /// Of IPv4, else IPv6.
        v4: bool,
        /// With a port by chance, else with its own where that is free.
        any_port: bool,
    },
}

/// Which address of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

/// A condition on packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// It is IPv4 (else IPv6) and that address is, or is not, in this set.
    Address {
        /// IPv4, else IPv6.
        v4: bool,
        /// Which address.
        of: Direction,
        /// Is in it, or is not.
        within: bool,
        /// The set's name.
        set: String,
    },
    /// It is of the network's family and that address lies in it.
    Within(Direction, IpNetwork),
    /// It is IPv4.
    V4,
    /// It is IPv4 and that address lies in 127.0.0.0/8.
    Loopback(Direction),
    /// It came in by a device whose name does not begin so.
    NotFromDevice(String),
    /// It came in by the device of this name.
    Device(String),
    /// It leaves by the device of this name.
    ToDevice(String),
    /// The device that it came in by is not the one by which its source is reached.
    NoWayBack,
    /// It is of this protocol (`IPPROTO_*`).
    Protocol(u8),
    /// It is UDP to this port.
    UdpPort(u16),
    /// These bytes are at this offset from the beginning of the transport header.
    Transport(u32, Vec<u8>),
}

/// What becomes of a packet that fulfils all conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is dropped, and counted.
    Drop,
    /// It goes on in no further rule of the chain.
    Accept,
    /// Its connection is not tracked, which must be said before tracking begins: with a priority below -200.
    Untrack,
    /// It takes the address of the device that it leaves by.
    Masquerade,
    /// It goes to this address, and so does the rest of its connection. The conditions must say of which family it is.
    SendTo(IpAddr),
    /// It comes from this address, and so does the rest of its connection. The conditions must say of which family it is.
    ComeFrom(IpAddr),
    /// The same for what many share one address for: the port is chosen by chance.
    LeaveAs(IpAddr),
}

const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
/// `NF_NAT_RANGE_PROTO_RANDOM_FULLY`: two pods must not race for one port.
const RANDOM_FULLY: u32 = 1 << 4;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;

impl Match {
    pub(super) fn expressions(&self) -> Vec<Expression> {
        match self {
            Self::Address { v4, of, within, set } => {
                let (offset, length) = place(*v4, *of);
                let mut all = family(*v4);
                all.push(Expression::Payload(NETWORK, offset, length));
                all.push(Expression::Lookup(*within, set.clone()));
                all
            }
            Self::Within(of, network) => {
                let (offset, length) = place(network.is_ipv4(), *of);
                let mut all = family(network.is_ipv4());
                all.push(Expression::Payload(NETWORK, offset, length));
                all.push(Expression::Mask(bytes(network.mask())));
                all.push(Expression::Compare(true, bytes(network.network())));
                all
            }
            Self::V4 => family(true),
            Self::Loopback(of) => {
                let (offset, _) = place(true, *of);
                let mut all = family(true);
                all.push(Expression::Payload(NETWORK, offset, 1));
                all.push(Expression::Compare(true, vec![127]));
                all
            }
            Self::Device(name) => named(META_IIFNAME, name),
            Self::ToDevice(name) => named(META_OIFNAME, name),
            Self::NotFromDevice(prefix) => vec![
                Expression::Meta(META_IIFNAME),
                // Without the closing zero only the beginning is compared.
                Expression::Compare(false, prefix.as_bytes().to_vec()),
            ],
            Self::NoWayBack => vec![Expression::WayBack, Expression::Compare(true, vec![0; 4])],
            Self::Protocol(number) => {
                vec![Expression::Meta(META_L4PROTO), Expression::Compare(true, vec![*number])]
            }
            Self::UdpPort(port) => {
                let mut all = Self::Protocol(17).expressions();
                all.push(Expression::Payload(TRANSPORT, 2, 2));
                all.push(Expression::Compare(true, port.to_be_bytes().to_vec()));
                all
            }
            Self::Transport(offset, bytes) => {
                let length = u32::try_from(bytes.len()).unwrap_or_default();
                vec![
                    Expression::Payload(TRANSPORT, *offset, length),
                    Expression::Compare(true, bytes.clone()),
                ]
            }
        }
    }
}

impl Verdict {
    pub(super) fn expressions(self) -> Vec<Expression> {
        match self {
            Self::Drop => vec![Expression::Counter, Expression::Immediate(0)],
            Self::Accept => vec![Expression::Immediate(1)],
            Self::Untrack => vec![Expression::Untrack],
            Self::Masquerade => vec![Expression::Masquerade],
            Self::SendTo(address) => translate(address, true, false),
            Self::ComeFrom(address) => translate(address, false, false),
            Self::LeaveAs(address) => translate(address, false, true),
        }
    }
}

fn translate(to: IpAddr, destination: bool, any_port: bool) -> Vec<Expression> {
    vec![Expression::Load(bytes(to)), Expression::Translate { destination, v4: to.is_ipv4(), any_port }]
}

/// That the device which this property names is the one of this name.
fn named(property: u32, name: &str) -> Vec<Expression> {
    let mut whole = name.as_bytes().to_vec();
    whole.push(0);
    vec![Expression::Meta(property), Expression::Compare(true, whole)]
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn family(v4: bool) -> Vec<Expression> {
    let number = if v4 { NFPROTO_IPV4 } else { NFPROTO_IPV6 };
    vec![Expression::Meta(META_NFPROTO), Expression::Compare(true, vec![number])]
}

/// Offset and length of an address in its header.
fn place(v4: bool, of: Direction) -> (u32, u32) {
    match (v4, of) {
        (true, Direction::Source) => (12, 4),
        (true, Direction::Destination) => (16, 4),
        (false, Direction::Source) => (8, 16),
        (false, Direction::Destination) => (24, 16),
    }
}

impl Expression {
    /// As attributes: NFTA_EXPR_NAME and NFTA_EXPR_DATA.
    pub(super) fn encode(&self) -> Attributes {
        let new = Attributes::default;
        let value = |bytes: &[u8]| new().bytes(1, bytes);
        let (name, data) = match self {
            Self::Meta(key) => ("meta", new().number(1, REGISTER).number(2, *key)),
            Self::Payload(base, offset, length) => {
                let data = new().number(1, REGISTER).number(2, *base);
                ("payload", data.number(3, *offset).number(4, *length))
            }
            Self::Mask(mask) => {
                let length = u32::try_from(mask.len()).unwrap_or_default();
                let data = new().number(1, REGISTER).number(2, REGISTER).number(3, length);
                ("bitwise", data.nest(4, value(mask)).nest(5, value(&vec![0; mask.len()])))
            }
            Self::Compare(equal, bytes) => {
                let data = new().number(1, REGISTER).number(2, u32::from(!equal));
                ("cmp", data.nest(3, value(bytes)))
            }
            Self::Lookup(within, set) => {
                let data = new().text(1, set).number(2, REGISTER);
                ("lookup", data.number(5, u32::from(!within)))
            }
            // NFT_FIB_RESULT_OIF by NFTA_FIB_F_SADDR and NFTA_FIB_F_IIF.
            Self::WayBack => ("fib", new().number(1, REGISTER).number(2, 1).number(3, 1 | 1 << 3)),
            Self::Counter => ("counter", new()),
            Self::Untrack => ("notrack", new()),
            Self::Masquerade => ("masq", new().number(1, RANDOM_FULLY)),
            Self::Immediate(code) => {
                let verdict = new().nest(2, new().number(1, *code));
                ("immediate", new().number(1, VERDICT).nest(2, verdict))
            }
            Self::Load(bytes) => ("immediate", new().number(1, REGISTER).nest(2, value(bytes))),
            Self::Translate { destination, v4, any_port } => {
                let family = if *v4 { NFPROTO_IPV4 } else { NFPROTO_IPV6 };
                let data = new().number(1, u32::from(*destination)).number(2, u32::from(family));
                let data = data.number(3, REGISTER).number(4, REGISTER);
                ("nat", if *any_port { data.number(7, RANDOM_FULLY) } else { data })
            }
        };
        new().text(1, name).nest(2, data)
    }
}
