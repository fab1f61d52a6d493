//! What is tried with every daemon. caracal is host 1, the daemon host 2, and host 3 where a third is needed.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use anyhow::ensure;
use caracal_lab::Sandbox;
use caracal_lab::wait::{self, NotYet};

use crate::peer::{Neighbor, Peer, Plan, SOON, TAGS};
use crate::segment::{Host, Segment, v4, v6};
use crate::us::{self, Path, Us};

/// A hold time, in seconds, with which no KEEPALIVE passes while a case runs, so that what passes can be counted.
pub(crate) const NO_KEEPALIVES: u16 = 3600;

/// Ours, with plain refreshes.
const UNMARKED: &str = "hold-time = 3600\nenhanced-refresh = false";

/// How long nothing comes on a session that has said all it had.
const QUIET: Duration = Duration::from_millis(500);

const OUR_AS: u32 = 64601;
const THEIR_AS: u32 = 64602;
const THIRD_AS: u32 = 64603;

/// Our own prefixes.
const OURS: [&str; 2] = ["10.1.0.0/24", "fd00:1::/64"];
/// Those of the daemon on host 2.
const THEIRS: [&str; 2] = ["10.2.0.0/24", "fd00:2::/64"];
/// Those of host 3.
const THIRD: [&str; 2] = ["10.3.0.0/24", "fd00:3::/64"];

/// The sessions between us and a host with such a daemon: one for both families, or one for each where the daemon
/// needs that. Our tables, and its neighbours.
fn sessions<P: Peer>(host: u8, asn: u32, ours: u32, more: &str) -> (String, Vec<Neighbor>) {
    let one = Neighbor::new(1, ours);
    if P::V6_OVER_V4 {
        return (us::peer(&v4(host), asn, more), vec![one]);
    }
    let tables = [
        us::peer(&v4(host), asn, &format!("families = [\"ipv4-unicast\"]\n{more}")),
        us::peer(&v6(host), asn, &format!("families = [\"ipv6-unicast\"]\n{more}")),
    ];
    (tables.concat(), vec![one.clone(), Neighbor { over_v6: true, ..one }])
}

fn plan(asn: u32, neighbors: Vec<Neighbor>, [v4, v6]: [&'static str; 2]) -> Plan {
    Plan { asn, neighbors, v4: vec![v4], v6: vec![v6], ..Plan::default() }
}

fn originations(prefixes: [&str; 2]) -> String {
    prefixes.map(|prefix| us::originate(prefix, &["64601:7"])).concat()
}

/// Whether a path came from elsewhere and is in use.
fn used(path: &Path) -> bool {
    path.best && path.peer.is_some()
}

/// Routes of both families go both ways, with the AS path and next hop that belong there.
async fn exchange<P: Peer>(sandbox: Sandbox, their_as: u32) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there) = (segment.host(1).await?, segment.host(2).await?);
    let (tables, neighbors) = sessions::<P>(2, their_as, OUR_AS, "");
    let us = Us::start(&here, OUR_AS, &format!("{}{tables}", originations(OURS))).await?;
    let they = P::start(&there, &plan(their_as, neighbors, THEIRS)).await?;

    let external = their_as != OUR_AS;
    let path = |asn: u32| if external { asn.to_string() } else { String::new() };
    let (theirs, ours) = (path(their_as), path(OUR_AS));
    for (prefix, next_hop) in THEIRS.into_iter().zip([there.v4(), there.v6()]) {
        let fits = |path: &Path| {
            used(path) && path.as_path == theirs && path.next_hop.as_deref() == Some(next_hop.as_str())
        };
        us.learns(&here, prefix, fits).await?;
    }
    let wanted = BTreeSet::from(TAGS);
    let tagged = |path: &Path| path.communities.iter().map(String::as_str).collect::<BTreeSet<_>>() == wanted;
    us.learns(&here, THEIRS[0], tagged).await?;
    for (prefix, next_hop) in OURS.into_iter().zip([here.v4(), here.v6()]) {
        let community = "64601:7".to_owned();
        they.learns(&there, prefix, |route| {
            route.as_path == ours && route.next_hop == next_hop && route.communities.contains(&community)
        })
        .await?;
    }
    us.established(&here).await?;
    us.stop().await?;
    // A stop is a stop: the routes go at once, not with the hold time.
    wait::until(SOON, "our routes are gone with the session", || async {
        let left = they.routes(&there).await?;
        match left.iter().find(|route| OURS.contains(&route.prefix.as_str())) {
            None => Ok(()),
            Some(route) => Err(NotYet::because(format!("{route:?}"))),
        }
    })
    .await
}

pub(crate) async fn ebgp<P: Peer>(_: PhantomData<P>, sandbox: Sandbox) -> anyhow::Result<()> {
    exchange::<P>(sandbox, THEIR_AS).await
}

