//! The RIB's thread with its update groups, spoken to as sessions speak to it; peers here are ends of channels.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipnetwork::IpNetwork;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::command::Command;
use super::member::RING;
use super::rib_thread::{self, Start};
use super::*;
use crate::config::{Asn, Families, HoldTime, LocalNextHops, PeerConfig, PeerOrigin, RouterId};
use crate::net::{Ending, Report, ReportEvent};
use crate::peer::{Keep, Negotiated};
use crate::policy::{Policy, PrefixMatch, Rule, Verdict};
use crate::wire::attribute::{AttributeSet, Community, NextHop};
use crate::wire::nlri::{Ipv4Prefix, Prefix};
use crate::wire::route_refresh::{Kind, RouteRefresh};
use crate::wire::{code_points, header, update};

mod late;
mod restarts;

const DEADLINE: Duration = Duration::from_secs(60);

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("the deadline has passed")
}

fn network(text: &str) -> IpNetwork {
    text.parse().unwrap()
}

fn key(n: u8) -> PeerKey {
    PeerKey::from(IpAddr::from([192, 0, 2, n]))
}

fn peer_config(n: u8) -> PeerConfig {
    PeerConfig {
        name: format!("peer-{n}"),
        origin: PeerOrigin::Mesh,
        passive: true,
        connect_retry: Duration::from_secs(1),
        local_next_hops: LocalNextHops { v4: Some(Ipv4Addr::new(192, 0, 2, 99)), v6: None },
        ..PeerConfig::new(SocketAddr::new(key(n).address(), 179), Asn(64512), Asn(64512))
    }
}

fn config() -> Config {
    let router_id = RouterId::try_from(Ipv4Addr::new(10, 0, 0, 99)).unwrap();
    let peers = (1..=3).map(|n| (key(n), peer_config(n))).collect();
    Config { peers, ..Config::new(Asn(64512), router_id) }
}

fn negotiated(n: u8) -> Arc<Negotiated> {
    Arc::new(Negotiated {
        local_as: Asn(64512),
        peer_as: Asn(64512),
        local_id: config().router_id,
        peer_id: RouterId::try_from(Ipv4Addr::new(10, 0, 0, n)).unwrap(),
        hold_time: HoldTime::DEFAULT,
        keepalive: None,
        families: [crate::config::Family::Ipv4Unicast].into_iter().collect(),
        local: SocketAddr::from(([192, 0, 2, 99], 179)),
        remote: SocketAddr::new(key(n).address(), 179),
        ..crate::peer::negotiation::tests::sample()
    })
}

struct Bench {
    rib: mpsc::Sender<Command>,
}

impl Bench {
    fn new() -> Self {
        Bench::begin(Beginning::default())
    }

    fn begin(beginning: Beginning) -> Self {
        let (rib, commands) = mpsc::channel(QUEUE);
        let start = Start {
            config: Arc::new(config()),
            beginning,
            own: rib.downgrade(),
            events: broadcast::channel(EVENTS).0,
            runtime: tokio::runtime::Handle::current(),
        };
        rib_thread::spawn(start, commands).unwrap();
        Bench { rib }
    }

    async fn report(&self, n: u8, event: ReportEvent) {
        self.rib.send(Command::Report(Report { key: key(n), event })).await.unwrap();
    }

    /// Peer `n` comes up with a writer of this capacity.
    async fn up(&self, n: u8, capacity: usize) -> Ear {
        self.up_on(n, capacity, negotiated(n)).await
    }

    async fn up_on(&self, n: u8, capacity: usize, negotiated: Arc<Negotiated>) -> Ear {
        let (writer, bytes) = mpsc::channel(capacity);
        let (signals, _) = mpsc::channel(1);
        let context = negotiated.context();
        self.report(n, ReportEvent::Up { negotiated, opens: Arc::default(), writer, signals }).await;
        Ear { bytes, context, routes: BTreeMap::new(), end_of_rib: 0, marks: Vec::new() }
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> T {
        let (reply, answer) = oneshot::channel();
        self.rib.send(command(reply)).await.unwrap();
        within(answer).await.unwrap()
    }

    async fn originate(&self, changes: Vec<Origination>) {
        self.ask(|reply| Command::Originate { changes, reply }).await;
    }

    async fn configure(&self, config: Config) {
        self.ask(|reply| Command::Configure { config: Arc::new(config), reply }).await;
    }
}

/// What a peer hears, and what it believes.
struct Ear {
    bytes: mpsc::Receiver<Bytes>,
    context: crate::wire::Context,
    routes: BTreeMap<IpNetwork, Vec<Community>>,
    end_of_rib: usize,
    /// Where refreshes began and ended, and how many routes were believed then.
    marks: Vec<(Kind, usize)>,
}

impl Ear {
    async fn hear(&mut self) -> bool {
        match self.bytes.recv().await {
            Some(bytes) => {
                self.learn(bytes);
                true
            }
            None => false,
        }
    }

