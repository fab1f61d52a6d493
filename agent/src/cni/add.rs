//! ADD: addresses, record, devices, routes, answer: in this order, and all undone if any of it fails.
//!
//! The record is on disk before the first device is made, so that whatever an agent killed half way leaves behind has a
//! record that leads to it. Nothing is answered before the kernel has acknowledged the host's routes.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use caracal_cni::config::NetworkConfig;
use caracal_cni::environment::Target;
use caracal_cni::name::{Alias, host_interface};
use caracal_cni::result::{Interface, Ip, Route, Success};
use caracal_cni::{Code, Error};
use caracal_ipam::{Allocation, Attributes};
use caracal_linux::namespace::Namespace;
use caracal_linux::object::link::{BadMac, Mac};
use ipnetwork::IpNetwork;
use k8s_openapi::api::core::v1::Namespace as Namespaced;
use serde_json::{Map, Value};
use tracing::{debug, warn};

use super::wiring::{Entered, WiringError};
use super::{CniContext, addresses, bandwidth, del, extras, foreign, request};
use crate::attachments::{Address, Attachment, AttachmentKey, Extras, JournalError, Phase, PodRef};
use crate::cluster::events;
use crate::desired::pod::{Facts, PodNetwork, everywhere, gateway, pod, pod_mac};

/// The longest alias that the kernel keeps, in bytes.
const LONGEST_ALIAS: usize = 255;

/// Why a pod gets no address whose own words, or its namespace's, cannot be read.
const BAD_REQUEST: &str = "BadRequest";

/// Attaches a container.
pub(super) async fn add(
    context: &Arc<CniContext>,
    config: &NetworkConfig,
    target: &Target,
    netns: Namespace,
    given: Option<Value>,
) -> Result<Success, Error> {
    let key = request::key(config, target);
    let alias = alias(&key, target)?;
    let mac = mac(config)?;
    let shapes = bandwidth::wanted(config)?;
    tell_what_is_passed_over(context, config, target);
    let pools = Arc::clone(&context.pools.borrow());
    let extras = extras::wanted(config, &pools).map_err(|error| refused(context, target, error))?;
    let given = foreign::given(config, given)?;
    let host = host_interface(target);
    let gate = Arc::clone(&context.gate).read_owned().await;
    let locks = (context.locks.lock(key.to_string()).await, context.locks.lock(host.to_string()).await);
    if context.records.get(&key).is_some() {
        let msg = format!(
            "container {} is attached to {} as {} already",
            key.container, key.network, key.interface
        );
        return Err(Error::new(Code::Exists, msg));
    }
    let mut laps = Laps::start();
    let entered = context.wiring.enter(netns, &target.interface).await.map_err(|e| failed(target, &e))?;
    laps.end("entered");
    take_over(context, host.as_str(), &key).await?;
    let (addresses, attributes, dns) = match given {
        Some(given) => (given.addresses, Attributes::default(), given.dns),
        None => {
            let (granted, attributes) = allocate(context, config, target, &key).await?;
            (granted.into_iter().map(Address::Own).collect(), attributes, None)
        }
    };
    laps.end("addresses");
    let mtu = config.mtu.unwrap_or_else(|| *context.mtu.borrow());
    let record = Attachment {
        key,
        extras,
        pod: target.args.pod.as_ref().map(|pod| PodRef {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone().unwrap_or_default(),
        }),
        netns: target.netns.clone().unwrap_or_default(),
        host: host.to_string(),
        addresses,
        attributes,
        phase: Phase::Adding,
        mtu,
        mac,
    };
    let mac = mac.unwrap_or_else(|| pod_mac(&alias));
    let (addresses, extras) = (record.ips().collect(), record.extras.clone());
    let facts = Facts { alias, host, mtu, mac, addresses, shapes, extras };
    let network = Arc::new(pod(&facts));
    if let Err(error) = attach(context, &record, &network, entered, target, &mut laps).await {
        if let Err(left) = del::undo(context, &record).await {
            warn!(key = %record.key, error = %left, "undoing a failed ADD: what is left goes with DEL or at the next start");
        }
        return Err(error);
    }
    debug!(key = %record.key, "steps of ADD in us:{laps}");
    // Whether the record says so decides nothing after a crash, so the answer need not wait for it; DEL does.
    let (context, ready) = (Arc::clone(context), Attachment { phase: Phase::Ready, ..record });
    tokio::spawn(async move {
        if let Err(error) = context.records.put(ready).await {
            warn!(%error, "marking an attachment as ready");
        }
        drop((locks, gate));
    });
    Ok(result(config, target, &facts, &network, dns))
}

