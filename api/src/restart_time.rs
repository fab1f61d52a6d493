//! How long a peer keeps routes while this end restarts, as manifests write it: a Go duration such as `120s` or `2m30s`.

use std::time::Duration;

/// What is written where nothing is: the time Calico's speakers ask for.
pub const DEFAULT_RESTART_TIME: Duration = Duration::from_secs(120);
/// The longest time that fits into the capability (RFC 4724 §3: twelve bits of seconds).
const LONGEST: Duration = Duration::from_secs(4095);
/// What schemas allow.
pub(crate) const PATTERN: &str = r"^([0-9]{1,6}[smh]){1,3}$";

/// Why a restart time could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no restart time: write seconds, minutes or hours such as 120s or 2m30s, up to 4095s; 0s turns graceful restart off"
)]
pub struct RestartTimeError(pub String);

/// Reads a restart time: whole seconds up to 4095 (RFC 4724 §3). Zero means that nothing is to be kept.
///
/// # Errors
/// [`RestartTimeError`] when the text is none.
pub fn parse_restart_time(text: &str) -> Result<Duration, RestartTimeError> {
    let time = parse_duration(text).filter(|time| *time <= LONGEST);
    time.ok_or_else(|| RestartTimeError(text.to_owned()))
}

/// Reads a Go duration of whole seconds, minutes and hours; none where the text is no such duration.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let number: u32 = number.parse().ok()?;
        let unit = after.chars().next()?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return None,
        };
        total += Duration::from_secs(seconds * u64::from(number));
        rest = &after[unit.len_utf8()..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_times_are_whole_seconds_that_fit_into_the_capability() {
        for (text, seconds) in [("120s", 120), ("2m30s", 150), ("1h", 3600), ("0s", 0), ("4095s", 4095)] {
            assert_eq!(parse_restart_time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "120", "s", "2d", "4096s", "2h", "1.5m", "-1s", "99999999999s", "1µ"] {
            assert!(parse_restart_time(text).is_err(), "{text}");
        }
    }
}
