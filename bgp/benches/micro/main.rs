//! The smallest parts of the speaker that matter for its speed, one by one: an UPDATE read and written, a decision, a path
//! into the table and out of it.
//!
//! ```text
//! cargo bench -p caracal-bgp --bench micro        times, which differ from machine to machine
//! cargo compare micro                             instructions as callgrind counts them, which do not
//! ```
//!
//! What is counted lies in functions of `work`, each called once a sample and never inlined, so that callgrind finds them
//! by their names; what they need is made outside.

#![allow(clippy::unwrap_used, reason = "a benchmark may panic: its inputs are its own")]

#[allow(dead_code, reason = "what an item is called is for `cargo compare micro`")]
mod cases;
mod table;

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use caracal_bgp::policy::Policy;
use caracal_bgp::rib::{Change, Consumer, GroupBatch, MoreOrLess, Nlri, PeerSlot, Rib, V4};
use caracal_bgp::wire::attribute::{AttributeSet, Community, NextHop};
use caracal_bgp::wire::nlri::Ipv4Prefix;
use caracal_bgp::wire::{Context, header, update};
use caracal_bgp::{Asn, Families};
use cases::{FULL, TABLE};
use divan::Bencher;
use divan::counter::ItemsCount;

/// Peers that all say the same prefixes.
const PEERS: u16 = 10;
/// Prefixes that share a set of attributes.
const SHARING: usize = 10;

/// What is measured.
mod work {
    use super::*;

    /// Reads an UPDATE, and every prefix in it.
    #[inline(never)]
    pub(crate) fn update_decode(body: &Bytes, context: &Context) -> (update::Update, u64) {
        let update = update::decode(body, context).unwrap();
        let reach = update.ipv4.announced.iter();
        let sum =
            reach.flat_map(|reach| reach.prefixes.iter()).map(|nlri| u64::from(nlri.prefix.bits())).sum();
        (update, sum)
    }

    /// Writes the UPDATEs for prefixes of one set of attributes.
    #[inline(never)]
    pub(crate) fn update_encode(
        set: &AttributeSet,
        next_hop: &NextHop,
        prefixes: &[Nlri<Ipv4Prefix>],
        context: &Context,
        out: &mut BytesMut,
    ) {
        update::announce(set, next_hop, prefixes, context, out).unwrap();
    }

    /// A peer says all prefixes. Of each the best path is chosen anew.
    #[inline(never)]
    pub(crate) fn announce(rib: &mut Rib<V4>, now: Instant, peer: u16, prefixes: &[Nlri<Ipv4Prefix>]) {
        table::announce(rib, now, peer, prefixes, SHARING);
    }

    /// All that a group of peers is to be told, as bundles of prefixes that share their attributes.
    #[inline(never)]
    pub(crate) fn export(rib: &mut Rib<V4>, group: Consumer) -> GroupBatch<Ipv4Prefix> {
        let mut batch = GroupBatch::default();
        while rib.pull_group(group, usize::MAX, &mut batch) == MoreOrLess::More {}
        batch
    }

    /// A peer takes all prefixes back. Of each the best path is chosen anew.
    #[inline(never)]
    pub(crate) fn withdraw(rib: &mut Rib<V4>, now: Instant, peer: u16, prefixes: &[Nlri<Ipv4Prefix>]) {
        for nlri in prefixes.chunks(SHARING) {
            rib.apply(now, Change::Withdraw(PeerSlot::new(peer), nlri));
        }
    }
}

fn main() {
    divan::main();
}

/// Attributes as a table of the Internet has them: six ASes, four communities.
fn long() -> AttributeSet {
    let path = [65_001, 3356, 174, 1299, 6939, 13_335].map(Asn);
    AttributeSet {
        as_path: caracal_bgp::wire::attribute::AsPath::sequence(path),
        communities: (0..4).map(|n| Community::new(65_001, n)).collect(),
        ..AttributeSet::default()
    }
}

fn context() -> Context {
    Context::new(Some(Asn(65_001)), Families::dual())
}

