//! Moments as documents (RFC 3339) and as tables write them.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A moment of the contract, if it is one.
pub(crate) fn moment(time: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    time.and_then(|t| Timestamp::new(t.seconds, t.nanos).ok())
}

/// As `calicoctl` writes since when: the local time of day, or the date if that is longer than a day ago.
pub(crate) fn since(time: Option<Timestamp>) -> String {
    let now = Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH);
    time.map_or_else(String::new, |time| written(time, now, &TimeZone::system()))
}

fn written(time: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let local = time.to_zoned(zone.clone());
    let format = if now.duration_since(time).as_hours() < 24 { "%H:%M:%S" } else { "%Y-%m-%d" };
    local.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_day_is_told_by_the_clock_and_the_past_by_the_calendar() {
        let now: Timestamp = "2026-03-02T12:00:00Z".parse().unwrap();
        let told = |time: &str| written(time.parse().unwrap(), now, &TimeZone::UTC);
        assert_eq!(told("2026-03-02T11:59:58Z"), "11:59:58");
        assert_eq!(told("2026-03-01T12:00:01Z"), "12:00:01");
        assert_eq!(told("2026-03-01T12:00:00Z"), "2026-03-01");
    }
}
