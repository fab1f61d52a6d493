//! Trouble on demand: what a client must survive, made when a test asks for it.
//!
//! Faults are rules over requests (by path, method, client) with effects: wait, refuse with a code, never
//! answer, lose the request, or carry it out and lose the reply. Besides, all watches can be cut, and the
//! whole server can be taken down: its port then refuses connections until it is up again.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::Rng as _;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Which half of an exchange gets lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Loss {
    /// The connection breaks before the request is looked at.
    Request,
    /// The request is carried out, then the connection breaks: the client cannot know.
    Reply,
}

/// One rule. Without conditions it meets every request; without effects it does nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Fault {
    /// Only paths that begin so.
    pub path_prefix: String,
    /// Only these HTTP methods; `WATCH` means GET with `watch=true`, which `GET` then leaves out.
    pub methods: Vec<String>,
    /// Only this client address.
    pub from: Option<IpAddr>,
    /// Only clients whose `User-Agent` contains this.
    pub user_agent: String,
    /// The share of matching requests that are hit, 0 to 1.
    pub rate: f64,
    /// After so many hits the rule is over.
    pub times: Option<u64>,
    /// Wait so many milliseconds before anything else.
    pub latency_ms: u64,
    /// Plus a random time of up to so many milliseconds.
    pub jitter_ms: u64,
    /// Refuse with this status code.
    pub error: Option<u16>,
    /// `Retry-After` of that refusal, in seconds.
    pub retry_after: Option<u32>,
    /// Never answer; the connection stays open.
    pub hang: bool,
    /// Break the connection.
    pub lose: Option<Loss>,
}

impl Default for Fault {
    fn default() -> Self {
        Self {
            path_prefix: String::new(),
            methods: Vec::new(),
            from: None,
            user_agent: String::new(),
            rate: 1.0,
            times: None,
            latency_ms: 0,
            jitter_ms: 0,
            error: None,
            retry_after: None,
            hang: false,
            lose: None,
        }
    }
}

/// A rule at work.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActiveFault {
    /// By which it can be removed.
    pub id: u64,
    /// How many requests it hit.
    pub hits: u64,
    /// The rule.
    pub fault: Fault,
}

/// The request, as far as rules look at it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) from: IpAddr,
    pub(crate) user_agent: &'a str,
}

/// What shall happen to one request.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) latency: Duration,
    /// Status code and `Retry-After`.
    pub(crate) error: Option<(u16, Option<u32>)>,
    pub(crate) hang: bool,
    pub(crate) lose: Option<Loss>,
}

#[derive(Debug)]
struct Shared {
    rules: Mutex<Vec<ActiveFault>>,
    next: AtomicU64,
    down: watch::Sender<bool>,
    /// Whether the port refuses, which follows soon.
    refuses: watch::Sender<bool>,
    cuts: watch::Sender<u64>,
}

/// The switchboard of a server; clones work on the same one.
#[derive(Debug, Clone)]
pub struct Faults(Arc<Shared>);

impl Default for Faults {
    fn default() -> Self {
        Self(Arc::new(Shared {
            rules: Mutex::default(),
            next: AtomicU64::new(1),
            down: watch::Sender::new(false),
            refuses: watch::Sender::new(false),
            cuts: watch::Sender::new(0),
        }))
    }
}

impl Faults {
    /// Puts a rule to work and returns its id.
    pub fn add(&self, fault: Fault) -> u64 {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.rules().push(ActiveFault { id, hits: 0, fault });
        id
    }

    /// Ends a rule; false if there is none of this id.
    pub fn remove(&self, id: u64) -> bool {
        let mut rules = self.rules();
        let before = rules.len();
        rules.retain(|rule| rule.id != id);
        rules.len() < before
    }

    /// Ends all rules.
    pub fn clear(&self) {
        self.rules().clear();
    }

    /// The rules at work.
    pub fn list(&self) -> Vec<ActiveFault> {
        self.rules().clone()
    }