/// What the pod asks for of which nothing becomes is no reason to refuse it.
fn tell_what_is_passed_over(context: &CniContext, config: &NetworkConfig, target: &Target) {
    let what = bandwidth::passed_over(config).join(", ");
    if !what.is_empty() {
        let words = format!("caracal does nothing of what the pod's annotations {what} ask for");
        tell(context, target, "NotCarriedOut", words);
    }
}

/// The pod's last sandbox: its own DEL comes later and frees its addresses, but nothing must lead to this one by its account.
async fn take_over(context: &CniContext, host: &str, key: &AttachmentKey) -> Result<(), Error> {
    for other in context.records.others_on(host, key) {
        del::withdraw(context, &other).await;
        if !other.extras.is_empty() {
            let bare = Attachment { extras: Extras::default(), ..other };
            context.records.put(bare).await.map_err(|error| unkept(key, &error))?;
        }
    }
    Ok(())
}

/// Addresses of this node's own blocks, as the pod, its namespace and the configuration want them.
pub(super) async fn allocate(
    context: &CniContext,
    config: &NetworkConfig,
    target: &Target,
    key: &AttachmentKey,
) -> Result<(Vec<Allocation>, Attributes), Error> {
    let pools = Arc::clone(&context.pools.borrow());
    let namespace = namespace(context, target);
    let want = addresses::wanted(key, target, config, &pools, namespace.as_deref())
        .map_err(|error| refused(context, target, error))?;
    let attributes = want.attributes.clone();
    let granted = context.ipam.allocate(want).await.map_err(|refusal| {
        tell(context, target, refusal.code(), refusal.to_string());
        let code = if refusal.is_passing() { Code::TryAgainLater } else { Code::NoAddress };
        Error::new(code, refusal.to_string()).with_details(refusal.code())
    })?;
    Ok((granted, attributes))
}

/// What the pod asks for cannot be: it is told why.
fn refused(context: &CniContext, target: &Target, error: Error) -> Error {
    tell(context, target, BAD_REQUEST, error.msg.clone());
    error.with_details(BAD_REQUEST)
}

/// The pod's namespace, if it is known.
fn namespace(context: &CniContext, target: &Target) -> Option<Arc<Namespaced>> {
    let pod = target.args.pod.as_ref()?;
    context.namespaces.borrow().get(&pod.namespace).cloned()
}

/// Tells the pod why it gets no address.
pub(super) fn tell(context: &CniContext, target: &Target, code: &str, message: String) {
    if let Some(pod) = &target.args.pod {
        let about = events::pod(&pod.namespace, &pod.name, pod.uid.as_deref());
        context.events.warn(about, code, message);
    }
}

fn unkept(key: &AttachmentKey, error: &JournalError) -> Error {
    Error::new(Code::Io, format!("keeping the record of attachment {key}: {error}"))
}

async fn attach(
    context: &Arc<CniContext>,
    record: &Attachment,
    network: &Arc<PodNetwork>,
    entered: Entered,
    target: &Target,
    laps: &mut Laps,
) -> Result<(), Error> {
    if !record.extras.floating.is_empty() {
        let own: Vec<IpAddr> = record.ips().collect();
        let others: Vec<Attachment> =
            context.records.all().into_iter().filter(|other| other.host != record.host).collect();
        extras::fits(&record.extras, &own, &others).map_err(|error| refused(context, target, error))?;
    }
    let kept = context.records.put(record.clone()).await;
    kept.map_err(|error| unkept(&record.key, &error))?;
    laps.end("record");
    context.wiring.attach(network, entered).await.map_err(|error| failed(target, &error))?;
    laps.end("devices");
    context.kernel.settle(network.wanted()).await.map_err(|error| {
        let msg = format!("setting the host's routes to container {}: {error}", target.container);
        Error::new(Code::Wiring, msg)
    })?;
    laps.end("routes");
    Ok(())
}

