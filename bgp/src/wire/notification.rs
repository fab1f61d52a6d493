//! The NOTIFICATION message (RFC 4271 §4.5, RFC 4486, RFC 9003): why a session ends.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::error::{Error, Section};
use super::header;
use super::reader::Reader;

/// The octets of data that fit in a message of any session.
const MAX_DATA: usize = header::MAX_MESSAGE - header::LENGTH - 2;

/// The message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Code and subcode.
    pub cause: Cause,
    /// Details whose form depends on the cause.
    pub data: Bytes,
}

/// Code and subcode of a NOTIFICATION.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// 1: the header of a message.
    Header(HeaderError),
    /// 2: an OPEN message.
    Open(OpenError),
    /// 3: an UPDATE message.
    Update(UpdateError),
    /// 4: nothing was heard for the hold time.
    HoldTimer,
    /// 5: a message that the state does not allow (RFC 6608).
    StateMachine(FsmError),
    /// 6: the session is not wanted (any more).
    Cease(Cease),
    /// 7: a ROUTE-REFRESH message (RFC 7313).
    Refresh(RefreshError),
    /// 8: the peer did not read for the send hold time (RFC 9687).
    SendHoldTimer,
    /// Another pair of numbers.
    Other(u8, u8),
}

macro_rules! subcodes {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $code:literal, $text:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// The number on the wire.
            pub fn code(self) -> u8 {
                match self { $($name::$variant => $code,)+ }
            }

            /// The meaning of the number on the wire.
            pub fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some($name::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($name::$variant => $text,)+ })
            }
        }
    };
}

subcodes!(
    /// What is wrong with a message header (RFC 4271 §6.1).
    HeaderError {
        /// Nothing more precise.
        Unspecific = 0, "message header error";
        /// The marker.
        NotSynchronized = 1, "connection not synchronized";
        /// The length.
        BadLength = 2, "bad message length";
        /// The type.
        BadType = 3, "bad message type";
    }
);
subcodes!(
    /// What is wrong with an OPEN (RFC 4271 §6.2, RFC 5492 §5).
    OpenError {
        /// Nothing more precise.
        Unspecific = 0, "OPEN message error";
        /// The version.
        Version = 1, "unsupported version number";
        /// The AS.
        PeerAs = 2, "bad peer AS";
        /// The BGP identifier.
        Identifier = 3, "bad BGP identifier";
        /// An optional parameter.
        Parameter = 4, "unsupported optional parameter";
        /// The hold time.
        HoldTime = 6, "unacceptable hold time";
        /// A capability that is needed was not offered.
        Capability = 7, "unsupported capability";
    }
);
subcodes!(
    /// What is wrong with an UPDATE (RFC 4271 §6.3).
    UpdateError {
        /// Nothing more precise.
        Unspecific = 0, "UPDATE message error";
        /// The list of attributes.
        AttributeList = 1, "malformed attribute list";
        /// An unknown well-known attribute.
        UnknownWellKnown = 2, "unrecognized well-known attribute";
        /// A missing attribute.
        Missing = 3, "missing well-known attribute";
        /// Flags.
        Flags = 4, "attribute flags error";
        /// Length.
        Length = 5, "attribute length error";
        /// ORIGIN.
        Origin = 6, "invalid ORIGIN attribute";
        /// NEXT_HOP.
        NextHop = 8, "invalid NEXT_HOP attribute";
        /// An optional attribute.
        OptionalAttribute = 9, "optional attribute error";
        /// A prefix.
        NetworkField = 10, "invalid network field";
        /// AS_PATH.
        AsPath = 11, "malformed AS_PATH";
    }
);
subcodes!(
    /// The state in which an unexpected message came (RFC 6608).
    FsmError {
        /// Nothing more precise.
        Unspecific = 0, "state machine error";
        /// In OpenSent.
        OpenSent = 1, "unexpected message in OpenSent";
        /// In OpenConfirm.
        OpenConfirm = 2, "unexpected message in OpenConfirm";
        /// In Established.
        Established = 3, "unexpected message in Established";
    }
);
subcodes!(
    /// What is wrong with a ROUTE-REFRESH (RFC 7313 §5).
    RefreshError {
        /// Its length.
        InvalidLength = 1, "invalid ROUTE-REFRESH length";
    }
);
subcodes!(
    /// Why a session is not wanted (RFC 4486).
    Cease {
        /// Nothing more precise.
        Unspecific = 0, "cease";
        /// Too many prefixes.
        MaxPrefixes = 1, "maximum number of prefixes reached";
        /// Turned off by its operator.
        Shutdown = 2, "administrative shutdown";
        /// The peer is not configured any more.
        Deconfigured = 3, "peer de-configured";
        /// Reset by its operator.
        Reset = 4, "administrative reset";
        /// The connection is refused.
        Rejected = 5, "connection rejected";
        /// The configuration changed.
        Reconfigured = 6, "other configuration change";
        /// Another connection of the two speakers stays.
        Collision = 7, "connection collision resolution";
        /// Out of resources.
        Resources = 8, "out of resources";
        /// Hard reset (RFC 8538).
        HardReset = 9, "hard reset";
        /// BFD says that the path is down (RFC 9384).
        BfdDown = 10, "BFD down";
    }
);

impl Cause {
    /// The two numbers on the wire.
    pub fn codes(self) -> (u8, u8) {
        match self {
            Cause::Header(error) => (1, error.code()),
            Cause::Open(error) => (2, error.code()),
            Cause::Update(error) => (3, error.code()),
            Cause::HoldTimer => (4, 0),
            Cause::StateMachine(error) => (5, error.code()),
            Cause::Cease(cease) => (6, cease.code()),
            Cause::Refresh(error) => (7, error.code()),
            Cause::SendHoldTimer => (8, 0),
            Cause::Other(code, subcode) => (code, subcode),
        }
    }

