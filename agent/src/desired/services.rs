//! Which Service addresses this node announces.
//!
//! Only addresses inside the ranges that the `BGPConfiguration` names, each kind by its own list. A range is announced as
//! a whole by every node, since every node's kube-proxy serves every Service in it; a Service with
//! `externalTrafficPolicy: Local` besides by its own address, from the nodes that have a *ready* endpoint of it, so that the
//! more specific route leads to those alone. Where a range is a single address, or aggregation is off, a Service's address
//! is announced while it has a ready endpoint anywhere. Readiness counts for each family by itself, and an endpoint that
//! terminates is not ready. A node labelled `node.kubernetes.io/exclude-from-external-load-balancers` announces none.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use caracal_api::block_cidr::masked;
use caracal_api::{BgpConfiguration, DEFAULT_NAME};
use ipnetwork::IpNetwork;
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::ResourceExt;

use crate::cluster::Snapshot;

/// The label of a node that serves no traffic from outside.
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// The label by which an `EndpointSlice` names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// How long a Service's own address is wanted before it is announced: kube-proxy hears of the endpoint when we do, and has
/// to be ready first. It is withdrawn at once.
pub const ANNOUNCE_AFTER: Duration = Duration::from_secs(1);

/// The ranges whose addresses are announced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceRanges {
    /// Of `clusterIPs`.
    pub cluster: Vec<IpNetwork>,
    /// Of `externalIPs`.
    pub external: Vec<IpNetwork>,
    /// Of load balancers' addresses.
    pub load_balancer: Vec<IpNetwork>,
    /// Whether ranges of load balancers are announced one by one address.
    pub single_load_balancers: bool,
}

impl ServiceRanges {
    /// What the `BGPConfiguration` `default` says. What a schema would refuse is left out.
    pub fn of(configurations: &Snapshot<BgpConfiguration>) -> Self {
        let Some(spec) = configurations.get(DEFAULT_NAME).map(|one| &one.spec) else {
            return Self::default();
        };
        let read = |blocks: &[caracal_api::bgp_configuration::ServiceBlock]| {
            blocks.iter().filter_map(|block| block.cidr.parse().ok().map(masked)).collect()
        };
        Self {
            cluster: read(&spec.service_cluster_ips),
            external: read(&spec.service_external_ips),
            load_balancer: read(&spec.service_load_balancer_ips),
            single_load_balancers: spec.service_load_balancer_aggregation
                == Some(caracal_api::bgp_configuration::Aggregation::Disabled),
        }
    }

    /// All of them.
    pub fn all(&self) -> BTreeSet<IpNetwork> {
        self.cluster.iter().chain(&self.external).chain(&self.load_balancer).copied().collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// The ranges that are announced as a whole.
    fn whole(&self) -> BTreeSet<IpNetwork> {
        let balancers = self.load_balancer.iter().filter(|_| !self.single_load_balancers);
        let all = self.cluster.iter().chain(&self.external).chain(balancers);
        all.filter(|range| !is_single(range)).copied().collect()
    }
}

/// What one node announces of Services: whole ranges, and addresses of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceRoutes {
    /// Ranges.
    pub whole: BTreeSet<IpNetwork>,
    /// Single addresses.
    pub single: BTreeSet<IpNetwork>,
}

/// Who serves a Service in one family.
#[derive(Clone, Copy, Debug, Default)]
struct Ready {
    anywhere: bool,
    here: bool,
}

/// What this node announces.
pub fn services(
    node: &str,
    labels: &BTreeMap<String, String>,
    ranges: &ServiceRanges,
    services: &Snapshot<Service>,
    slices: &Snapshot<EndpointSlice>,
) -> ServiceRoutes {
    if labels.get(EXCLUDED).is_some_and(|value| value != "false") {
        return ServiceRoutes::default();
    }
    let whole = ranges.whole();
    let ready = readiness(node, slices);
    let mut single = BTreeSet::new();
    for service in services.values() {
        let Some(spec) = &service.spec else { continue };
        let namespace = service.namespace().unwrap_or_default();
        let local = spec.external_traffic_policy.as_deref() == Some("Local");
        for address in addresses(service, spec, ranges) {
            let name = (namespace.clone(), service.name_any(), address.is_ipv4());
            let ready = ready.get(&name).copied().unwrap_or_default();
            let covered = whole.iter().any(|range| range.contains(address));
            let leads = if local { ready.here } else { ready.anywhere && !covered };
            if leads {
                single.insert(IpNetwork::from(address));
            }
        }
    }
    ServiceRoutes { whole, single }
}

