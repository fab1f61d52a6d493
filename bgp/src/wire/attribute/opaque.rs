//! Attributes this speaker does not know: optional transitive ones are kept as they came and passed on with the
//! Partial bit set (RFC 4271 §5), others are ignored.

use bytes::Bytes;

/// An unknown optional transitive attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Opaque {
    /// Its type.
    pub code: u8,
    /// Its value, within the limits of the message only.
    pub value: Bytes,
}
