//! BFD (RFC 5880): the path to a peer fails while every device stays up.
//!
//! No case measures time: hold times are so long that only BFD can have ended a session within the time that is waited.

use std::marker::PhantomData;

use anyhow::ensure;
use caracal_lab::Sandbox;

use crate::peer::{BFD, Neighbor, Peer, Plan};
use crate::segment::{Host, Segment, v4, v6};
use crate::us::{self, Session, Us};

const OUR_AS: u32 = 64601;
const THEIR_AS: u32 = 64602;
/// Longer than anything that is waited for.
const HOLD: u16 = 600;

/// The table of a peer whose path is watched; it must be the last of the peer's keys.
pub(crate) fn table() -> String {
    table_of(BFD)
}

/// The same with this interval, in milliseconds, and this multiplier.
pub(crate) fn table_of((interval, multiplier): (u32, u8)) -> String {
    format!("[peer.bfd]\nmin-tx = {interval}\nmin-rx = {interval}\nmultiplier = {multiplier}\n")
}

/// The keys of such a peer whose session nothing else ends.
fn watched() -> String {
    format!("hold-time = {HOLD}\n{}", table())
}

/// Whether BFD is up at both ends with the times that both were given: those are in force after a poll only.
pub(crate) fn is_watched(session: &Session) -> bool {
    let (interval, multiplier) = BFD;
    let interval = u64::from(interval) * 1000;
    session.state == "Established"
        && session.bfd.as_ref().is_some_and(|bfd| {
            bfd.state == "Up"
                && bfd.remote_state == "Up"
                && bfd.transmit_interval_micros == interval
                && bfd.detection_time_micros == interval * u64::from(multiplier)
        })
}

/// Whether BFD, and nothing else, ended the session.
fn is_cut(session: &Session) -> bool {
    session.state != "Established"
        && session.bfd.as_ref().is_some_and(|bfd| bfd.state == "Down" && bfd.downs == 1)
        && session.transitions == 2
}

pub(crate) async fn all(us: &Us, host: &Host, fits: fn(&Session) -> bool) -> anyhow::Result<Vec<Session>> {
    us.peers_when(host, |peers| !peers.is_empty() && peers.iter().all(fits)).await
}

/// The path fails, both ends drop their routes by BFD, and all comes back with the path.
pub(crate) async fn path_failure<P: Peer>(_: PhantomData<P>, sandbox: Sandbox) -> anyhow::Result<()> {
    fails::<P>(&sandbox, false).await
}

/// The same with a peer that may be many hops away.
pub(crate) async fn path_failure_over_many_hops<P: Peer>(
    _: PhantomData<P>,
    sandbox: Sandbox,
) -> anyhow::Result<()> {
    fails::<P>(&sandbox, true).await
}

async fn fails<P: Peer>(sandbox: &Sandbox, multihop: bool) -> anyhow::Result<()> {
    let segment = Segment::make(sandbox).await?;
    let (here, there) = (segment.host(1).await?, segment.host(2).await?);
    let more = format!("{}{}", if multihop { "multihop = 5\n" } else { "" }, watched());
    let tables = format!("{}{}", us::originate("10.1.0.0/24", &[]), us::peer(&v4(2), THEIR_AS, &more));
    let us = Us::start(&here, OUR_AS, &tables).await?;
    let neighbor = Neighbor { bfd: true, multihop, hold: Some(HOLD), ..Neighbor::new(1, OUR_AS) };
    let v4s = vec!["10.2.0.0/24"];
    let plan = Plan { asn: THEIR_AS, neighbors: vec![neighbor], v4: v4s, ..Plan::default() };
    let they = P::start(&there, &plan).await?;
    us.learns(&here, "10.2.0.0/24", |path| path.best).await?;
    they.learns(&there, "10.1.0.0/24", |_| true).await?;
    let sessions = all(&us, &here, is_watched).await?;
    let as_said = |one: &Session| one.bfd.as_ref().is_some_and(|bfd| bfd.multihop == multihop);
    ensure!(sessions.iter().all(as_said), "{sessions:?}");

    segment.attach(&there, false).await?;
    us.loses(&here, "10.2.0.0/24").await?;
    they.loses(&there, "10.1.0.0/24").await?;
    us.says("session down: BFD says that packets no longer pass").await?;
    // FRR may have made a new session of BFD of the one that came up first: there may have been a fall before.
    let before = sessions[0].bfd.as_ref().map_or(0, |bfd| bfd.downs);
    let cut = |one: &Session| {
        one.state != "Established"
            && one.bfd.as_ref().is_some_and(|bfd| bfd.state == "Down" && bfd.downs > before)
    };
    us.peers_when(&here, |peers| !peers.is_empty() && peers.iter().all(cut)).await?;

    segment.attach(&there, true).await?;
    us.learns(&here, "10.2.0.0/24", |path| path.best).await?;
    they.learns(&there, "10.1.0.0/24", |_| true).await?;
    all(&us, &here, is_watched).await.map(drop)
}

