//! Netlink attributes, written and read: length, kind, value, padded to four bytes; numbers of nftables are big-endian.

/// The bit that marks an attribute which holds others.
const NESTED: u16 = 1 << 15;

/// Attributes being written.
#[derive(Default)]
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    pub(super) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        // Values are bounded by who writes them: the longest, a part of a set's elements, is far below 64 KiB.
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// A text with its closing zero.
    pub(super) fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    pub(super) fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(super) fn nest(self, kind: u16, inner: Self) -> Self {
        self.bytes(kind | NESTED, &inner.0)
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Attributes being read: kind and value, in their order; what is cut off ends them.
pub(super) fn read(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & !NESTED & !(1 << 14);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of a kind.
pub(super) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    read(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A text, without its closing zero.
pub(super) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// A number.
pub(super) fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.get(..4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let inner = Attributes::default().number(1, 7).text(2, "abc");
        let bytes = Attributes::default().text(1, "caracal").nest(4, inner).into_bytes();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(find(&bytes, 1).map(text).as_deref(), Some("caracal"));
        let inner = find(&bytes, 4).unwrap();
        assert_eq!(find(inner, 1).and_then(number), Some(7));
        assert_eq!(find(inner, 2).map(text).as_deref(), Some("abc"));
        assert_eq!(find(&bytes, 9), None);
    }

    #[test]
    fn broken_attributes_end_the_reading() {
        assert_eq!(read(&[]).count(), 0);
        assert_eq!(read(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(read(&[200, 0, 1, 0, 1, 2, 3]).count(), 0);
    }
}
