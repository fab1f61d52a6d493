//! What can be wrong with received bytes, where, and what it costs (RFC 4271 §6, RFC 7606).

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::capability::Capability;
use super::code_points::attribute as code;
use super::notification::{Cause, HeaderError, Notification, OpenError, RefreshError, UpdateError};
use crate::config::{Families, Family, RemoteAs};

/// What a fault costs. There is no "AFI/SAFI disable" here: where RFC 7606 allows it, the session is reset. The order is the
/// ladder of RFC 7606 §2: of several faults in one message the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Disposition {
    /// The attribute is dropped, the rest of the message used.
    AttributeDiscard,
    /// Every prefix the message announces is withdrawn.
    TreatAsWithdraw,
    /// The session ends with a NOTIFICATION.
    SessionReset,
}

/// The part of a message a fault lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Section {
    /// The 19 octets before every message.
    Header,
    /// The OPEN message outside of its parameters.
    Open,
    /// The optional parameters of OPEN.
    Parameters,
    /// Withdrawn Routes of an UPDATE.
    Withdrawn,
    /// The list of path attributes.
    Attributes,
    /// The value of the attribute of this type.
    Attribute(u8),
    /// Network Layer Reachability Information of an UPDATE.
    Nlri,
    /// The NOTIFICATION message.
    Notification,
    /// The ROUTE-REFRESH message.
    RouteRefresh,
}

impl Disposition {
    /// A stable word for status, JSON and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Disposition::AttributeDiscard => "AttributeDiscard",
            Disposition::TreatAsWithdraw => "TreatAsWithdraw",
            Disposition::SessionReset => "SessionReset",
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Section::Header => f.write_str("message header"),
            Section::Open => f.write_str("OPEN"),
            Section::Parameters => f.write_str("OPEN optional parameters"),
            Section::Withdrawn => f.write_str("UPDATE withdrawn routes"),
            Section::Attributes => f.write_str("UPDATE path attributes"),
            Section::Attribute(code) => write!(f, "UPDATE attribute {}", super::attribute::name(*code)),
            Section::Nlri => f.write_str("UPDATE NLRI"),
            Section::Notification => f.write_str("NOTIFICATION"),
            Section::RouteRefresh => f.write_str("ROUTE-REFRESH"),
        }
    }
}

