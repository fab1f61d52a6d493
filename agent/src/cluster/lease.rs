//! Election of one leader by a `coordination.k8s.io/v1` Lease.
//!
//! A pure decision and a small loop. Clocks of different machines are never compared: a lease counts as expired when
//! this process has seen it unchanged for its whole duration by its own monotonic clock. Writes carry the
//! resourceVersion that was read, so of two candidates one wins.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};
use tracing::{debug, info, warn};

/// How long a lease holds without being renewed.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);
/// How often a leader renews, and a candidate looks.
pub const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// A leader that could not renew for this long stops leading: before others may take over.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);

/// What to do about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is free or expired: write ourselves as holder.
    Acquire,
    /// It is ours: write a new renew time.
    Renew,
    /// Somebody else holds it.
    Yield,
}

/// Decides from the lease as read, and since when it has been seen unchanged.
pub fn decide(lease: Option<&LeaseSpec>, me: &str, unchanged_since: Instant, now: Instant) -> Decision {
    let Some(spec) = lease else { return Decision::Acquire };
    match spec.holder_identity.as_deref() {
        None | Some("") => Decision::Acquire,
        Some(holder) if holder == me => Decision::Renew,
        Some(_) => {
            let seconds = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok());
            let duration = seconds.map_or(LEASE_DURATION, Duration::from_secs);
            if now.duration_since(unchanged_since) > duration { Decision::Acquire } else { Decision::Yield }
        }
    }
}

/// One candidate in an election.
pub struct Candidate {
    api: Api<Lease>,
    lease: String,
    identity: String,
    seen: Option<(LeaseSpec, Instant)>,
}

impl Candidate {
    /// A candidate for a lease of a name.
    pub fn new(api: Api<Lease>, lease: &str, identity: &str) -> Self {
        Self { api, lease: lease.to_owned(), identity: identity.to_owned(), seen: None }
    }

    /// Returns when this process is the leader.
    pub async fn elected(&mut self) {
        let mut reported = None;
        loop {
            match self.attempt().await {
                Ok(true) => {
                    info!(lease = self.lease, identity = self.identity, "elected as leader");
                    return;
                }
                Ok(false) => {
                    let holder = self.seen.as_ref().and_then(|(spec, _)| spec.holder_identity.clone());
                    if holder != reported {
                        info!(lease = self.lease, holder = holder.as_deref().unwrap_or("nobody"), "waiting");
                        reported = holder;
                    }
                }
                Err(error) => warn!(lease = self.lease, %error, "the lease cannot be read or written"),
            }
            tokio::time::sleep(RETRY_PERIOD).await;
        }
    }

    /// Renews until leadership is lost; then returns.
    pub async fn lost(&mut self) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(RETRY_PERIOD).await;
            match tokio::time::timeout(RENEW_DEADLINE, self.attempt()).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => {
                    warn!(lease = self.lease, "somebody else holds the lease now");
                    return;
                }
                Ok(Err(error)) => debug!(lease = self.lease, %error, "renewing failed"),
                Err(_) => debug!(lease = self.lease, "renewing took too long"),
            }
            if renewed.elapsed() > RENEW_DEADLINE {
                warn!(lease = self.lease, "not renewed in time: no longer leading");
                return;
            }
        }
    }

    /// Looks once and writes where that is ours to do. `true`: this process holds the lease.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let found = self.api.get_opt(&self.lease).await?;
        let now = Instant::now();
        let spec = found.as_ref().and_then(|l| l.spec.clone());
        let since = match (&self.seen, &spec) {
            (Some((seen, since)), Some(spec)) if seen == spec => *since,
            _ => now,
        };
        self.seen = spec.clone().map(|spec| (spec, since));
        let decision = decide(spec.as_ref(), &self.identity, since, now);
        if decision == Decision::Yield {
            return Ok(false);
        }
        let wanted = self.written(found, decision);
        let written = if wanted.metadata.resource_version.is_some() {
            self.api.replace(&self.lease, &PostParams::default(), &wanted).await
        } else {
            self.api.create(&PostParams::default(), &wanted).await
        };
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn written(&self, found: Option<Lease>, decision: Decision) -> Lease {
        let now = MicroTime(Timestamp::now());
        let mut lease = found.unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(self.lease.clone()), ..ObjectMeta::default() },
            spec: None,
        });
        let spec = lease.spec.get_or_insert_default();
        if decision == Decision::Acquire {
            spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |n| n + 1));
            spec.acquire_time = Some(now.clone());
            spec.holder_identity = Some(self.identity.clone());
        }
        spec.lease_duration_seconds = i32::try_from(LEASE_DURATION.as_secs()).ok();
        spec.renew_time = Some(now);
        lease
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(holder: &str) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_lease_is_taken_only_when_free_or_seen_unchanged_for_its_duration() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let other = held_by("b");
        assert_eq!(decide(None, "a", start, start), Decision::Acquire);
        assert_eq!(decide(Some(&held_by("")), "a", start, start), Decision::Acquire);
        assert_eq!(decide(Some(&held_by("a")), "a", start, after(100)), Decision::Renew);
        assert_eq!(decide(Some(&other), "a", start, after(15)), Decision::Yield);
        assert_eq!(decide(Some(&other), "a", start, after(16)), Decision::Acquire);
        assert_eq!(
            decide(Some(&other), "a", after(10), after(20)),
            Decision::Yield,
            "it was renewed meanwhile"
        );
    }
}
