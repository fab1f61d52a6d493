//! What the RIB costs: time and memory a path, in one thread, without sockets.
//!
//! ```text
//! cargo run --release --example rib_load -- [PEERS] [PREFIXES]
//! ```
//!
//! Every peer (10 by default) announces the same prefixes (100,000 by default), twenty to a set of attributes, which
//! differ from peer to peer. They are decided, pulled by a follower of best paths and by one update group of all peers,
//! judged again under another import policy, and swept as the sessions end. Memory is the growth of the resident set.

use std::collections::HashSet;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use caracal_bgp::policy::{Policy, PrefixMatch, Rule, Verdict};
use caracal_bgp::rib::{
    Attrs, BestBatch, Change, EgressProfile, GroupBatch, Identity, MoreOrLess, Nlri, PeerFacts, PeerSlot,
    Progress, Rib, Source, V4,
};
use caracal_bgp::wire::Context;
use caracal_bgp::wire::attribute::{AsPath, AttributeSet, Community};
use caracal_bgp::wire::nlri::Ipv4Prefix;
use caracal_bgp::{Asn, Families, Multipath, NextHopMode, PeerKey};

/// Prefixes of one set of attributes.
const SHARING: usize = 20;
const SLICE: usize = 1024;

fn resident() -> Result<f64, Box<dyn Error>> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let pages: f64 = pages.split(' ').nth(1).ok_or("no resident set in /proc/self/statm")?.parse()?;
    Ok(pages * 4096.0)
}

/// Runs a step and says what it cost for each of `count` items.
fn step<T>(name: &str, count: usize, work: impl FnOnce() -> T) -> Result<T, Box<dyn Error>> {
    let (memory, start) = (resident()?, Instant::now());
    let made = work();
    let took = start.elapsed();
    let each = took.as_nanos() as f64 / count as f64;
    let bytes = (resident()? - memory) / count as f64;
    println!("{name:<28} {:>9.1} ms {each:>9.0} ns each {bytes:>9.1} bytes each", took.as_secs_f64() * 1e3);
    Ok(made)
}

fn prefix(n: usize) -> Option<Nlri<Ipv4Prefix>> {
    let address = Ipv4Addr::from_bits(0x0a00_0000 + ((n as u32) << 8));
    Some(Nlri::from(Ipv4Prefix::new(address, 24)?))
}

fn facts(peer: u16, import: Arc<Policy>) -> PeerFacts {
    let address = Ipv4Addr::from_bits(0xc000_0200 + u32::from(peer));
    PeerFacts {
        key: Some(PeerKey::from(IpAddr::from(address))),
        source: Source::Ebgp,
        router_id: address.to_bits(),
        client: false,
        local_as: Asn(64512),
        allow_own_as: 0,
        link: None,
        import,
    }
}

/// The attributes of one portion of prefixes of one peer.
fn attributes(peer: u16, portion: usize) -> AttributeSet {
    let path = [65_000 + u32::from(peer), 1 + (portion % 1000) as u32, 7 + (portion / 1000) as u32];
    AttributeSet {
        as_path: AsPath::sequence(path.map(Asn)),
        communities: vec![Community::new(65_000, peer)],
        ..AttributeSet::default()
    }
}

fn group() -> EgressProfile {
    EgressProfile {
        context: Context::new(Some(Asn(65_100)), Families::dual()).for_writing(),
        external: true,
        local_as: Asn(64512),
        client: false,
        cluster_id: Ipv4Addr::LOCALHOST,
        next_hop: NextHopMode::Auto,
        own_next_hop: Some(IpAddr::from([198, 51, 100, 1])),
        own_link_local: None,
        paths: None,
        as_override: None,
        remove_private_as: false,
        long_lived: false,
        export: Arc::new(Policy::accept_all()),
    }
}

fn settle(rib: &mut Rib<V4>) {
    while rib.work(SLICE) == Progress::More {}
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let peers: u16 = arguments.next().map_or(Ok(10), |text| text.parse())?;
    let prefixes: usize = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let paths = prefixes * usize::from(peers);
    let now = Instant::now();
    let identity = Identity {
        router_id: Ipv4Addr::new(10, 0, 0, 1),
        cluster_id: Ipv4Addr::new(10, 0, 0, 1),
        own: HashSet::new(),
        multipath: Multipath::default(),
    };
    let mut rib: Rib<V4> = Rib::new(now, identity, Asn(64512));
    let best = rib.open_best();
    let outward = rib.open_group(group());
    let all: Vec<Nlri<Ipv4Prefix>> = (0..prefixes).filter_map(prefix).collect();
    let accept = Arc::new(Policy::accept_all());
    println!("{peers} peers, {prefixes} prefixes, {paths} paths");

    for peer in 1..=peers {
        rib.apply(now, Change::Up(PeerSlot::new(peer), facts(peer, Arc::clone(&accept))));
        rib.join(outward, PeerSlot::new(peer));
    }
    step("announce", paths, || {
        for peer in 1..=peers {
            let next_hop = Some(IpAddr::from(Ipv4Addr::from_bits(0xc000_0200 + u32::from(peer))));
            for (portion, nlri) in all.chunks(SHARING).enumerate() {
                let set = attributes(peer, portion);
                rib.apply(now, Change::Announce(PeerSlot::new(peer), Attrs { set: &set, next_hop }, nlri));
            }
        }
    })?;
    println!("{:<28} {}", "sets of attributes", rib.attribute_sets());
    step("pull, best", prefixes, || {
        let mut pulled = 0;
        loop {
            let mut batch = BestBatch::default();
            let state = rib.pull_best(best, SLICE, &mut batch);
            pulled += batch.changes.len();
            if state == MoreOrLess::Drained {
                return pulled;
            }
        }
    })?;
    let pull = |rib: &mut Rib<V4>| {
        loop {
            let mut batch = GroupBatch::default();
            if rib.pull_group(outward, SLICE, &mut batch) == MoreOrLess::Drained {
                return;
            }
        }
    };
    step("pull, group", prefixes, || pull(&mut rib))?;
    let narrow = Rule::reject("Half", [PrefixMatch::within("10.0.0.0/9".parse()?)]);
    let narrow = Arc::new(Policy::new(vec![narrow], Verdict::Accept));
    step("judge again", paths, || {
        for peer in 1..=peers {
            rib.apply(now, Change::Facts(PeerSlot::new(peer), facts(peer, Arc::clone(&narrow))));
        }
        settle(&mut rib);
    })?;
    step("pull, group, what changed", prefixes, || pull(&mut rib))?;
    step("sweep", paths, || {
        for peer in 1..=peers {
            rib.apply(now, Change::Down(PeerSlot::new(peer)));
        }
        settle(&mut rib);
    })?;
    Ok(())
}