/// A fault and its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reading {section}, octet {offset} of the message's body: {fault}")]
pub struct Error {
    /// The part of the message.
    pub section: Section,
    /// Octets from the end of the message header (from its start for [`Section::Header`]).
    pub offset: usize,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The marker is not all ones.
    #[error("the marker is not all ones: this is not BGP, or the stream lost its place")]
    Marker,
    /// The length of a message is out of bounds for its type.
    #[error("a message of type {kind} cannot have {length} octets")]
    MessageLength {
        /// The message type.
        kind: u8,
        /// The length found.
        length: u16,
    },
    /// The message type is unknown.
    #[error("message type {0} is unknown")]
    MessageType(u8),
    /// A field does not fit in what is left.
    #[error("the field goes beyond the end of its section")]
    Truncated,
    /// BGP-4 is the only version there is.
    #[error("version {0} is asked for, only 4 is spoken here")]
    Version(u8),
    /// The peer is in another AS than configured.
    #[error("the peer says it is in AS {found}, configured is {expected}: correct one of the two")]
    PeerAs {
        /// What the peer says.
        found: u32,
        /// What is configured.
        expected: RemoteAs,
    },
    /// The BGP identifier is zero, or equals the own one inside the own AS (RFC 6286).
    #[error("BGP identifier {0} is zero or our own: give every router one of its own")]
    Identifier(std::net::Ipv4Addr),
    /// A hold time of one or two seconds.
    #[error("a hold time of {0} s is not allowed: 0 or at least 3")]
    HoldTime(u16),
    /// The optional parameter is unknown.
    #[error("optional parameter {0} is unknown")]
    Parameter(u8),
    /// No address family is common.
    #[error("the peer offers none of the configured address families")]
    NoCommonFamily(Families),
    /// The flags contradict the attribute's definition.
    #[error("flags 0x{0:02x} contradict the attribute's definition")]
    Flags(u8),
    /// The length of an attribute's value is not what its type has.
    #[error("a length of {0} octets is not possible for this attribute")]
    AttributeLength(usize),
    /// A well-known attribute nobody knows.
    #[error("well-known attribute {0} is unknown")]
    UnknownWellKnown(u8),
    /// The attribute appears twice.
    #[error("the attribute appears more than once")]
    Duplicate,
    /// A mandatory attribute is missing.
    #[error("the attribute is missing")]
    Missing,
    /// ORIGIN has an undefined value.
    #[error("origin {0} is undefined")]
    Origin(u8),
    /// A segment of AS_PATH is empty, of an unknown type, or has AS 0 in it (RFC 7607).
    #[error("a segment of type {kind} with {count} AS numbers is malformed")]
    Segment {
        /// The segment type.
        kind: u8,
        /// How many AS numbers it should have.
        count: u8,
    },
    /// AS 0 (RFC 7607).
    #[error("AS 0 must not appear (RFC 7607)")]
    ZeroAs,
    /// The path of an external peer does not begin with its AS.
    #[error("the path does not begin with the peer's AS {0}")]
    FirstAs(u32),
    /// The next hop cannot be one.
    #[error("{0} cannot be a next hop")]
    NextHop(std::net::IpAddr),
    /// The next hop of MP_REACH_NLRI has an impossible length.
    #[error("a next hop of {0} octets is not possible for this address family")]
    NextHopLength(usize),
    /// A prefix is longer than its family allows.
    #[error("a prefix of {0} bits is longer than its family allows")]
    PrefixLength(u8),
    /// A ROUTE-REFRESH is not four octets long (RFC 7313 §5).
    #[error("a ROUTE-REFRESH has four octets behind its header, this one {0}")]
    RefreshLength(usize),
    /// Attributes without any reachable prefix, and one of them faulty (RFC 7606 §5.2).
    #[error("an attribute is faulty and no prefix was found that it belongs to (RFC 7606 §5.2)")]
    NoPrefixes,
}

impl Error {
    /// What the fault costs: what the attribute's own file says of malformed values, but for the rules that hold for
    /// every attribute (RFC 7606 §3).
    pub fn disposition(&self) -> Disposition {
        use Disposition::{AttributeDiscard, SessionReset, TreatAsWithdraw};
        match (self.section, &self.fault) {
            // All but the first are dropped, but of two lists of prefixes none can be told to be the right one.
            (Section::Attribute(code::MP_REACH | code::MP_UNREACH), Fault::Duplicate) => SessionReset,
            (Section::Attribute(_), Fault::Duplicate) => AttributeDiscard,
            // The prefixes are known, so that they can be withdrawn.
            (Section::Attribute(code::MP_REACH), Fault::NextHop(_)) => TreatAsWithdraw,
            (Section::Attribute(_), Fault::Flags(_) | Fault::Missing) => TreatAsWithdraw,
            (Section::Attribute(code), _) => super::attribute::malformed(code),
            (Section::Attributes, Fault::Truncated) => TreatAsWithdraw,
            (Section::Attributes | Section::Withdrawn | Section::Nlri, _) => SessionReset,
            (Section::Header | Section::Open | Section::Parameters, _) => SessionReset,
            (Section::Notification | Section::RouteRefresh, _) => SessionReset,
        }
    }