    fn learn(&mut self, bytes: Bytes) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = usize::from(u16::from_be_bytes([rest[16], rest[17]]));
            let one = rest.split_to(length);
            if one[18] == code_points::message::ROUTE_REFRESH {
                let mark = RouteRefresh::decode(&one[header::LENGTH..]).unwrap();
                assert_eq!(mark.family(), Some(crate::config::Family::Ipv4Unicast));
                self.marks.push((mark.kind, self.routes.len()));
                continue;
            }
            assert_eq!(one[18], code_points::message::UPDATE, "a group writes nothing else");
            let update = update::decode(&one.slice(header::LENGTH..), &self.context).unwrap();
            for prefix in update.ipv4.withdrawn.prefixes() {
                self.routes.remove(&prefix.to_network());
            }
            for prefix in update.ipv4.announced.iter().flat_map(|reach| reach.prefixes.prefixes()) {
                let set = update.attributes.as_ref().unwrap();
                self.routes.insert(prefix.to_network(), set.communities.clone());
            }
            self.end_of_rib += usize::from(update.ipv4.end_of_rib);
        }
    }

    async fn until(&mut self, wanted: impl Fn(&Ear) -> bool) {
        within(async {
            while !wanted(self) {
                assert!(self.hear().await, "the writer was closed");
            }
        })
        .await;
    }

    fn knows(&self) -> BTreeSet<IpNetwork> {
        self.routes.keys().copied().collect()
    }
}

/// Each with attributes of its own, so that each needs a message of its own.
fn announcement(n: usize) -> Origination {
    let prefix = network(&format!("10.{}.{}.0/24", n / 250, n % 250));
    Origination::Announce { prefix, communities: vec![Community(n as u32)] }
}

fn withdrawal(n: usize) -> Origination {
    Origination::Withdraw { prefix: announcement(n).prefix() }
}

#[tokio::test]
async fn a_slow_peer_keeps_nobody_waiting_and_ends_with_the_last_state() {
    let bench = Bench::new();
    let mut quick = bench.up(1, 8).await;
    let mut slow = bench.up(2, 2).await;
    quick.until(|ear| ear.end_of_rib == 1).await;

    // Far more messages than a ring holds, in portions that the quick one has read before the next.
    let all = 3 * RING;
    for first in (0..all).step_by(256) {
        bench.originate((first..first + 256).map(announcement).collect()).await;
        quick.until(|ear| ear.routes.len() == first + 256).await;
    }
    // What the slow one has been told, or is still to be told, in part no longer holds.
    bench.originate((0..all).step_by(2).map(withdrawal).collect()).await;
    bench
        .originate(vec![Origination::Announce { prefix: announcement(1).prefix(), communities: Vec::new() }])
        .await;
    quick.until(|ear| ear.routes.len() == all / 2 && ear.routes[&announcement(1).prefix()].is_empty()).await;

    slow.until(|ear| ear.routes == quick.routes).await;
    assert_eq!(slow.end_of_rib, 1);
}

#[tokio::test]
async fn end_of_rib_comes_once_and_after_the_whole_table() {
    let bench = Bench::new();
    bench.originate((0..3000).map(announcement).collect()).await;
    let mut first = bench.up(1, 4).await;
    let mut second = bench.up(2, 4).await;
    for ear in [&mut first, &mut second] {
        ear.until(|ear| ear.end_of_rib == 1).await;
        assert_eq!(ear.routes.len(), 3000);
    }
    let mut late = bench.up(3, 4).await;
    late.until(|ear| ear.end_of_rib == 1).await;
    assert_eq!(late.routes, first.routes);
}