    /// Breaks the connection under every open watch.
    pub fn disconnect_watches(&self) {
        self.0.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Closes the port and every connection, and waits until the port refuses.
    pub async fn down(&self) {
        self.set_down(true).await;
    }

    /// Ends [`Faults::down`], and waits until the port accepts.
    pub async fn up(&self) {
        self.set_down(false).await;
    }

    async fn set_down(&self, down: bool) {
        let mut refuses = self.0.refuses.subscribe();
        self.0.down.send_replace(down);
        // The sender is held here, so this ends when the server has followed.
        refuses.wait_for(|refuses| *refuses == down).await.ok();
    }

    /// The port refuses, or accepts.
    pub(crate) fn refuses(&self, refuses: bool) {
        self.0.refuses.send_replace(refuses);
    }

    /// Whether the server was taken down.
    pub fn is_down(&self) -> bool {
        *self.0.down.borrow()
    }

    pub(crate) fn watch_down(&self) -> watch::Receiver<bool> {
        self.0.down.subscribe()
    }

    pub(crate) fn watch_cuts(&self) -> watch::Receiver<u64> {
        self.0.cuts.subscribe()
    }

    /// What the rules say of a request. All that match apply; of two refusals the older rule's counts.
    pub(crate) fn judge(&self, subject: Subject<'_>) -> Verdict {
        let mut verdict = Verdict::default();
        let mut rules = self.rules();
        for rule in rules.iter_mut().filter(|rule| matches(&rule.fault, subject)) {
            let fault = &rule.fault;
            let mut random = rand::rng();
            if random.random::<f64>() >= fault.rate {
                continue;
            }
            rule.hits += 1;
            let jitter = if fault.jitter_ms == 0 { 0 } else { random.random_range(0..=fault.jitter_ms) };
            verdict.latency += Duration::from_millis(fault.latency_ms.saturating_add(jitter));
            verdict.hang |= fault.hang;
            verdict.lose = verdict.lose.or(fault.lose);
            verdict.error = verdict.error.or(fault.error.map(|code| (code, fault.retry_after)));
        }
        rules.retain(|rule| rule.fault.times.is_none_or(|times| rule.hits < times));
        verdict
    }

    fn rules(&self) -> MutexGuard<'_, Vec<ActiveFault>> {
        self.0.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn matches(fault: &Fault, subject: Subject<'_>) -> bool {
    subject.path.starts_with(&fault.path_prefix)
        && (fault.methods.is_empty() || fault.methods.iter().any(|m| m.eq_ignore_ascii_case(subject.method)))
        && fault.from.is_none_or(|from| from == subject.from)
        && subject.user_agent.contains(&fault.user_agent)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn get(path: &str) -> Subject<'_> {
        Subject { method: "GET", path, from: IpAddr::V4(Ipv4Addr::LOCALHOST), user_agent: "agent/1" }
    }

    #[test]
    fn a_rule_hits_only_what_it_names_and_ends_after_its_times() {
        let faults = Faults::default();
        let rule = Fault { path_prefix: "/api/".into(), methods: vec!["get".into()], ..Fault::default() };
        faults.add(Fault { error: Some(429), retry_after: Some(1), times: Some(1), ..rule });
        assert_eq!(faults.judge(get("/apis/x")), Verdict::default());
        assert_eq!(faults.judge(Subject { method: "PUT", ..get("/api/v1") }), Verdict::default());
        assert_eq!(faults.judge(get("/api/v1")).error, Some((429, Some(1))));
        assert_eq!(faults.judge(get("/api/v1")), Verdict::default());
        assert!(faults.list().is_empty());
    }

    #[test]
    fn effects_of_several_rules_add_up() {
        let faults = Faults::default();
        faults.add(Fault { latency_ms: 10, ..Fault::default() });
        let id = faults.add(Fault { latency_ms: 5, lose: Some(Loss::Reply), ..Fault::default() });
        let verdict = faults.judge(get("/"));
        assert_eq!((verdict.latency, verdict.lose), (Duration::from_millis(15), Some(Loss::Reply)));
        assert!(faults.remove(id));
        assert_eq!(faults.judge(get("/")).lose, None);
    }

    #[test]
    fn a_rate_of_zero_never_hits() {
        let faults = Faults::default();
        faults.add(Fault { rate: 0.0, error: Some(500), ..Fault::default() });
        assert!((0..100).all(|_| faults.judge(get("/")).error.is_none()));
    }
}
