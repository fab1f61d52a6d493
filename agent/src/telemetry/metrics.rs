//! Metrics in the OpenMetrics text format, made anew from the status at each scrape.

use std::fmt;
use std::fs;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::status::{PeerSummary, PoolSummary, Status};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PeerLabels {
    peer: String,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabel {
    pool: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConditionLabel {
    condition: String,
}

/// The page for one scrape.
///
/// # Errors
/// When the text cannot be written, which a mistake in a metric's name would cause.
pub fn page(status: &Status) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("caracal");
    let gauge = |registry: &mut Registry, name: &str, help: &str, value: i64| {
        let gauge: Gauge = Gauge::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    gauge(&mut registry, "attachments", "Pods wired on this node", count(status.attachments));
    gauge(&mut registry, "ipam_blocks", "Blocks this node owns", count(status.blocks));
    pools(&mut registry, &status.pools);
    let up: Family<PeerLabels, Gauge> = Family::default();
    for peer in &status.peers {
        let labels = PeerLabels { peer: peer.address.clone(), name: peer.name.clone() };
        up.get_or_create(&labels).set(i64::from(peer.established));
    }
    registry.register("bgp_peer_up", "1 where the session is Established", up);
    paths(&mut registry, &status.peers);
    let not_installed: Family<ReasonLabel, Gauge> = Family::default();
    for why in status.not_installed.values() {
        not_installed.get_or_create(&ReasonLabel { reason: why.code().to_owned() }).inc();
    }
    registry.register("routes_not_installed", "Best routes that are not in the kernel", not_installed);
    let refused: Family<ReasonLabel, Gauge> = Family::default();
    for (reason, number) in &status.refused {
        refused.get_or_create(&ReasonLabel { reason: reason.clone() }).set(count(*number));
    }
    registry.register("kernel_objects_refused", "Objects that are not in the kernel as wanted", refused);
    let conditions: Family<ConditionLabel, Gauge> = Family::default();
    for verdict in &status.conditions {
        let labels = ConditionLabel { condition: verdict.type_.to_owned() };
        conditions.get_or_create(&labels).set(i64::from(verdict.status == Some(true)));
    }
    registry.register("condition", "1 where the condition holds", conditions);
    let memory: Gauge = Gauge::default();
    memory.set(resident_bytes().unwrap_or(0));
    registry.register_with_unit("process_resident_memory", "Memory in use", Unit::Bytes, memory);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// The paths that BFD watches.
fn paths(registry: &mut Registry, peers: &[PeerSummary]) {
    let (up, downs): (Family<PeerLabels, Gauge>, Family<PeerLabels, Counter>) = Default::default();
    for peer in peers {
        let Some(path) = peer.bfd else { continue };
        let labels = PeerLabels { peer: peer.address.clone(), name: peer.name.clone() };
        up.get_or_create(&labels).set(i64::from(path.up));
        downs.get_or_create(&labels).inc_by(path.downs);
    }
    registry.register("bfd_up", "1 where BFD says that packets pass both ways", up);
    registry.register("bfd_downs", "How often BFD said that the path is down", downs);
}

/// The pools of the whole cluster, on every node alike: one node that answers is enough to be warned.
fn pools(registry: &mut Registry, all: &[PoolSummary]) {
    let mut family = |name: &str, help: &str, value: fn(&PoolSummary) -> i64| {
        let family: Family<PoolLabel, Gauge> = Family::default();
        for pool in all {
            family.get_or_create(&PoolLabel { pool: pool.name.clone() }).set(value(pool));
        }
        registry.register(name, help, family);
    };
    family("ip_pool_low", "1 where few blocks of the pool are left", |pool| i64::from(pool.low));
    family("ip_pool_blocks", "Blocks claimed in the pool, in the whole cluster", |pool| pool.blocks);
    family("ip_pool_addresses_used", "Addresses of the pool in use, in the whole cluster", |pool| pool.used);
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Memory of this process that is in RAM, in bytes.
fn resident_bytes() -> Option<i64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kilobytes: i64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::BfdSummary;

    #[test]
    fn the_page_counts_what_the_status_says() {
        let peer = |address: &str, established| PeerSummary {
            address: address.to_owned(),
            name: "n2".to_owned(),
            established,
            bfd: established.then_some(BfdSummary { up: true, downs: 3 }),
        };
        let peers = vec![peer("192.0.2.2", true), peer("192.0.2.3", false)];
        let refused = [("RouteContended".to_owned(), 2)].into();
        let pools = vec![PoolSummary { name: "pods".to_owned(), blocks: 4, used: 240, low: true }];
        let text = page(&Status { attachments: 3, peers, refused, pools, ..Status::default() }).unwrap();
        for line in [
            "caracal_attachments 3",
            "caracal_kernel_objects_refused{reason=\"RouteContended\"} 2",
            "caracal_bgp_peer_up{peer=\"192.0.2.2\",name=\"n2\"} 1",
            "caracal_bgp_peer_up{peer=\"192.0.2.3\",name=\"n2\"} 0",
            "caracal_bfd_up{peer=\"192.0.2.2\",name=\"n2\"} 1",
            "caracal_bfd_downs_total{peer=\"192.0.2.2\",name=\"n2\"} 3",
            "caracal_ip_pool_low{pool=\"pods\"} 1",
            "caracal_ip_pool_blocks{pool=\"pods\"} 4",
            "caracal_ip_pool_addresses_used{pool=\"pods\"} 240",
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(text.contains("caracal_process_resident_memory_bytes"));
    }
}