pub(crate) async fn ibgp<P: Peer>(_: PhantomData<P>, sandbox: Sandbox) -> anyhow::Result<()> {
    exchange::<P>(sandbox, OUR_AS).await
}

/// Communities of all kinds come out of us as they went in, from one daemon to another of its kind.
pub(crate) async fn communities<P: Peer>(_: PhantomData<P>, sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there, beyond) = (segment.host(1).await?, segment.host(2).await?, segment.host(3).await?);
    let tables = [us::peer(&v4(2), THEIR_AS, ""), us::peer(&v4(3), THIRD_AS, "")].concat();
    let us = Us::start(&here, OUR_AS, &tables).await?;
    let source = Plan { v4: vec![THEIRS[0]], ..plan(THEIR_AS, vec![Neighbor::new(1, OUR_AS)], THEIRS) };
    let _source = P::start(&there, &source).await?;
    let sink = Plan { v4: vec![], v6: vec![], ..plan(THIRD_AS, vec![Neighbor::new(1, OUR_AS)], THIRD) };
    let sink = P::start(&beyond, &sink).await?;
    let path = format!("{OUR_AS} {THEIR_AS}");
    let wanted = TAGS.map(str::to_owned).into_iter().collect();
    sink.learns(&beyond, THEIRS[0], |route| route.as_path == path && route.communities == wanted).await?;
    us.established(&here).await.map(drop)
}

/// We reflect between a client and a non-client of the daemon's kind, next hops unchanged.
pub(crate) async fn we_reflect<P: Peer>(_: PhantomData<P>, sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, client, other) = (segment.host(1).await?, segment.host(2).await?, segment.host(3).await?);
    let (to_client, of_client) = sessions::<P>(2, OUR_AS, OUR_AS, "reflector-client = true");
    let (to_other, of_other) = sessions::<P>(3, OUR_AS, OUR_AS, "");
    let us = Us::start(&here, OUR_AS, &format!("{to_client}{to_other}")).await?;
    let first = P::start(&client, &plan(OUR_AS, of_client, THEIRS)).await?;
    let second = P::start(&other, &plan(OUR_AS, of_other, THIRD)).await?;
    for (at, daemon, prefixes, from) in [(&other, &second, THEIRS, &client), (&client, &first, THIRD, &other)]
    {
        for (prefix, next_hop) in prefixes.into_iter().zip([from.v4(), from.v6()]) {
            daemon.learns(at, prefix, |route| route.as_path.is_empty() && route.next_hop == next_hop).await?;
        }
    }
    us.established(&here).await.map(drop)
}

/// The daemon reflects between two of us.
pub(crate) async fn they_reflect<P: Peer>(_: PhantomData<P>, sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there, beyond) = (segment.host(1).await?, segment.host(2).await?, segment.host(3).await?);
    let (tables, mut neighbors) = sessions::<P>(2, OUR_AS, OUR_AS, "");
    neighbors
        .extend(sessions::<P>(2, OUR_AS, OUR_AS, "").1.into_iter().map(|one| Neighbor { host: 3, ..one }));
    neighbors.iter_mut().for_each(|one| one.client = true);
    let us = Us::start(&here, OUR_AS, &format!("{}{tables}", originations(OURS))).await?;
    let we_too = Us::start(&beyond, OUR_AS, &format!("{}{tables}", originations(THIRD))).await?;
    let _reflector =
        P::start(&there, &Plan { v4: vec![], v6: vec![], ..plan(OUR_AS, neighbors, THEIRS) }).await?;
    for (at, who, prefixes, from) in [(&here, &us, THIRD, &beyond), (&beyond, &we_too, OURS, &here)] {
        for (prefix, next_hop) in prefixes.into_iter().zip([from.v4(), from.v6()]) {
            let fits = |path: &Path| {
                used(path) && path.as_path.is_empty() && path.next_hop.as_deref() == Some(next_hop.as_str())
            };
            who.learns(at, prefix, fits).await?;
        }
    }
    Ok(())
}

/// Both sides ask for everything again and get it, on the session that stands.
pub(crate) async fn refresh<P: Peer>(_: PhantomData<P>, sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there) = (segment.host(1).await?, segment.host(2).await?);
    let tables = format!("{}{}", originations(OURS), us::peer(&v4(2), THEIR_AS, UNMARKED));
    let us = Us::start(&here, OUR_AS, &tables).await?;
    let neighbor = Neighbor { hold: Some(NO_KEEPALIVES), ..Neighbor::new(1, OUR_AS) };
    let they = P::start(&there, &plan(THEIR_AS, vec![neighbor.clone()], THEIRS)).await?;
    us.learns(&here, THEIRS[0], used).await?;
    they.learns(&there, OURS[0], |_| true).await?;

    if P::ANSWERS {
        let before = quiet(&us, &here).await?;
        us.refresh(&here, &v4(2)).await?;
        // The prefix, at the least.
        let answered = |peer: &us::Session| peer.messages_received > before.messages_received;
        us.peers_when(&here, |peers| peers.iter().all(answered)).await?;
    }
    if !P::ASKS_AGAIN {
        return Ok(());
    }
    let before = quiet(&us, &here).await?;
    they.refresh(&there, &neighbor).await?;
    us.peers_when(&here, |peers| peers.iter().all(|peer| peer.messages_sent >= before.messages_sent + 2))
        .await?;
    let after = us.peer(&here, &v4(2)).await?;
    ensure!(after.state == "Established" && after.transitions == before.transitions, "{after:?}");
    us.learns(&here, THEIRS[0], used).await.map(drop)
}

