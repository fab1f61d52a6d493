//! Restarts: of peers, and of this speaker (RFC 4724 §4).

use super::*;
use crate::config::Family;
use crate::peer::{LongLivedTimes, Retention};
use crate::speaker::RouteStatus;
use crate::wire::capability::GracefulRestart;

const LONG: Duration = Duration::from_secs(3600);

/// Peer `n` comes back; the terms say in which families it went on forwarding.
async fn back(bench: &Bench, n: u8, forwarding: Families) -> mpsc::Receiver<Bytes> {
    let long = LongLivedTimes { ipv4: LONG, ..LongLivedTimes::default() };
    let retention = Retention {
        families: v4(),
        forwarding,
        time: Duration::from_secs(120),
        notification: false,
        long,
        long_forwarding: forwarding,
    };
    let negotiated = Negotiated { retention: Some(retention), ..(*negotiated(n)).clone() };
    let (writer, bytes) = mpsc::channel(4);
    let (signals, _) = mpsc::channel(1);
    bench
        .report(
            n,
            ReportEvent::Up { negotiated: Arc::new(negotiated), opens: Arc::default(), writer, signals },
        )
        .await;
    bytes
}

/// Peer `n` announces 10.0.`third`.0/24, or says that this was all.
async fn tell(bench: &Bench, n: u8, third: Option<u8>) {
    let context = negotiated(n).context();
    let mut out = bytes::BytesMut::new();
    match third {
        Some(third) => {
            let set = AttributeSet { local_pref: Some(100), ..AttributeSet::default() };
            let prefix = Ipv4Prefix::new(Ipv4Addr::new(10, 0, third, 0), 24).unwrap();
            update::announce(&set, &NextHop::from(key(n).address()), &[prefix.into()], &context, &mut out)
                .unwrap();
        }
        None => out.extend_from_slice(&[0; header::LENGTH + 4]),
    }
    let body = out.split_off(header::LENGTH).freeze();
    let update = update::decode(&body, &context).unwrap();
    bench.report(n, ReportEvent::Update(Box::new(update))).await;
}

/// Follows the best paths until the prefixes are these; returns those that were gone at any time.
async fn follow(feed: &mut Feed, has: &mut BTreeSet<IpNetwork>, wanted: &[&str]) -> BTreeSet<IpNetwork> {
    let wanted: BTreeSet<IpNetwork> = wanted.iter().map(|text| network(text)).collect();
    let mut gone = BTreeSet::new();
    within(async {
        while *has != wanted {
            for change in feed.pull(64).await.unwrap().changes {
                if change.best.is_some() {
                    has.insert(change.prefix);
                } else {
                    has.remove(&change.prefix);
                    gone.insert(change.prefix);
                }
            }
        }
    })
    .await;
    gone
}