/// How long each step took, for the log.
struct Laps {
    last: Instant,
    ended: Vec<(&'static str, Duration)>,
}

impl Laps {
    fn start() -> Self {
        Self { last: Instant::now(), ended: Vec::new() }
    }

    fn end(&mut self, step: &'static str) {
        let now = Instant::now();
        self.ended.push((step, now - self.last));
        self.last = now;
    }
}

impl fmt::Display for Laps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ended.iter().try_for_each(|(step, took)| write!(f, " {step}={}", took.as_micros()))
    }
}

fn alias(key: &AttachmentKey, target: &Target) -> Result<Alias, Error> {
    let alias =
        Alias { network: key.network.clone(), container: key.container.clone(), interface: target.interface };
    let length = alias.to_string().len();
    if length > LONGEST_ALIAS {
        let msg = format!(
            "the names of network and container are too long together: {length} bytes as the alias of a device, which \
             takes {LONGEST_ALIAS}"
        );
        return Err(Error::new(Code::InvalidEnvironment, msg));
    }
    Ok(alias)
}

/// The Ethernet address that the pod asks for: by its annotation `hwAddr`, else by the capability `mac`.
fn mac(config: &NetworkConfig) -> Result<Option<Mac>, Error> {
    let annotated = config.runtime.annotations.as_ref().and_then(|all| addresses::annotated(all, "hwAddr"));
    let asked = config.runtime.mac.as_deref().filter(|text| !text.is_empty());
    let Some((from, text)) = annotated.or(asked.map(|text| ("runtimeConfig.mac".to_owned(), text))) else {
        return Ok(None);
    };
    let invalid = |why: String| Error::new(Code::InvalidConfiguration, format!("{from}: {why}"));
    let mac: Mac = text.parse().map_err(|error: BadMac| invalid(error.to_string()))?;
    if mac.0[0] & 1 != 0 || mac.0 == [0; 6] {
        return Err(invalid(format!("`{mac}` is the address of no single device")));
    }
    Ok(Some(mac))
}

fn failed(target: &Target, error: &WiringError) -> Error {
    let code = match error {
        WiringError::Exists(_) => Code::Exists,
        WiringError::NodeItself(_) | WiringError::Namespace(_) => Code::InvalidNamespace,
        WiringError::Netlink(_) | WiringError::Sysctl(_) => Code::Wiring,
    };
    let whose = match &target.args.pod {
        Some(pod) => format!("pod {pod} (container {})", target.container),
        None => format!("container {}", target.container),
    };
    Error::new(code, format!("wiring {whose}: {error}"))
}

fn result(
    config: &NetworkConfig,
    target: &Target,
    facts: &Facts,
    network: &PodNetwork,
    dns: Option<Value>,
) -> Success {
    let sandbox = target.netns.as_ref().map(|path| path.display().to_string());
    let interface = |end: &crate::desired::pod::End, sandbox| Interface {
        name: end.device.to_string(),
        mac: Some(end.mac.to_string()),
        mtu: Some(end.mtu),
        sandbox,
        other: Map::new(),
    };
    let ip = |address: &IpAddr| Ip {
        address: IpNetwork::from(*address),
        gateway: Some(gateway(address)),
        interface: Some(1),
        other: Map::new(),
    };
    let default =
        |address: &IpAddr| Route { dst: everywhere(*address), gw: Some(gateway(address)), other: Map::new() };
    let success = Success {
        interfaces: vec![interface(&network.host, None), interface(&network.pod, sandbox)],
        ips: facts.addresses.iter().map(ip).collect(),
        routes: facts.addresses.iter().map(default).collect(),
        dns: config.dns.clone().or(dns),
    };
    success.after(config.previous.clone())
}
