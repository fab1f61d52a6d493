//! Peers that nobody has named: daemons that dial into a range of addresses, and are the only ones who know of each other.
//!
//! caracal is host 1 and never dials. What of these daemons can be seen is that they come, that all goes both ways, and that
//! nothing is left of them.

use std::marker::PhantomData;

use anyhow::ensure;
use caracal_lab::Sandbox;
use caracal_lab::wait::{self, NotYet};

use crate::passwords::{Rekeys, dropped};
use crate::peer::{Neighbor, Peer, Plan, SOON};
use crate::segment::{Segment, v4, v6};
use crate::us::{self, Session, Us};

const OUR_AS: u32 = 64601;
const THEIR_AS: u32 = 64602;
const RANGES: [&str; 2] = ["10.99.0.0/28", "fd00:99::/124"];
const OURS: [&str; 2] = ["10.1.0.0/24", "fd00:1::/64"];
const THEIRS: [&str; 2] = ["10.2.0.0/24", "fd00:2::/64"];
const THIRD: [&str; 2] = ["10.3.0.0/24", "fd00:3::/64"];
const RIGHT: &str = "between-us-1";
const WRONG: &str = "between-us-2";

/// Our file: `more` goes to the range; or to two, one for each family, where such a daemon needs a session for each.
fn tables<P: Peer>(more: &str) -> String {
    let own = OURS.map(|prefix| us::originate(prefix, &[])).concat();
    let range = |range: &str, more: &str| {
        format!("[[peer]]\nname = \"racks\"\nrange = \"{range}\"\nas = \"external\"\n{more}\n")
    };
    let [v4, v6] = RANGES;
    if P::V6_OVER_V4 {
        return format!("{own}{}", range(v4, more));
    }
    let alone = |family: &str| format!("families = [\"{family}\"]\n{more}");
    format!("{own}{}{}", range(v4, &alone("ipv4-unicast")), range(v6, &alone("ipv6-unicast")))
}

fn plan<P: Peer>([v4, v6]: [&'static str; 2], password: Option<&'static str>) -> Plan {
    let neighbor = Neighbor { password, ..Neighbor::new(1, OUR_AS) };
    let over_v6 = Neighbor { over_v6: true, ..neighbor.clone() };
    let neighbors = if P::V6_OVER_V4 { vec![neighbor] } else { vec![neighbor, over_v6] };
    Plan { asn: THEIR_AS, neighbors, v4: vec![v4], v6: vec![v6], ..Plan::default() }
}

/// Whether exactly this host is there, by the range.
fn only<P: Peer>(host: u8) -> impl Fn(&[Session]) -> bool {
    let sessions = if P::V6_OVER_V4 { 1 } else { 2 };
    let wanted = [v4(host), v6(host)].into_iter().zip(RANGES).take(sessions).collect::<Vec<_>>();
    move |peers| {
        let fits = |(peer, (key, range)): (&Session, &(String, &str))| {
            let dynamic = peer.origin == "Dynamic" && peer.range.as_deref() == Some(*range);
            peer.key == *key && peer.state == "Established" && dynamic
        };
        peers.len() == wanted.len() && peers.iter().zip(&wanted).all(fits)
    }
}

/// A daemon dials and is a peer; of a range of one the next is turned away in words until the first is gone; a reload sends
/// away whose range is no more.
pub(crate) async fn newcomers<P: Peer>(_: PhantomData<P>, sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there, beyond) = (segment.host(1).await?, segment.host(2).await?, segment.host(3).await?);
    let us = Us::start(&here, OUR_AS, &tables::<P>("max-peers = 1")).await?;
    ensure!(us.peers(&here).await?.is_empty(), "somebody is there already");
    let first = P::start(&there, &plan::<P>(THEIRS, None)).await?;
    us.peers_when(&here, only::<P>(2)).await?;
    for (prefix, next_hop) in THEIRS.into_iter().zip([there.v4(), there.v6()]) {
        us.learns(&here, prefix, |path| path.best && path.next_hop.as_ref() == Some(&next_hop)).await?;
    }
    // The next hop of the other family is of the device that leads to where the peer came from.
    for (prefix, next_hop) in OURS.into_iter().zip([here.v4(), here.v6()]) {
        first.learns(&there, prefix, |route| route.next_hop == next_hop).await?;
    }

    let second = P::start(&beyond, &plan::<P>(THIRD, None)).await?;
    let refused = |range: &us::Range| {
        let why = range.last_refusal.clone().unwrap_or_default();
        range.refused > 0 && why.starts_with(&format!("{}: there are 1 peers of the range", v4(3)))
    };
    us.ranges_when(&here, |ranges| ranges.iter().any(refused)).await?;
    us.says("a peer of a range was turned away").await?;
    ensure!(only::<P>(2)(&us.peers(&here).await?), "the one who was there is not alone");

    first.crash().await?;
    us.peers_when(&here, only::<P>(3)).await?;
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
    let us = Us::start(&here, OUR_AS, &tables::<P>(&format!("password = \"{RIGHT}\""))).await?;
    let mut they = P::start(&there, &plan::<P>(THEIRS, Some(WRONG))).await?;
    let _without = P::start(&beyond, &plan::<P>(THIRD, None)).await?;
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
    let right = plan::<P>(THEIRS, Some(RIGHT));
    if P::REKEYS_UNHEARD {
        they.rekey(&there, &right).await?;
    } else {
        they.crash().await?;
        they = P::start(&there, &right).await?;
    }
    us.peers_when(&here, only::<P>(2)).await?;
    us.learns(&here, THEIRS[0], |path| path.best).await?;
    they.learns(&there, OURS[0], |_| true).await.map(drop)
}