/// Two of us, over one hop and over many, IPv4 and IPv6: the path fails and is mended; an end that turns BFD off, and one
/// that changes its times, costs no session.
pub(crate) async fn with_ourselves(sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there) = (segment.host(1).await?, segment.host(2).await?);
    let far = format!("{}\nmultihop = true", watched());
    let tables = |host: u8, asn: u32, prefix: &str, far: &str| {
        let peers = [us::peer(&v4(host), asn, &watched()), us::peer(&v6(host), asn, far)].concat();
        format!("{}{peers}", us::originate(prefix, &[]))
    };
    let ours = tables(2, THEIR_AS, "10.1.0.0/24", &far);
    let us = Us::start(&here, OUR_AS, &ours).await?;
    let theirs = tables(1, OUR_AS, "10.2.0.0/24", &far);
    let they = Us::start(&there, THEIR_AS, &theirs).await?;
    all(&us, &here, is_watched).await?;
    all(&they, &there, is_watched).await?;

    // Other times are polled for; without BFD at one end the other does not take silence for a failure.
    let slower = tables(2, THEIR_AS, "10.1.0.0/24", &format!("hold-time = {HOLD}")).replacen(
        "min-tx = 400",
        "min-tx = 700",
        1,
    );
    us.reload(&here, OUR_AS, &slower).await?;
    let told = |peers: &[Session]| {
        let detection = |key: String, micros: Option<u64>| {
            let peer = peers.iter().find(|peer| peer.key == key);
            peer.is_some_and(|peer| peer.bfd.as_ref().map(|bfd| bfd.detection_time_micros) == micros)
        };
        let slower = u64::from(BFD.1) * 700_000;
        let off = peers.iter().find(|peer| peer.key == v6(1)).and_then(|peer| peer.bfd.as_ref());
        detection(v4(1), Some(slower)) && off.is_some_and(|bfd| bfd.state == "Down")
    };
    let sessions = they.peers_when(&there, told).await?;
    ensure!(sessions.iter().all(|one| one.transitions == 1 && one.state == "Established"), "{sessions:?}");
    us.reload(&here, OUR_AS, &ours).await?;
    all(&us, &here, is_watched).await?;
    let sessions = all(&they, &there, is_watched).await?;
    ensure!(sessions.iter().all(|one| one.transitions == 1), "{sessions:?}");

    segment.attach(&there, false).await?;
    us.loses(&here, "10.2.0.0/24").await?;
    they.loses(&there, "10.1.0.0/24").await?;
    all(&us, &here, is_cut).await?;
    segment.attach(&there, true).await?;
    all(&us, &here, is_watched).await?;
    us.learns(&here, "10.2.0.0/24", |path| path.best).await.map(drop)
}

/// Paths to peers that nobody has named: the other router on a link, which has but its link-local address, and one that comes
/// from a range of addresses, over one hop that nothing from farther passes (RFC 5082). Both paths fail, and are mended.
pub(crate) async fn with_peers_that_nobody_named(sandbox: Sandbox) -> anyhow::Result<()> {
    const BEYOND_AS: u32 = 64603;
    let segment = Segment::make(&sandbox).await?;
    let (here, there) = (segment.host(1).await?, segment.host(2).await?);
    let beyond = segment.host(3).await?;
    // One of two dials, since sessions are counted, and two connections at once end one that was up at the other end.
    let by_interface =
        |dials: &str| format!("[[peer]]\ninterface = \"e0\"\nas = \"external\"\n{dials}\n{}", watched());
    let near = format!("ttl-security = 1\n{}", watched());
    let range = format!("[[peer]]\nrange = \"10.99.0.0/28\"\nas = {BEYOND_AS}\n{near}");
    let us = Us::start(&here, OUR_AS, &[by_interface("connect-retry = 0.3"), range].concat()).await?;
    let they = Us::start(&there, THEIR_AS, &by_interface("passive = true")).await?;
    let others = Us::start(&beyond, BEYOND_AS, &us::peer(&v4(1), OUR_AS, &near)).await?;
    let both = |peers: &[Session]| peers.len() == 2 && peers.iter().all(is_watched);
    let sessions = us.peers_when(&here, both).await?;
    let near = |one: &Session| one.bfd.as_ref().is_some_and(|bfd| !bfd.multihop);
    ensure!(sessions.iter().all(near), "{sessions:?}");
    all(&they, &there, is_watched).await?;
    all(&others, &beyond, is_watched).await?;

    for host in [&there, &beyond] {
        segment.attach(host, false).await?;
    }
    all(&they, &there, is_cut).await?;
    all(&others, &beyond, is_cut).await?;
    // Of one that nobody has named nothing is left.
    let cut = |peers: &[Session]| peers.iter().all(|one| one.key == "e0" && is_cut(one)) && !peers.is_empty();
    us.peers_when(&here, cut).await?;
    us.says("session down: BFD says that packets no longer pass").await?;
    for host in [&there, &beyond] {
        segment.attach(host, true).await?;
    }
    us.peers_when(&here, both).await?;
    all(&they, &there, is_watched).await?;
    all(&others, &beyond, is_watched).await.map(drop)
}