#[tokio::test]
async fn a_peer_that_has_nothing_to_hear_hears_end_of_rib() {
    let bench = Bench::new();
    let mut ear = bench.up(1, 4).await;
    ear.until(|ear| ear.end_of_rib == 1).await;
    assert!(ear.routes.is_empty());
}

/// The group of a peer that is alone ends with it, and may have a question on its way: the next one is not to be answered with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_goes_as_soon_as_it_came_and_comes_back_is_told_everything() {
    let bench = Bench::new();
    for round in 0..500 {
        let short = bench.up(1, 4).await;
        if round % 2 == 0 {
            // So that the group has begun to ask.
            tokio::task::yield_now().await;
        }
        bench.report(1, ReportEvent::Down(Keep::Nothing, Ending::Silent)).await;
        drop(short);
        let mut back = bench.up(1, 4).await;
        back.until(|ear| ear.end_of_rib == 1).await;
        bench.originate(vec![announcement(round)]).await;
        back.until(|ear| ear.routes.len() == round + 1).await;
        bench.report(1, ReportEvent::Down(Keep::Nothing, Ending::Silent)).await;
    }
}

#[tokio::test]
async fn a_peer_that_moves_to_another_group_takes_along_what_it_was_not_told() {
    let bench = Bench::new();
    let mut moving = bench.up(1, 1).await;
    let mut staying = bench.up(2, 8).await;
    staying.until(|ear| ear.end_of_rib == 1).await;
    bench.originate((0..600).map(announcement).collect()).await;
    staying.until(|ear| ear.routes.len() == 600).await;
    bench.originate((0..100).map(withdrawal).collect()).await;

    // The moving peer has read nothing yet. Now it may hear of one half only.
    let half = Rule::reject("Half", [PrefixMatch::within(network("10.0.0.0/16"))]);
    let mut edited = config();
    edited.peers.get_mut(&key(1)).unwrap().export = Arc::new(Policy::new(vec![half], Verdict::Accept));
    bench.configure(edited).await;
    staying.until(|ear| ear.routes.len() == 500).await;
    let wanted: BTreeSet<_> = (250..600).map(|n| announcement(n).prefix()).collect();
    moving.until(|ear| ear.knows() == wanted).await;

    // And back: only what it does not know.
    bench.configure(config()).await;
    moving.until(|ear| ear.routes == staying.routes).await;
    assert_eq!((moving.end_of_rib, staying.end_of_rib), (1, 1), "no first table was sent again");
}

#[tokio::test]
async fn a_refresh_sends_everything_again() {
    let bench = Bench::new();
    let terms = Negotiated { enhanced_refresh: false, ..Negotiated::clone(&negotiated(1)) };
    let mut ear = bench.up_on(1, 4, Arc::new(terms)).await;
    bench.originate((0..50).map(announcement).collect()).await;
    ear.until(|ear| ear.routes.len() == 50 && ear.end_of_rib == 1).await;
    ear.routes.clear();
    bench.report(1, ReportEvent::Refresh(crate::config::Family::Ipv4Unicast)).await;
    ear.until(|ear| ear.routes.len() == 50).await;
    assert_eq!(ear.marks, [], "a peer that does not know marks gets none");
}

/// A peer with which marked refreshes were agreed.
async fn up_with_marks(bench: &Bench, n: u8, capacity: usize) -> Ear {
    let terms = Negotiated { enhanced_refresh: true, ..Negotiated::clone(&negotiated(n)) };
    bench.up_on(n, capacity, Arc::new(terms)).await
}

#[tokio::test]
async fn a_refresh_has_a_beginning_and_an_end() {
    let bench = Bench::new();
    let mut ear = up_with_marks(&bench, 1, 1).await;
    bench.originate((0..50).map(announcement).collect()).await;
    ear.until(|ear| ear.routes.len() == 50 && ear.end_of_rib == 1).await;
    ear.routes.clear();
    bench.report(1, ReportEvent::Refresh(crate::config::Family::Ipv4Unicast)).await;
    ear.until(|ear| ear.marks.len() == 2).await;
    assert_eq!(ear.marks, [(Kind::Begin, 0), (Kind::End, 50)]);
    assert_eq!(ear.end_of_rib, 1, "no first table was sent again");
}

