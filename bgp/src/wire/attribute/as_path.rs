//! AS_PATH (type 2, RFC 4271 §5.1.2, RFC 6793): the autonomous systems a route went through.

use super::{Draft, OPTIONAL, Outgoing, Row, TRANSITIVE};
use crate::wire::Context;
use crate::wire::code_points::attribute as code;
use crate::wire::error::{Disposition, Error, Fault};
use crate::wire::reader::Reader;
use bytes::{BufMut, BytesMut};

use std::fmt;

use smallvec::{SmallVec, smallvec};

use crate::config::Asn;

/// The path, its nearest AS first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AsPath {
    /// The segments; none of them is empty.
    pub segments: SmallVec<[Segment; 1]>,
}

/// A run of AS numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    /// Whether their order counts.
    pub kind: SegmentKind,
    /// The numbers.
    pub asns: SmallVec<[Asn; 4]>,
}

/// What a segment's numbers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SegmentKind {
    /// Unordered (AS_SET).
    Set,
    /// Ordered (AS_SEQUENCE).
    Sequence,
}

impl AsPath {
    /// The path through these, nearest first.
    pub fn sequence(asns: impl IntoIterator<Item = Asn>) -> AsPath {
        let asns: SmallVec<[Asn; 4]> = asns.into_iter().collect();
        if asns.is_empty() {
            return AsPath::default();
        }
        AsPath { segments: smallvec![Segment { kind: SegmentKind::Sequence, asns }] }
    }

    /// The length for comparison: a set counts as one (RFC 4271 §9.1.2.2 a).
    pub fn hops(&self) -> usize {
        let count = |segment: &Segment| match segment.kind {
            SegmentKind::Set => 1,
            SegmentKind::Sequence => segment.asns.len(),
        };
        self.segments.iter().map(count).sum()
    }

    /// Whether `asn` appears anywhere.
    pub fn contains(&self, asn: Asn) -> bool {
        self.segments.iter().any(|segment| segment.asns.contains(&asn))
    }

    /// How often `asn` appears.
    pub fn count(&self, asn: Asn) -> usize {
        let asns = self.segments.iter().flat_map(|segment| segment.asns.iter());
        asns.filter(|other| **other == asn).count()
    }

    /// Whether the path is empty, as that of routes from inside the own AS is.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The AS the route was received from: the first of a leading sequence. `None` for an empty path and for one
    /// that begins with a set.
    pub fn neighbour(&self) -> Option<Asn> {
        self.segments.first().filter(|first| first.kind == SegmentKind::Sequence)?.asns.first().copied()
    }

    /// Puts `new` in the place of `old`, wherever it is.
    pub fn replace(&mut self, old: Asn, new: Asn) {
        let asns = self.segments.iter_mut().flat_map(|segment| segment.asns.iter_mut());
        asns.filter(|asn| **asn == old).for_each(|asn| *asn = new);
    }

    /// Takes out every private number (RFC 6996, RFC 7300).
    pub fn remove_private(&mut self) {
        for segment in &mut self.segments {
            segment.asns.retain(|asn| !asn.is_private());
        }
        self.segments.retain(|segment| !segment.asns.is_empty());
    }

    /// Adds a segment at the end, as a part of the last one where that says the same.
    fn join(&mut self, mut segment: Segment) {
        match self.segments.last_mut() {
            Some(last)
                if last.kind == SegmentKind::Sequence
                    && segment.kind == SegmentKind::Sequence
                    && last.asns.len() + segment.asns.len() <= 255 =>
            {
                last.asns.append(&mut segment.asns);
            }
            Some(_) | None => self.segments.push(segment),
        }
    }

    /// Puts `asn` in front (RFC 4271 §5.1.2 b). A segment holds at most 255.
    pub fn prepend(&mut self, asn: Asn) {
        match self.segments.first_mut() {
            Some(first) if first.kind == SegmentKind::Sequence && first.asns.len() < 255 => {
                first.asns.insert(0, asn)
            }
            _ => self.segments.insert(0, Segment { kind: SegmentKind::Sequence, asns: smallvec![asn] }),
        }
    }
}

impl fmt::Display for AsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.segments.iter().enumerate() {
            let (open, close, between) = match segment.kind {
                SegmentKind::Set => ("{", "}", ","),
                SegmentKind::Sequence => ("", "", " "),
            };
            f.write_str(if index == 0 { "" } else { " " })?;
            f.write_str(open)?;
            for (index, asn) in segment.asns.iter().enumerate() {
                write!(f, "{}{asn}", if index == 0 { "" } else { between })?;
            }
            f.write_str(close)?;
        }
        Ok(())
    }
}

/// The octets of one AS number.
#[derive(Clone, Copy)]
enum Width {
    Two,
    Four,
}

impl Width {
    fn of(context: &Context) -> Width {
        if context.four_octet { Width::Four } else { Width::Two }
    }

