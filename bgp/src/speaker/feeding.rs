//! How peers that come to an update group late are told what the others know already.
//!
//! One feed serves all of them. It goes round the table, a slice at a time; what a slice says is encoded once and goes into
//! the ring between the changes, in the order in which the RIB said both. So a member that comes follows the ring from the
//! start, comes in wherever the feed just is, and is through when the feed has come round to that place.

use std::ops::Range;

use crate::rib::DestId;

/// What one member has of the feed.
#[derive(Debug, Default)]
pub(super) struct Feeding {
    /// The positions of the ring at which messages of the feed are for the member.
    span: Range<u64>,
    /// Its lap, until it is through.
    lap: Option<Lap>,
}

#[derive(Debug)]
struct Lap {
    /// Where the feed was when the member came.
    start: DestId,
    /// The feed has been at the end of the table since.
    past_end: bool,
}

impl Feeding {
    /// A member comes in where the feed is, at this position of the ring.
    pub(super) fn begin(start: DestId, position: u64) -> Self {
        Feeding { span: position..u64::MAX, lap: Some(Lap { start, past_end: false }) }
    }

    /// Whether there is more for the member to be told.
    pub(super) fn is_underway(&self) -> bool {
        self.lap.is_some()
    }

    /// Whether a message of the feed at this position of the ring is for the member.
    pub(super) fn covers(&self, position: u64) -> bool {
        self.span.contains(&position)
    }

    /// The feed has come to `next`, or to the end of the table, from where it goes on at the beginning; the ring has come
    /// to `position`.
    pub(super) fn advance(&mut self, next: Option<DestId>, position: u64) {
        let Some(lap) = &mut self.lap else { return };
        let through = match next {
            Some(next) => lap.past_end && next >= lap.start,
            // A table that has become shorter than where the member came in has no such place any more.
            None => lap.past_end || lap.start == DestId::FIRST,
        };
        lap.past_end |= next.is_none();
        if through {
            self.lap = None;
            self.span.end = position;
        }
    }

    /// Ends it for this member, and says whether there was more to be told.
    pub(super) fn stop(&mut self) -> bool {
        self.span = 0..0;
        self.lap.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slices of a table of so many destinations, as the RIB would give them.
    fn next(at: u32, end: u32, slice: u32) -> Option<DestId> {
        (at + slice < end).then_some(DestId(at + slice))
    }

    #[test]
    fn a_member_is_through_when_the_feed_has_been_everywhere_once() {
        for (end, slice, start) in [(10, 3, 0), (10, 3, 3), (10, 3, 9), (10, 10, 0), (1, 4, 0), (12, 4, 8)] {
            let mut feeding = Feeding::begin(DestId(start), 100);
            let (mut at, mut told) = (start, vec![0; 64]);
            let mut position = 100;
            while feeding.is_underway() {
                (at..(at + slice).min(end)).for_each(|id| told[id as usize] += 1);
                assert!(feeding.covers(position));
                position += 1;
                let to = next(at, end, slice);
                feeding.advance(to, position);
                at = to.map_or(0, |id| id.0);
                assert!(position < 200, "it goes round and round");
            }
            let all: Vec<i32> = told[..end as usize].to_vec();
            assert_eq!(all, vec![1; end as usize], "table of {end}, from {start} by {slice}");
            assert!(!feeding.covers(position), "what is fed afterwards is for others");
            assert!(feeding.covers(position - 1), "what was fed before is still to be read");
        }
    }

    #[test]
    fn a_table_that_becomes_shorter_than_where_a_member_came_in_ends_its_lap_all_the_same() {
        let mut feeding = Feeding::begin(DestId(50), 0);
        for to in [None, Some(DestId(8)), None] {
            assert!(feeding.is_underway());
            feeding.advance(to, 1);
        }
        assert!(!feeding.is_underway());
    }

    #[test]
    fn a_feed_that_is_stopped_says_whether_it_was_through() {
        let mut feeding = Feeding::begin(DestId::FIRST, 7);
        assert!(feeding.stop() && !feeding.is_underway() && !feeding.covers(7));
        assert!(!feeding.stop());
    }
}