#[tokio::test]
async fn a_refresh_asked_for_early_begins_after_the_first_table() {
    let bench = Bench::new();
    bench.originate((0..50).map(announcement).collect()).await;
    // It reads nothing before it has asked.
    let mut ear = up_with_marks(&bench, 1, 1).await;
    bench.report(1, ReportEvent::Refresh(crate::config::Family::Ipv4Unicast)).await;
    ear.until(|ear| !ear.marks.is_empty()).await;
    assert_eq!((ear.end_of_rib, ear.marks[0]), (1, (Kind::Begin, 50)));
    ear.routes.clear();
    ear.until(|ear| ear.marks.len() == 2).await;
    assert_eq!(ear.marks[1], (Kind::End, 50));
}

#[tokio::test]
async fn a_refresh_amid_changes_ends_with_the_last_state() {
    let bench = Bench::new();
    let mut slow = up_with_marks(&bench, 1, 1).await;
    let mut quick = bench.up(2, 64).await;
    let first = RING - 24;
    bench.originate((0..first).map(announcement).collect()).await;
    slow.until(|ear| ear.routes.len() == first && ear.end_of_rib == 1).await;
    bench.report(1, ReportEvent::Refresh(crate::config::Family::Ipv4Unicast)).await;
    // While it reads nothing, more changes than the ring holds.
    bench.originate((0..RING / 2).map(withdrawal).collect()).await;
    bench.originate((first..3 * RING).map(announcement).collect()).await;
    quick.until(|ear| ear.routes.len() == 3 * RING - RING / 2).await;
    slow.until(|ear| ear.marks.iter().any(|(kind, _)| *kind == Kind::End)).await;
    slow.until(|ear| ear.routes == quick.routes).await;
    let begins = slow.marks.iter().filter(|(kind, _)| *kind == Kind::Begin).count();
    let ends = slow.marks.len() - begins;
    assert!(begins >= 1 && ends == 1 && slow.marks[0].0 == Kind::Begin, "{:?}", slow.marks);
}

#[tokio::test]
async fn a_session_that_is_over_gives_its_writer_back() {
    let bench = Bench::new();
    let mut first = bench.up(1, 4).await;
    let mut other = bench.up(2, 4).await;
    bench.report(1, ReportEvent::Down(Keep::Nothing, Ending::Silent)).await;
    within(async { while first.hear().await {} }).await;
    // The group goes on, and with its last member it ends too.
    bench.originate(vec![announcement(1)]).await;
    other.until(|ear| ear.routes.len() == 1).await;
    bench.report(2, ReportEvent::Down(Keep::Nothing, Ending::Silent)).await;
    within(async { while other.hear().await {} }).await;
}

#[tokio::test]
async fn a_pull_that_is_cancelled_loses_nothing() {
    let bench = Bench::new();
    let id = bench.ask(|reply| Command::OpenFeed { reply }).await;
    let mut feed = Feed::new(id, bench.rib.clone());
    let cancelled = tokio::time::timeout(Duration::ZERO, feed.pull(10)).await;
    assert!(cancelled.is_err(), "there is nothing to pull yet");
    bench.originate(vec![announcement(1), announcement(2)]).await;
    let mut seen = BTreeSet::new();
    within(async {
        while seen.len() < 2 {
            seen.extend(feed.pull(1).await.unwrap().changes.into_iter().map(|change| change.prefix));
        }
    })
    .await;
}

#[tokio::test]
async fn the_thread_ends_with_the_last_sender() {
    let bench = Bench::new();
    let mut ear = bench.up(1, 4).await;
    ear.until(|ear| ear.end_of_rib == 1).await;
    drop(bench);
    within(async { while ear.hear().await {} }).await;
}

#[tokio::test]
async fn end_of_rib_comes_also_where_the_rest_of_the_table_was_told_before() {
    let bench = Bench::new();
    let mut ear = bench.up(1, 1).await;
    // Told as changes before the walk through the table gets to them.
    let all = 3 * RING;
    bench.originate((0..all).map(announcement).collect()).await;
    ear.until(|ear| ear.routes.len() == all && ear.end_of_rib == 1).await;
}
