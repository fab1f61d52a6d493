//! Peers that nobody has named: daemons that dial into a range of addresses, and are the only ones who know of each other.
//!
//! caracal is host 1 and never dials. What of these daemons can be seen is that they come, that all goes both ways, and that
//! nothing is left of them.

use std::marker::PhantomData;

use anyhow::ensure;
use caracal_lab::Sandbox;
use caracal_lab::wait::{self, NotYet};

use crate::passwords::{Rekeys, dropped};
use crate::peer::{Neighbor, Plan, SOON};
use crate::restart::Restarts;
use crate::segment::{Segment, v4};
use crate::us::{self, Session, Us};

const OUR_AS: u32 = 64601;
const THEIR_AS: u32 = 64602;
const RANGE: &str = "10.99.0.0/28";
const OURS: [&str; 2] = ["10.1.0.0/24", "fd00:1::/64"];
const THEIRS: [&str; 2] = ["10.2.0.0/24", "fd00:2::/64"];
const THIRD: [&str; 2] = ["10.3.0.0/24", "fd00:3::/64"];
const RIGHT: &str = "between-us-1";
const WRONG: &str = "between-us-2";

/// Our file: `more` goes to the range.
fn tables(more: &str) -> String {
    let own = OURS.map(|prefix| us::originate(prefix, &[]));
    format!("{}[[peer]]\nname = \"racks\"\nrange = \"{RANGE}\"\nas = \"external\"\n{more}\n", own.concat())
}

fn plan([v4, v6]: [&'static str; 2], password: Option<&'static str>) -> Plan {
    let neighbor = Neighbor { password, ..Neighbor::new(1, OUR_AS) };
    Plan { asn: THEIR_AS, neighbors: vec![neighbor], v4: vec![v4], v6: vec![v6], ..Plan::default() }
}

/// Whether exactly this host is there, by the range.
fn only(host: u8) -> impl Fn(&[Session]) -> bool {
    move |peers| {
        let [peer] = peers else { return false };
        let dynamic = peer.origin == "Dynamic" && peer.range.as_deref() == Some(RANGE);
        peer.key == v4(host) && peer.state == "Established" && dynamic
    }
}

/// A daemon dials and is a peer; of a range of one the next is turned away in words until the first is gone; a reload sends
/// away whose range is no more.
pub(crate) async fn newcomers<P: Restarts>(_: PhantomData<P>, sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there, beyond) = (segment.host(1).await?, segment.host(2).await?, segment.host(3).await?);
    let us = Us::start(&here, OUR_AS, &tables("max-peers = 1")).await?;
    ensure!(us.peers(&here).await?.is_empty(), "somebody is there already");
    let first = P::start(&there, &plan(THEIRS, None)).await?;
    us.peers_when(&here, only(2)).await?;
    for (prefix, next_hop) in THEIRS.into_iter().zip([there.v4(), there.v6()]) {
        us.learns(&here, prefix, |path| path.best && path.next_hop.as_ref() == Some(&next_hop)).await?;
    }
    // The next hop of the other family is of the device that leads to where the peer came from.
    for (prefix, next_hop) in OURS.into_iter().zip([here.v4(), here.v6()]) {
        first.learns(&there, prefix, |route| route.next_hop == next_hop).await?;
    }

    let second = P::start(&beyond, &plan(THIRD, None)).await?;
    let refused = |range: &us::Range| {
        let why = range.last_refusal.clone().unwrap_or_default();
        range.refused > 0 && why.starts_with(&format!("{}: there are 1 peers of the range", v4(3)))
    };
    us.ranges_when(&here, |ranges| ranges.iter().any(refused)).await?;
    us.says("a peer of a range was turned away").await?;
    ensure!(only(2)(&us.peers(&here).await?), "the one who was there is not alone");

    first.crash().await?;
    us.peers_when(&here, only(3)).await?;
    us.learns(&here, THIRD[0], |path| path.best).await?;
    us.loses(&here, THEIRS[0]).await?;
    us.loses(&here, THEIRS[1]).await?;

    let own = OURS.map(|prefix| us::originate(prefix, &[])).concat();
    us.reload(&here, OUR_AS, &own).await?;
    us.peers_when(&here, <[Session]>::is_empty).await?;
    us.loses(&here, THIRD[0]).await?;
    second.loses(&beyond, OURS[0]).await
}

/// A password of a range is asked of everybody in it: one daemon has another, one has none, and neither gets in; with the
/// right one it does.
pub(crate) async fn passwords<P: Rekeys>(_: PhantomData<P>, sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there, beyond) = (segment.host(1).await?, segment.host(2).await?, segment.host(3).await?);
    let us = Us::start(&here, OUR_AS, &tables(&format!("password = \"{RIGHT}\""))).await?;
    let they = P::start(&there, &plan(THEIRS, Some(WRONG))).await?;
    let _without = P::start(&beyond, &plan(THIRD, None)).await?;
    for (counter, why) in [("TCPMD5Failure", "the password is another"), ("TCPMD5NotFound", "there is none")]
    {
        wait::until(SOON, &format!("segments are dropped: {why}"), || async {
            match dropped(&here, counter).await? {
                0 | 1 => Err(NotYet::because("they are not")),
                _ => Ok(()),
            }
        })
        .await?;
    }
    ensure!(us.peers(&here).await?.is_empty(), "somebody got in without the password");
    they.rekey(&there, &plan(THEIRS, Some(RIGHT))).await?;
    us.peers_when(&here, only(2)).await?;
    us.learns(&here, THEIRS[0], |path| path.best).await?;
    they.learns(&there, OURS[0], |_| true).await.map(drop)
}
