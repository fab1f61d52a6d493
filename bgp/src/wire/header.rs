//! The message header (RFC 4271 §4.1): 16 octets of ones, a length, a type.

use bytes::{BufMut, BytesMut};

use super::code_points::message;
use super::error::{Error, Fault, Section};
use super::reader::Reader;

/// The octets of a header.
pub const LENGTH: usize = 19;
/// The octets of the longest message, header included.
pub const MAX_MESSAGE: usize = 4096;
/// The octets of the longest message between two speakers that know extended messages (RFC 8654 §2).
pub const MAX_EXTENDED: usize = 65_535;

/// A header whose length is possible for its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The octets of the message, header included.
    pub length: usize,
    /// The message type, one of [`super::code_points::message`].
    pub kind: u8,
}

impl Header {
    /// Reads the header at the start of `stream`; `None` if not all of it has come. Nothing needs to be reserved
    /// for a message before its length was checked here.
    ///
    /// `longest` bounds every type but OPEN and KEEPALIVE, which never outgrow 4096 octets (RFC 8654 §2).
    pub fn peek(stream: &[u8], longest: usize) -> Result<Option<Header>, Error> {
        let Some(bytes) = stream.get(..LENGTH) else { return Ok(None) };
        let mut reader = Reader::new(Section::Header, 0, bytes);
        if reader.section(Section::Header, 16)?.rest().iter().any(|octet| *octet != 0xff) {
            return Err(Error { section: Section::Header, offset: 0, fault: Fault::Marker });
        }
        let (length, kind) = (reader.u16()?, reader.u8()?);
        let bounds = match kind {
            message::OPEN => 29..=MAX_MESSAGE,
            message::UPDATE => 23..=longest,
            message::NOTIFICATION => 21..=longest,
            message::KEEPALIVE => LENGTH..=LENGTH,
            // Its own decoder tells a wrong length in words that depend on the session (RFC 7313 §5).
            message::ROUTE_REFRESH => LENGTH..=longest,
            _ => return Err(Error { section: Section::Header, offset: 18, fault: Fault::MessageType(kind) }),
        };
        if !bounds.contains(&usize::from(length)) {
            let fault = Fault::MessageLength { kind, length };
            return Err(Error { section: Section::Header, offset: 16, fault });
        }
        Ok(Some(Header { length: usize::from(length), kind }))
    }
}

/// Begins a message; [`finish`] writes its length when it is complete.
pub(super) fn begin(out: &mut BytesMut, kind: u8) -> usize {
    let start = out.len();
    out.put_bytes(0xff, 16);
    out.put_u16(0);
    out.put_u8(kind);
    start
}

/// Completes the message begun at `start`.
pub(super) fn finish(out: &mut BytesMut, start: usize) {
    let length = out.len() - start;
    put_length(out, start + 16, length);
}

/// Writes a length of two octets at `place`. Encoders never let a field outgrow its message, which is shorter than
/// two octets can tell.
pub(super) fn put_length(out: &mut BytesMut, place: usize, length: usize) {
    let length = u16::try_from(length).unwrap_or(u16::MAX);
    if let Some(field) = out.get_mut(place..place + 2) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(length: u16, kind: u8) -> Vec<u8> {
        let mut bytes = vec![0xff; 16];
        bytes.extend(length.to_be_bytes());
        bytes.push(kind);
        bytes
    }

    #[test]
    fn lengths_are_checked_for_the_type() {
        let good = [(19, 4), (29, 1), (4096, 1), (23, 2), (4096, 2), (21, 3), (23, 5)];
        for (length, kind) in good {
            let found = Header::peek(&header(length, kind), MAX_MESSAGE).unwrap().unwrap();
            assert_eq!((found.length, found.kind), (usize::from(length), kind));
        }
        for (length, kind) in
            [(18, 4), (20, 4), (0, 2), (22, 2), (4097, 2), (65535, 1), (28, 1), (20, 3), (18, 5)]
        {
            let error = Header::peek(&header(length, kind), MAX_MESSAGE).unwrap_err();
            assert_eq!(error.fault, Fault::MessageLength { kind, length });
            assert_eq!(error.notification().cause.codes(), (1, 2));
            assert_eq!(&error.notification().data[..], length.to_be_bytes());
        }
    }

    #[test]
    fn extended_messages_are_read_where_they_were_agreed_but_open_and_keepalive_stay_short() {
        for (length, kind) in [(4097, 2), (65535, 2), (65535, 3), (65535, 5)] {
            let found = Header::peek(&header(length, kind), MAX_EXTENDED).unwrap().unwrap();
            assert_eq!(found.length, usize::from(length));
            assert!(Header::peek(&header(length, kind), MAX_MESSAGE).is_err());
        }
        for (length, kind) in [(4097, 1), (20, 4)] {
            assert!(Header::peek(&header(length, kind), MAX_EXTENDED).is_err());
        }
    }

    #[test]
    fn an_unknown_type_and_a_broken_marker_are_told_apart() {
        assert_eq!(
            Header::peek(&header(19, 9), MAX_MESSAGE).unwrap_err().notification().cause.codes(),
            (1, 3)
        );
        let mut bytes = header(19, 4);
        bytes[7] = 0xfe;
        assert_eq!(Header::peek(&bytes, MAX_MESSAGE).unwrap_err().notification().cause.codes(), (1, 1));
    }

    #[test]
    fn less_than_a_header_is_waited_for() {
        assert_eq!(Header::peek(&header(19, 4)[..18], MAX_MESSAGE), Ok(None));
    }
}