    /// The meaning of the two numbers.
    pub fn from_codes(code: u8, subcode: u8) -> Cause {
        match code {
            1 => HeaderError::from_code(subcode).map(Cause::Header),
            2 => OpenError::from_code(subcode).map(Cause::Open),
            3 => UpdateError::from_code(subcode).map(Cause::Update),
            4 if subcode == 0 => Some(Cause::HoldTimer),
            5 => FsmError::from_code(subcode).map(Cause::StateMachine),
            6 => Cease::from_code(subcode).map(Cause::Cease),
            7 => RefreshError::from_code(subcode).map(Cause::Refresh),
            8 if subcode == 0 => Some(Cause::SendHoldTimer),
            _ => None,
        }
        .unwrap_or(Cause::Other(code, subcode))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, subcode) = self.codes();
        match self {
            Cause::Header(error) => error.fmt(f)?,
            Cause::Open(error) => error.fmt(f)?,
            Cause::Update(error) => error.fmt(f)?,
            Cause::HoldTimer => f.write_str("hold timer expired")?,
            Cause::StateMachine(error) => error.fmt(f)?,
            Cause::Cease(cease) => cease.fmt(f)?,
            Cause::Refresh(error) => error.fmt(f)?,
            Cause::SendHoldTimer => f.write_str("send hold timer expired")?,
            Cause::Other(..) => f.write_str("unknown cause")?,
        }
        write!(f, " ({code}/{subcode})")
    }
}

impl From<Cause> for Notification {
    fn from(cause: Cause) -> Self {
        Notification { cause, data: Bytes::new() }
    }
}

impl Notification {
    /// What the operator of the peer wrote into a shutdown or reset (RFC 9003), if it is readable.
    pub fn shutdown_text(&self) -> Option<&str> {
        let (cause, data) = match (self.cause, &self.data[..]) {
            (Cause::Cease(Cease::HardReset), [code, subcode, data @ ..]) => {
                (Cause::from_codes(*code, *subcode), data)
            }
            (cause, data) => (cause, data),
        };
        let Cause::Cease(Cease::Shutdown | Cease::Reset) = cause else { return None };
        let (length, text) = data.split_first()?;
        std::str::from_utf8(text.get(..usize::from(*length))?).ok().filter(|text| !text.is_empty())
    }

    /// A shutdown or reset with words for the operator of the peer (RFC 9003 §2). More than 255 octets are cut off at
    /// a character's end.
    pub fn with_text(cease: Cease, text: &str) -> Notification {
        let mut end = text.len().min(255);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = text.get(..end).unwrap_or_default();
        let mut data = BytesMut::with_capacity(1 + end);
        // At most 255, as was just seen to.
        data.put_u8(u8::try_from(end).unwrap_or(u8::MAX));
        data.put_slice(text.as_bytes());
        Notification { cause: Cause::Cease(cease), data: data.freeze() }
    }

    /// The same as a Hard Reset (RFC 8538 §3.1): the peer is not to keep routes over it.
    #[must_use]
    pub fn as_hard_reset(&self) -> Notification {
        let (code, subcode) = self.cause.codes();
        let data = [&[code, subcode][..], &self.data].concat();
        Notification { cause: Cause::Cease(Cease::HardReset), data: data.into() }
    }

    /// Reads the body of the message.
    pub fn decode(body: &[u8]) -> Result<Notification, Error> {
        let mut reader = Reader::new(Section::Notification, 0, body);
        let (code, subcode) = (reader.u8()?, reader.u8()?);
        Ok(Notification {
            cause: Cause::from_codes(code, subcode),
            data: Bytes::copy_from_slice(reader.rest()),
        })
    }

    /// Writes the whole message. Data that do not fit are cut off.
    pub fn encode(&self, out: &mut BytesMut) {
        let (code, subcode) = self.cause.codes();
        let message = header::begin(out, super::code_points::message::NOTIFICATION);
        out.put_u8(code);
        out.put_u8(subcode);
        out.put_slice(self.data.get(..self.data.len().min(MAX_DATA)).unwrap_or_default());
        header::finish(out, message);
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)?;
        match self.shutdown_text() {
            Some(text) => write!(f, ": {text:?}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_numbers_survives_the_way_to_the_wire_and_back() {
        for code in 0..=255 {
            for subcode in 0..=255 {
                assert_eq!(Cause::from_codes(code, subcode).codes(), (code, subcode));
            }
        }
    }

    #[test]
    fn the_operators_words_are_told() {
        let told =
            Notification { cause: Cause::Cease(Cease::Shutdown), data: Bytes::from_static(b"\x05later") };
        assert_eq!(told.to_string(), "administrative shutdown (6/2): \"later\"");
        let cut =
            Notification { cause: Cause::Cease(Cease::Shutdown), data: Bytes::from_static(b"\x09later") };
        assert_eq!(cut.shutdown_text(), None);
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        let told = Notification::with_text(Cease::Reset, &"ä".repeat(200));
        assert_eq!((told.data.len(), told.data[0]), (255, 254));
        assert_eq!(told.shutdown_text(), Some("ä".repeat(127).as_str()));
        assert_eq!(Notification::with_text(Cease::Shutdown, "").shutdown_text(), None);
        let garbled =
            Notification { cause: Cause::Cease(Cease::Shutdown), data: Bytes::from_static(b"\x02\xff\xfe") };
        assert_eq!(garbled.shutdown_text(), None);
    }

    #[test]
    fn a_message_of_one_octet_is_truncated() {
        let error = Notification::decode(&[6]).unwrap_err();
        assert_eq!((error.section, error.offset), (Section::Notification, 1));
    }
}