    fn read(self, value: &mut Reader<'_>) -> Result<Asn, Error> {
        Ok(Asn(match self {
            Width::Two => u32::from(value.u16()?),
            Width::Four => value.u32()?,
        }))
    }

    fn write(self, asn: Asn, out: &mut BytesMut) {
        match self {
            Width::Two => out.put_u16(asn.two_octets()),
            Width::Four => out.put_u32(asn.0),
        }
    }
}

/// What becomes of segments of confederations (3, 4): none is spoken here, so that they come from outside of one.
#[derive(Clone, Copy)]
enum Confederation {
    /// They make the attribute malformed (RFC 5065 §5, RFC 7606 §7.2).
    Refused,
    /// They are left out (RFC 6793 §6).
    LeftOut,
}

fn read(value: &mut Reader<'_>, width: Width, confederation: Confederation) -> Result<AsPath, Error> {
    let mut path = AsPath::default();
    while !value.is_empty() {
        let at = *value;
        let (kind, count) = (value.u8()?, value.u8()?);
        let known = match (kind, confederation) {
            (1, _) => Some(Some(SegmentKind::Set)),
            (2, _) => Some(Some(SegmentKind::Sequence)),
            (3 | 4, Confederation::LeftOut) => Some(None),
            _ => None,
        };
        let Some(kind) = known.filter(|_| count != 0) else {
            return Err(at.error(Fault::Segment { kind, count }));
        };
        let mut asns = SmallVec::with_capacity(usize::from(count));
        for _ in 0..count {
            let asn = width.read(value)?;
            if asn.0 == 0 {
                return Err(at.error(Fault::ZeroAs));
            }
            asns.push(asn);
        }
        path.segments.extend(kind.map(|kind| Segment { kind, asns }));
    }
    Ok(path)
}

fn write(path: &AsPath, width: Width, out: &mut BytesMut) {
    for segment in &path.segments {
        let kind = match segment.kind {
            SegmentKind::Set => 1,
            SegmentKind::Sequence => 2,
        };
        for part in segment.asns.chunks(255) {
            out.put_u8(kind);
            // A chunk has at most 255 elements.
            out.put_u8(u8::try_from(part.len()).unwrap_or(u8::MAX));
            part.iter().for_each(|asn| width.write(*asn, out));
        }
    }
}

pub(super) const ROW: Row = Row {
    code: code::AS_PATH,
    name: "AS_PATH",
    flags: TRANSITIVE,
    malformed: Disposition::TreatAsWithdraw,
    rfc: "RFC 7606 §7.2",
    decode,
    encode,
};

pub(super) fn decode(value: &mut Reader<'_>, context: &Context, draft: &mut Draft) -> Result<(), Error> {
    let at = value.offset();
    draft.set.as_path = read(value, Width::of(context), Confederation::Refused)?;
    draft.as_path_at = Some(at);
    Ok(())
}

pub(super) fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    super::put(code::AS_PATH, out, |out| write(&outgoing.set.as_path, Width::of(outgoing.context), out));
}

pub(super) const AS4_ROW: Row = Row {
    code: code::AS4_PATH,
    name: "AS4_PATH",
    flags: OPTIONAL | TRANSITIVE,
    malformed: Disposition::AttributeDiscard,
    rfc: "RFC 6793 §6",
    decode: decode_as4,
    encode: encode_as4,
};

/// AS4_PATH (type 17, RFC 6793 §3): the numbers a two-octet AS_PATH could not hold.
///
/// Between two speakers that know four octets it has no place and is dropped, however it looks (RFC 6793 §6).
pub(super) fn decode_as4(value: &mut Reader<'_>, context: &Context, draft: &mut Draft) -> Result<(), Error> {
    if !context.four_octet {
        draft.as4_path = Some(read(value, Width::Four, Confederation::LeftOut)?);
    }
    Ok(())
}

pub(super) fn encode_as4(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    let path = &outgoing.set.as_path;
    let wide = path.segments.iter().flat_map(|segment| &segment.asns).any(|asn| asn.0 > u32::from(u16::MAX));
    if !outgoing.context.four_octet && wide {
        super::put(code::AS4_PATH, out, |out| write(path, Width::Four, out));
    }
}

/// The true path of a two-octet AS_PATH and the AS4_PATH beside it (RFC 6793 §4.2.3): what is longer of the first is
/// put before the second. An AS4_PATH longer than the AS_PATH is ignored.
pub(in crate::wire) fn merge(path: AsPath, as4: AsPath) -> AsPath {
    let Some(mut missing) = path.hops().checked_sub(as4.hops()) else { return path };
    let mut merged = AsPath::default();
    for mut segment in path.segments {
        if missing == 0 {
            break;
        }
        match segment.kind {
            SegmentKind::Set => missing -= 1,
            SegmentKind::Sequence => {
                segment.asns.truncate(missing);
                missing -= segment.asns.len();
            }
        }
        merged.join(segment);
    }
    as4.segments.into_iter().for_each(|segment| merged.join(segment));
    merged
}