    /// The section of the RFC that calls this a fault or says what it costs.
    pub fn rfc(&self) -> &'static str {
        match (self.section, &self.fault) {
            (_, Fault::Duplicate) => "RFC 7606 §3 g",
            (_, Fault::Flags(_)) => "RFC 7606 §3 c",
            (_, Fault::Missing) => "RFC 7606 §3 d",
            (_, Fault::NoPrefixes) => "RFC 7606 §5.2",
            (_, Fault::ZeroAs) => "RFC 7607 §2",
            (_, Fault::FirstAs(_)) => "RFC 4271 §6.3",
            (_, Fault::NoCommonFamily(_)) => "RFC 5492 §3",
            (_, Fault::Identifier(_)) => "RFC 6286 §2.2",
            (Section::Attribute(code), _) => super::attribute::rfc(code),
            (Section::Attributes, Fault::Truncated) => "RFC 7606 §4",
            (Section::Attributes, _) => "RFC 7606 §3 b",
            (Section::Withdrawn | Section::Nlri, _) => "RFC 7606 §5.3",
            (Section::Header, _) => "RFC 4271 §6.1",
            (Section::Open, _) => "RFC 4271 §6.2",
            (Section::Parameters, _) => "RFC 9072 §2",
            (Section::Notification, _) => "RFC 4271 §6.4",
            (Section::RouteRefresh, _) => "RFC 7313 §5",
        }
    }

    /// The NOTIFICATION that tells the peer (RFC 4271 §6.1 to §6.3).
    pub fn notification(&self) -> Notification {
        Notification { cause: self.cause(), data: self.data() }
    }

    fn cause(&self) -> Cause {
        match (&self.fault, self.section) {
            (Fault::Marker, _) => Cause::Header(HeaderError::NotSynchronized),
            (Fault::MessageLength { .. }, _) => Cause::Header(HeaderError::BadLength),
            (Fault::MessageType(_), _) => Cause::Header(HeaderError::BadType),
            (Fault::Version(_), _) => Cause::Open(OpenError::Version),
            (Fault::PeerAs { .. }, _) => Cause::Open(OpenError::PeerAs),
            (Fault::Identifier(_), _) => Cause::Open(OpenError::Identifier),
            (Fault::HoldTime(_), _) => Cause::Open(OpenError::HoldTime),
            (Fault::Parameter(_), _) => Cause::Open(OpenError::Parameter),
            (Fault::NoCommonFamily(_), _) => Cause::Open(OpenError::Capability),
            (_, Section::Open | Section::Parameters) => Cause::Open(OpenError::Unspecific),
            (_, Section::RouteRefresh) => Cause::Refresh(RefreshError::InvalidLength),
            (_, Section::Header | Section::Notification) => Cause::Header(HeaderError::BadLength),
            (Fault::PrefixLength(_) | Fault::Truncated, Section::Nlri | Section::Withdrawn) => {
                Cause::Update(UpdateError::NetworkField)
            }
            (Fault::Duplicate, Section::Attribute(_)) => Cause::Update(UpdateError::AttributeList),
            (_, Section::Attribute(code::MP_REACH | code::MP_UNREACH)) => {
                Cause::Update(UpdateError::OptionalAttribute)
            }
            (_, Section::Attributes | Section::Attribute(_) | Section::Nlri | Section::Withdrawn) => {
                Cause::Update(UpdateError::AttributeList)
            }
        }
    }

    fn data(&self) -> Bytes {
        match &self.fault {
            Fault::MessageLength { length, .. } => Bytes::copy_from_slice(&length.to_be_bytes()),
            Fault::MessageType(kind) => Bytes::copy_from_slice(&[*kind]),
            // The version supported here, in two octets.
            Fault::Version(_) => Bytes::from_static(&[0, 4]),
            // What is missing (RFC 5492 §5).
            Fault::NoCommonFamily(families) => {
                let mut list = BytesMut::new();
                for (afi, safi) in families.iter().map(Family::code) {
                    Capability::Multiprotocol(afi, safi).encode(&mut list);
                }
                list.freeze()
            }
            _ => Bytes::new(),
        }
    }
}
