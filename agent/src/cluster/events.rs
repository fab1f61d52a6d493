//! Events: what people see under `kubectl describe`.
//!
//! An Event is a hint, never a record: it is written in the background, at most once in a while for the same object,
//! reason and message, and one that cannot be written is dropped with a line in the log. The queue is bounded, and so is
//! the memory of what was said.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::mpsc;
use tracing::debug;

/// Events that may wait to be written; more are dropped.
const QUEUE: usize = 64;
/// The same is not said again within this time.
const ONCE_IN: Duration = Duration::from_secs(300);
/// Things said that are remembered.
const REMEMBERED: usize = 1024;
/// The longest message that API servers take, in bytes.
const LONGEST_MESSAGE: usize = 1024;
/// Where Events about objects without a namespace go.
const NO_NAMESPACE: &str = "default";

/// Something to tell.
#[derive(Clone, Debug)]
pub struct Told {
    /// About what.
    pub about: ObjectReference,
    /// A CamelCase code.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// The way to the Events. Its task ends with the last clone.
#[derive(Clone, Debug)]
pub struct Events {
    queue: mpsc::Sender<Told>,
}

impl Events {
    /// Starts writing Events as `component`, on `host` where that is a node.
    pub fn start(client: Client, component: &str, host: &str) -> Self {
        let (queue, told) = mpsc::channel(QUEUE);
        let source = EventSource { component: Some(component.to_owned()), host: Some(host.to_owned()) };
        tokio::spawn(run(client, source, told));
        Self { queue }
    }

    /// Tells a warning about an object.
    pub fn warn(&self, about: ObjectReference, reason: &str, message: String) {
        let told = Told { about, reason: reason.to_owned(), message };
        if self.queue.try_send(told).is_err() {
            debug!("an Event was dropped: too many wait");
        }
    }
}

/// Names a pod.
pub fn pod(namespace: &str, name: &str, uid: Option<&str>) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        uid: uid.filter(|uid| !uid.is_empty()).map(str::to_owned),
        ..ObjectReference::default()
    }
}

async fn run(client: Client, source: EventSource, mut told: mpsc::Receiver<Told>) {
    let mut said = Said::default();
    while let Some(told) = told.recv().await {
        if !said.is_new(&told, Instant::now()) {
            continue;
        }
        let event = event(told, &source, Timestamp::now());
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        if let Err(error) = api.create(&PostParams::default(), &event).await {
            debug!(%error, "an Event could not be written");
        }
    }
}

/// What was said lately.
#[derive(Debug, Default)]
struct Said(BTreeMap<(String, String), Instant>);

impl Said {
    fn is_new(&mut self, told: &Told, now: Instant) -> bool {
        self.0.retain(|_, at| now.saturating_duration_since(*at) < ONCE_IN);
        let about = &told.about;
        let name = |part: &Option<String>| part.clone().unwrap_or_default();
        let object = format!("{}/{}/{}", name(&about.kind), name(&about.namespace), name(&about.name));
        let key = (object, format!("{} {}", told.reason, told.message));
        if self.0.contains_key(&key) || self.0.len() >= REMEMBERED {
            return false;
        }
        self.0.insert(key, now);
        true
    }
}

fn event(told: Told, source: &EventSource, now: Timestamp) -> Event {
    let Told { about, reason, mut message } = told;
    if message.len() > LONGEST_MESSAGE {
        message.truncate(message.floor_char_boundary(LONGEST_MESSAGE - 1));
    }
    let namespace = about.namespace.clone().unwrap_or_else(|| NO_NAMESPACE.to_owned());
    let name = format!("{}.{:x}", about.name.as_deref().unwrap_or("unnamed"), now.as_nanosecond());
    Event {
        metadata: ObjectMeta { name: Some(name), namespace: Some(namespace), ..ObjectMeta::default() },
        involved_object: about,
        reason: Some(reason),
        message: Some(message),
        type_: Some("Warning".to_owned()),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        reporting_component: source.component.clone(),
        reporting_instance: source.host.clone(),
        source: Some(source.clone()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pod_name: &str, message: &str) -> Told {
        Told { about: pod("default", pod_name, None), reason: "NoPool".into(), message: message.into() }
    }

    #[test]
    fn the_same_is_said_once_in_a_while() {
        let (mut said, start) = (Said::default(), Instant::now());
        assert!(said.is_new(&told("a", "full"), start));
        assert!(!said.is_new(&told("a", "full"), start + Duration::from_secs(299)));
        assert!(said.is_new(&told("a", "disabled"), start));
        assert!(said.is_new(&told("b", "full"), start));
        assert!(said.is_new(&told("a", "full"), start + ONCE_IN));
    }

    #[test]
    fn a_message_is_cut_to_what_api_servers_take() {
        let long = "ö".repeat(LONGEST_MESSAGE);
        let event = event(told("a", &long), &EventSource::default(), Timestamp::UNIX_EPOCH);
        assert!(event.message.unwrap().len() <= LONGEST_MESSAGE);
        assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
    }
}