#[tokio::test]
async fn routes_of_a_peer_that_is_away_stay_and_what_it_does_not_announce_again_goes() {
    let stale = || {
        ReportEvent::Down(Keep::Stale { until: std::time::Instant::now(), families: v4() }, Ending::Silent)
    };
    let (one, two) = ("10.0.1.0/24", "10.0.2.0/24");
    let bench = Bench::new();
    let id = bench.ask(|reply| Command::OpenFeed { reply }).await;
    let (mut feed, mut has) = (Feed::new(id, bench.rib.clone()), BTreeSet::new());
    let _away = back(&bench, 1, v4()).await;
    tell(&bench, 1, Some(1)).await;
    tell(&bench, 1, Some(2)).await;
    follow(&mut feed, &mut has, &[one, two]).await;
    // At its End-of-RIB: what it announced again was never gone.
    bench.report(1, stale()).await;
    let _back = back(&bench, 1, v4()).await;
    tell(&bench, 1, Some(1)).await;
    tell(&bench, 1, None).await;
    assert_eq!(follow(&mut feed, &mut has, &[one]).await, BTreeSet::from([network(two)]));
    // When its time is over.
    bench.report(1, stale()).await;
    bench.report(1, ReportEvent::Forget).await;
    follow(&mut feed, &mut has, &[]).await;
    // Away for long it is a last resort, and as ever gone at its End-of-RIB.
    let _again = back(&bench, 1, v4()).await;
    tell(&bench, 1, Some(1)).await;
    tell(&bench, 1, Some(2)).await;
    follow(&mut feed, &mut has, &[one, two]).await;
    bench.report(1, stale()).await;
    bench.report(1, ReportEvent::LongLived(v4())).await;
    let kept = |route: &RouteStatus| route.stale && route.communities == ["llgr-stale"];
    let prefixes = vec![network(one), network(two)];
    within(async {
        let routes = |reply| Command::Routes { prefixes: prefixes.clone(), peer: None, reply };
        while !bench.ask(routes).await.iter().all(kept) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let _back = back(&bench, 1, v4()).await;
    tell(&bench, 1, Some(1)).await;
    tell(&bench, 1, None).await;
    assert_eq!(follow(&mut feed, &mut has, &[one]).await, BTreeSet::from([network(two)]));
    bench.report(1, ReportEvent::Down(Keep::Nothing, Ending::Silent)).await;
    follow(&mut feed, &mut has, &[]).await;
    // Of a family of which it is not kept for long it is gone at once.
    let _again = back(&bench, 1, v4()).await;
    tell(&bench, 1, Some(1)).await;
    follow(&mut feed, &mut has, &[one]).await;
    bench.report(1, stale()).await;
    bench.report(1, ReportEvent::LongLived([Family::Ipv6Unicast].into_iter().collect())).await;
    follow(&mut feed, &mut has, &[]).await;
    // When it says that it did not go on forwarding.
    let _again = back(&bench, 1, v4()).await;
    tell(&bench, 1, Some(1)).await;
    follow(&mut feed, &mut has, &[one]).await;
    bench.report(1, stale()).await;
    let _cold = back(&bench, 1, Families::NONE).await;
    follow(&mut feed, &mut has, &[]).await;
}

fn v4() -> Families {
    [Family::Ipv4Unicast].into_iter().collect()
}

/// The terms with peer `n`, which knows of restarts and has been through one itself or not.
fn graceful(n: u8, restarted: bool) -> Arc<Negotiated> {
    let theirs = GracefulRestart { restarted, notification: true, time: LONG, families: Default::default() };
    Arc::new(Negotiated { graceful_restart: Some(theirs), ..(*negotiated(n)).clone() })
}

/// Peers 1 and 2 of a speaker that has restarted.
fn two_peers(deferral: Option<Duration>) -> Bench {
    Bench::begin(Beginning { deferral, ..Beginning::default() })
}

/// Everything peer `n` announces, and its End-of-RIB.
async fn whole_table(bench: &Bench, n: u8, prefixes: &[u8]) {
    for third in prefixes {
        tell(bench, n, Some(*third)).await;
    }
    tell(bench, n, None).await;
}

#[tokio::test]
async fn a_restarted_speaker_chooses_when_all_have_said_what_they_have_and_ends_its_own_table_then() {
    let bench = two_peers(Some(LONG));
    bench.originate(vec![announcement(1)]).await;
    let id = bench.ask(|reply| Command::OpenFeed { reply }).await;
    let (mut feed, mut has) = (Feed::new(id, bench.rib.clone()), BTreeSet::new());
    let mut ear = bench.up_on(1, 8, graceful(1, false)).await;
    ear.until(|ear| ear.routes.len() == 1).await;
    whole_table(&bench, 1, &[1]).await;
    // The second has restarted, too: waiting for each other would take for ever. The third knows nothing of restarts.
    let _second = bench.up_on(2, 8, graceful(2, true)).await;
    let own = "10.0.1.0/24";
    follow(&mut feed, &mut has, &[own]).await;
    let early = tokio::time::timeout(Duration::from_millis(50), feed.pull(64)).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(ear.end_of_rib, 0);
    tell(&bench, 1, Some(7)).await;
    let _third = bench.up(3, 8).await;
    follow(&mut feed, &mut has, &[own, "10.0.7.0/24"]).await;
    ear.until(|ear| ear.end_of_rib == 1).await;
}

#[tokio::test]
async fn a_peer_that_does_not_come_back_is_not_waited_for_longer_than_the_deferral() {
    let bench = two_peers(Some(Duration::from_millis(200)));
    let id = bench.ask(|reply| Command::OpenFeed { reply }).await;
    let (mut feed, mut has) = (Feed::new(id, bench.rib.clone()), BTreeSet::new());
    let mut ear = bench.up_on(1, 8, graceful(1, false)).await;
    tell(&bench, 1, Some(7)).await;
    follow(&mut feed, &mut has, &["10.0.7.0/24"]).await;
    ear.until(|ear| ear.end_of_rib == 1).await;
}

#[tokio::test]
async fn the_own_table_does_not_end_before_what_is_announced_is_complete() {
    let bench = Bench::begin(Beginning { announces_later: true, ..Beginning::default() });
    let mut ear = bench.up(1, 8).await;
    bench.originate(vec![announcement(1)]).await;
    ear.until(|ear| ear.routes.len() == 1).await;
    bench.originate(vec![announcement(2)]).await;
    ear.until(|ear| ear.routes.len() == 2).await;
    assert_eq!(ear.end_of_rib, 0);
    bench.ask(|reply| Command::Announced { reply }).await;
    ear.until(|ear| ear.end_of_rib == 1).await;
    // Who comes later hears it as ever.
    let mut late = bench.up(2, 8).await;
    late.until(|ear| ear.routes.len() == 2 && ear.end_of_rib == 1).await;
}
