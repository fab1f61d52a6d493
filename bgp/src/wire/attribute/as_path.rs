//! AS_PATH (type 2, RFC 4271 §5.1.2, RFC 6793): the autonomous systems a route went through.

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

    /// Whether the path is empty, as that of routes from inside the own AS is.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The AS the route was received from: the first of a leading sequence. `None` for an empty path and for one
    /// that begins with a set.
    pub fn neighbour(&self) -> Option<Asn> {
        self.segments.first().filter(|first| first.kind == SegmentKind::Sequence)?.asns.first().copied()
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
