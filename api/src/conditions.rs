//! Status conditions: setting one without losing the time of its last change.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// What a condition says, before it is stamped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Condition type, CamelCase (`Allocatable`).
    pub type_: &'static str,
    /// `True`, `False` or (as `None`) `Unknown`.
    pub status: Option<bool>,
    /// CamelCase reason code.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

impl Verdict {
    fn status_text(&self) -> &'static str {
        match self.status {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        }
    }
}

/// Sets a condition in a list kept sorted by type. `lastTransitionTime` moves only when the status does.
/// Returns whether anything changed, so that callers do not write what is already there.
pub fn set(
    conditions: &mut Vec<Condition>,
    verdict: &Verdict,
    generation: Option<i64>,
    now: Timestamp,
) -> bool {
    let status = verdict.status_text();
    if let Some(found) = conditions.iter_mut().find(|c| c.type_ == verdict.type_) {
        let same = found.status == status
            && found.reason == verdict.reason
            && found.message == verdict.message
            && found.observed_generation == generation;
        if same {
            return false;
        }
        if found.status != status {
            found.last_transition_time = Time(now);
            found.status = status.to_owned();
        }
        found.reason.clone_from(&verdict.reason);
        found.message.clone_from(&verdict.message);
        found.observed_generation = generation;
        return true;
    }
    conditions.push(Condition {
        type_: verdict.type_.to_owned(),
        status: status.to_owned(),
        reason: verdict.reason.clone(),
        message: verdict.message.clone(),
        observed_generation: generation,
        last_transition_time: Time(now),
    });
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    true
}

/// Whether a condition is `True` for this generation: an older verdict does not speak about the object as it is now.
pub fn holds(conditions: &[Condition], type_: &str, generation: Option<i64>) -> bool {
    conditions.iter().any(|c| c.type_ == type_ && c.status == "True" && c.observed_generation == generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: Option<bool>, reason: &str) -> Verdict {
        Verdict { type_: "Allocatable", status, reason: reason.into(), message: String::new() }
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let (t0, t1) = (Timestamp::from_second(10).unwrap(), Timestamp::from_second(20).unwrap());
        let mut list = Vec::new();
        assert!(set(&mut list, &verdict(Some(true), "Ok"), Some(1), t0));
        assert!(
            !set(&mut list, &verdict(Some(true), "Ok"), Some(1), t1),
            "nothing changed, nothing to write"
        );
        assert!(set(&mut list, &verdict(Some(true), "StillOk"), Some(2), t1));
        assert_eq!(list[0].last_transition_time.0, t0);
        assert!(set(&mut list, &verdict(Some(false), "CIDROverlap"), Some(2), t1));
        assert_eq!(list[0].last_transition_time.0, t1);
    }

    #[test]
    fn a_condition_of_an_older_generation_does_not_hold() {
        let mut list = Vec::new();
        set(&mut list, &verdict(Some(true), "Ok"), Some(1), Timestamp::UNIX_EPOCH);
        assert!(holds(&list, "Allocatable", Some(1)));
        assert!(!holds(&list, "Allocatable", Some(2)));
    }
}