/// The body of an UPDATE with so many prefixes.
fn body(prefixes: usize) -> Bytes {
    let mut out = BytesMut::new();
    let next_hop = NextHop::from(std::net::IpAddr::from(table::address(1)));
    let all = table::prefixes(prefixes);
    update::announce(&long(), &next_hop, &all, &context().for_writing(), &mut out).unwrap();
    let message = out.split_to(usize::from(u16::from_be_bytes([out[16], out[17]])));
    assert!(out.is_empty(), "one message is enough for {prefixes} prefixes");
    message.freeze().slice(header::LENGTH..)
}

/// A table in which peers 1 to `peers` have said all prefixes, and one more peer has said nothing.
fn filled(now: Instant, peers: u16, prefixes: &[Nlri<Ipv4Prefix>]) -> Rib<V4> {
    let mut rib = table::empty(now);
    let accept = Arc::new(Policy::accept_all());
    for peer in 1..=peers + 1 {
        rib.apply(now, Change::Up(PeerSlot::new(peer), table::facts(peer, Arc::clone(&accept))));
        if peer <= peers {
            table::announce(&mut rib, now, peer, prefixes, SHARING);
        }
    }
    rib
}

/// An UPDATE full of prefixes: what a prefix costs.
#[divan::bench]
fn nlri_decode(bencher: Bencher<'_, '_>) {
    let (body, context) = (body(FULL), context());
    bencher.counter(ItemsCount::new(FULL)).bench_local(|| work::update_decode(&body, &context));
}

/// An UPDATE of ten prefixes: what its attributes cost.
#[divan::bench]
fn update_decode(bencher: Bencher<'_, '_>) {
    let (body, context) = (body(10), context());
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| work::update_decode(&body, &context));
}

/// The same UPDATE, written.
#[divan::bench]
fn update_encode(bencher: Bencher<'_, '_>) {
    let (set, context, all) = (long(), context().for_writing(), table::prefixes(10));
    let next_hop = NextHop::from(std::net::IpAddr::from(table::address(1)));
    bencher
        .counter(ItemsCount::new(1_usize))
        .with_inputs(|| BytesMut::with_capacity(4096))
        .bench_local_refs(|out| work::update_encode(&set, &next_hop, &all, &context, out));
}

/// The first path to each prefix.
#[divan::bench(sample_size = 1)]
fn insertion(bencher: Bencher<'_, '_>) {
    let (now, all) = (Instant::now(), table::prefixes(TABLE));
    bencher
        .counter(ItemsCount::new(TABLE))
        .with_inputs(|| filled(now, 0, &all))
        .bench_local_refs(|rib| work::announce(rib, now, 1, &all));
}

/// One more path to prefixes that have ten: what it is to choose among eleven.
#[divan::bench(sample_size = 1)]
fn decision(bencher: Bencher<'_, '_>) {
    let (now, all) = (Instant::now(), table::prefixes(TABLE));
    bencher
        .counter(ItemsCount::new(TABLE))
        .with_inputs(|| filled(now, PEERS, &all))
        .bench_local_refs(|rib| work::announce(rib, now, PEERS + 1, &all));
}

/// A group of peers is told of prefixes with one path each.
#[divan::bench(sample_size = 1)]
fn export(bencher: Bencher<'_, '_>) {
    let (now, all) = (Instant::now(), table::prefixes(TABLE));
    let inputs = || {
        let mut rib = filled(now, 1, &all);
        let group = rib.open_group(table::group());
        (rib, group)
    };
    bencher
        .counter(ItemsCount::new(TABLE))
        .with_inputs(inputs)
        .bench_local_refs(|(rib, group)| work::export(rib, *group));
}

/// The only path to each prefix goes.
#[divan::bench(sample_size = 1)]
fn removal(bencher: Bencher<'_, '_>) {
    let (now, all) = (Instant::now(), table::prefixes(TABLE));
    bencher
        .counter(ItemsCount::new(TABLE))
        .with_inputs(|| filled(now, 1, &all))
        .bench_local_refs(|rib| work::withdraw(rib, now, 1, &all));
}