/// The session when nothing has come or gone for half a second: what comes then was asked for.
pub(crate) async fn quiet(us: &Us, here: &Host) -> anyhow::Result<us::Session> {
    let last: RefCell<Option<(us::Session, Instant)>> = RefCell::new(None);
    wait::until(SOON, "the session is quiet", || async {
        let now = us.peer(here, &v4(2)).await?;
        let same = |old: &us::Session| {
            (old.messages_received, old.messages_sent) == (now.messages_received, now.messages_sent)
        };
        let mut last = last.borrow_mut();
        match last.as_ref().filter(|(old, _)| same(old)) {
            Some((_, since)) if since.elapsed() > QUIET => Ok(now),
            Some(_) => Err(NotYet::because("nothing has come for less than half a second")),
            None => {
                *last = Some((now.clone(), Instant::now()));
                Err(NotYet::because(format!("{now:?}")))
            }
        }
    })
    .await
}

/// Hold time zero: no keepalives, and the session stands.
pub(crate) async fn hold_zero<P: Peer>(_: PhantomData<P>, sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there) = (segment.host(1).await?, segment.host(2).await?);
    let us = Us::start(&here, OUR_AS, &us::peer(&v4(2), THEIR_AS, "hold-time = 0")).await?;
    let neighbor = Neighbor { hold: Some(0), ..Neighbor::new(1, OUR_AS) };
    let _they = P::start(&there, &plan(THEIR_AS, vec![neighbor], THEIRS)).await?;
    us.learns(&here, THEIRS[0], used).await?;
    let session = us.peer(&here, &v4(2)).await?;
    ensure!(session.hold_time_seconds == 0 && session.transitions == 1, "{session:?}");
    Ok(())
}

/// IPv4 routes with IPv6 next hops, over a session on IPv6.
pub(crate) async fn extended_next_hop<P: Peer>(_: PhantomData<P>, sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there) = (segment.host(1).await?, segment.host(2).await?);
    // Without an own IPv4 next hop ours is IPv6 too.
    let more = "extended-next-hop = [\"ipv4-unicast\"]";
    caracal_lab::command::ip_batch(Some("h1"), "address del 10.99.0.1/16 dev e0\n").await?;
    let us = Us::start(&here, OUR_AS, &format!("{}{}", originations(OURS), us::peer(&v6(2), THEIR_AS, more)))
        .await?;
    let neighbor = Neighbor { over_v6: true, extended_next_hop: true, ..Neighbor::new(1, OUR_AS) };
    let they = P::start(&there, &plan(THEIR_AS, vec![neighbor], THEIRS)).await?;
    us.learns(&here, THEIRS[1], used).await?;
    they.learns(&there, OURS[0], |route| route.next_hop == here.v6()).await?;
    us.learns(&here, THEIRS[0], |path| used(path) && path.next_hop.as_deref() == Some(there.v6().as_str()))
        .await
        .map(drop)
}

/// A peer that announces more than it may loses its session, and is told why.
pub(crate) async fn max_prefix<P: Peer>(_: PhantomData<P>, sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there) = (segment.host(1).await?, segment.host(2).await?);
    let more = "max-prefixes = { ipv4-unicast = 2, action = \"stop\" }";
    let us = Us::start(&here, OUR_AS, &us::peer(&v4(2), THEIR_AS, more)).await?;
    let neighbor = Neighbor::new(1, OUR_AS);
    let all = Plan {
        v4: vec!["10.2.0.0/24", "10.2.1.0/24", "10.2.2.0/24"],
        ..plan(THEIR_AS, vec![neighbor], THEIRS)
    };
    let _they = P::start(&there, &all).await?;
    let down = us
        .peers_when(&here, |peers| {
            peers.iter().all(|peer| peer.transitions == 2 && peer.state != "Established")
        })
        .await?;
    let said = down.first().and_then(|peer| peer.last_error.clone()).unwrap_or_default();
    ensure!(said.contains("prefix"), "the reason told is: {said}");
    ensure!(!us.paths(&here).await?.iter().any(used), "routes outlived their session");
    Ok(())
}
