//! Long-lived graceful restart (RFC 9494): a router is away for longer than it asked for.
//!
//! caracal is host 1 and keeps what host 2 said. Host 3, with a daemon of the same kind, knows of such routes; host 4, which
//! is another caracal, was not told to.

use std::marker::PhantomData;

use caracal_lab::Sandbox;

use crate::peer::{LONG_LIVED, Neighbor, Plan, SHORT_RESTART_TIME, Seen};
use crate::restart::Restarts;
use crate::segment::{Segment, v4};
use crate::us::{self, Path, Us};

const OUR_AS: u32 = 64601;
const THEIR_AS: u32 = 64602;
const THIRD_AS: u32 = 64603;
const FOURTH_AS: u32 = 64604;
const THEIRS: &str = "10.2.0.0/24";

/// Our file: we keep routes for at most so many seconds.
fn tables(longest: u32) -> String {
    let keys = format!("graceful-restart = {SHORT_RESTART_TIME}\nlong-lived-stale-time = {longest}");
    let peers = [
        us::peer(&v4(2), THEIR_AS, &keys),
        us::peer(&v4(3), THIRD_AS, &keys),
        us::peer(&v4(4), FOURTH_AS, ""),
    ];
    peers.concat()
}

fn plan(asn: u32, v4: &[&'static str]) -> Plan {
    let neighbor = Neighbor { restart: true, long_lived: true, ..Neighbor::new(1, OUR_AS) };
    Plan { asn, neighbors: vec![neighbor], v4: v4.to_vec(), ..Plan::default() }
}

/// Whether it is marked as kept for long, as one daemon or another says it.
fn is_marked(route: &Seen) -> bool {
    route.communities.iter().any(|one| one == "65535:6" || one == "llgr-stale")
}

fn is_kept(path: &Path) -> bool {
    path.best && path.stale && path.communities.iter().any(|one| one == "llgr-stale")
}

fn is_fresh(path: &Path) -> bool {
    path.best && !path.stale && path.communities.iter().all(|one| one != "llgr-stale")
}

/// What it said is kept beyond its restart time, marked, told to those who know of it and to no one else, and forgotten when
/// it is back, or when its time is over.
pub(crate) async fn a_peer_long_away<P: Restarts>(_: PhantomData<P>, sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there, beyond, elsewhere) =
        (segment.host(1).await?, segment.host(2).await?, segment.host(3).await?, segment.host(4).await?);
    let us = Us::start(&here, OUR_AS, &tables(LONG_LIVED)).await?;
    let mut they = P::start(&there, &plan(THEIR_AS, &[THEIRS])).await?;
    let knows = P::start(&beyond, &plan(THIRD_AS, &[])).await?;
    let knows_not = Us::start(&elsewhere, FOURTH_AS, &us::peer(&v4(1), OUR_AS, "")).await?;
    us.learns(&here, THEIRS, is_fresh).await?;
    knows.learns(&beyond, THEIRS, |route| !is_marked(route)).await?;
    knows_not.learns(&elsewhere, THEIRS, is_fresh).await?;

    they.crash().await?;
    us.learns(&here, THEIRS, is_kept).await?;
    knows.learns(&beyond, THEIRS, is_marked).await?;
    knows_not.loses(&elsewhere, THEIRS).await?;

    they.back(&there, &plan(THEIR_AS, &[THEIRS])).await?;
    us.learns(&here, THEIRS, is_fresh).await?;
    knows.learns(&beyond, THEIRS, |route| !is_marked(route)).await?;
    knows_not.learns(&elsewhere, THEIRS, is_fresh).await?;

    // We need not keep anything for as long as we are asked to.
    us.reload(&here, OUR_AS, &tables(1)).await?;
    us.peers_when(&here, |peers| {
        peers.iter().all(|peer| peer.state == "Established" && peer.transitions >= 1)
    })
    .await?;
    us.learns(&here, THEIRS, is_fresh).await?;
    they.crash().await?;
    us.loses(&here, THEIRS).await
}