/// The addresses of a Service that lie in the range of their kind.
fn addresses(service: &Service, spec: &ServiceSpec, ranges: &ServiceRanges) -> Vec<IpAddr> {
    // A headless Service says `None`, which is no address.
    let cluster = spec.cluster_ips.iter().flatten().map(String::as_str);
    let external = spec.external_ips.iter().flatten().map(String::as_str);
    let balancer = service.status.iter().filter_map(|status| status.load_balancer.as_ref());
    let ingress = balancer.flat_map(|one| one.ingress.iter().flatten()).filter_map(|one| one.ip.as_deref());
    let within = |texts: Vec<&str>, ranges: &[IpNetwork]| -> Vec<IpAddr> {
        let all = texts.into_iter().filter_map(|text| text.parse::<IpAddr>().ok());
        all.filter(|address| ranges.iter().any(|range| range.contains(*address))).collect()
    };
    [
        within(cluster.collect(), &ranges.cluster),
        within(external.collect(), &ranges.external),
        within(ingress.collect(), &ranges.load_balancer),
    ]
    .concat()
}

/// By namespace, Service and family (`true`: IPv4). A Service may have several slices of one family.
fn readiness(node: &str, slices: &Snapshot<EndpointSlice>) -> BTreeMap<(String, String, bool), Ready> {
    let mut ready: BTreeMap<_, Ready> = BTreeMap::new();
    for slice in slices.values() {
        let v4 = match slice.address_type.as_str() {
            "IPv4" => true,
            "IPv6" => false,
            _ => continue,
        };
        let Some(service) = slice.labels().get(SERVICE_NAME) else { continue };
        let entry = ready.entry((slice.namespace().unwrap_or_default(), service.clone(), v4)).or_default();
        for endpoint in slice.endpoints.iter().filter(|one| is_ready(one)) {
            entry.anywhere = true;
            entry.here |= endpoint.node_name.as_deref() == Some(node);
        }
    }
    ready
}

/// Where nothing is said, an endpoint is ready.
fn is_ready(endpoint: &Endpoint) -> bool {
    let said = endpoint.conditions.as_ref();
    let terminates = said.and_then(|said| said.terminating).unwrap_or(false);
    said.and_then(|said| said.ready).unwrap_or(true) && !terminates
}

fn is_single(range: &IpNetwork) -> bool {
    range.prefix() == if range.is_ipv4() { 32 } else { 128 }
}

/// Holds addresses back until they have been wanted for [`ANNOUNCE_AFTER`].
#[derive(Debug, Default)]
pub struct HeldBack {
    /// Since when each is wanted; none for those from the start, which were announced before.
    since: Option<BTreeMap<IpNetwork, Instant>>,
}

impl HeldBack {
    /// What to announce now, where this is wanted, and when to look again.
    pub fn update(
        &mut self,
        now: Instant,
        wanted: &BTreeSet<IpNetwork>,
    ) -> (BTreeSet<IpNetwork>, Option<Instant>) {
        let first = self.since.is_none();
        let since = self.since.get_or_insert_default();
        since.retain(|address, _| wanted.contains(address));
        for address in wanted {
            let ripe = if first { now.checked_sub(ANNOUNCE_AFTER).unwrap_or(now) } else { now };
            since.entry(*address).or_insert(ripe);
        }
        let ripe = |at: &Instant| now.saturating_duration_since(*at) >= ANNOUNCE_AFTER;
        let announced = since.iter().filter(|(_, at)| ripe(at)).map(|(address, _)| *address).collect();
        let next = since.values().filter(|at| !ripe(at)).min().map(|at| *at + ANNOUNCE_AFTER);
        (announced, next)
    }
}

#[cfg(test)]
mod tests;
