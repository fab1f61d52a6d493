//! What the RIB costs: time and memory a path, in one thread, without sockets.
//!
//! ```text
//! cargo run --release --example rib_load -- [PEERS] [PREFIXES]
//! ```
//!
//! Every peer (10 by default) announces the same prefixes (100,000 by default), twenty to a set of attributes, which
//! differ from peer to peer. They are decided, pulled by a follower of best paths and by one update group of all peers,
//! judged again under another import policy, and swept as the sessions end. Memory is the growth of the resident set.

#[path = "../benches/micro/table.rs"]
mod table;

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use caracal_bgp::policy::{Policy, PrefixMatch, Rule, Verdict};
use caracal_bgp::rib::{BestBatch, Change, GroupBatch, MoreOrLess, PeerSlot, Progress, Rib, V4};

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

fn settle(rib: &mut Rib<V4>) {
    while rib.work(SLICE) == Progress::More {}
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let peers: u16 = arguments.next().map_or(Ok(10), |text| text.parse())?;
    let prefixes: usize = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let paths = prefixes * usize::from(peers);
    let now = Instant::now();
    let mut rib = table::empty(now);
    let best = rib.open_best();
    let outward = rib.open_group(table::group());
    let all = table::prefixes(prefixes);
    let accept = Arc::new(Policy::accept_all());
    println!("{peers} peers, {prefixes} prefixes, {paths} paths");

    for peer in 1..=peers {
        rib.apply(now, Change::Up(PeerSlot::new(peer), table::facts(peer, Arc::clone(&accept))));
        rib.join(outward, PeerSlot::new(peer));
    }
    step("announce", paths, || {
        for peer in 1..=peers {
            table::announce(&mut rib, now, peer, &all, SHARING);
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
            rib.apply(now, Change::Facts(PeerSlot::new(peer), table::facts(peer, Arc::clone(&narrow))));
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
