//! Attributes with every kind of mistake (RFC 7606), from a peer of another AS and from one inside.
//!
//! Each mistake comes on a prefix that was announced well before, and is followed by a sentinel. When the sentinel is
//! there, the prefix must be gone (treat-as-withdraw) or still be there (attribute discard), and the session must be
//! the same.

use anyhow::{Context, ensure};
use caracal_lab::Sandbox;
use caracal_lab::wait::{self, NotYet};

use crate::peer::SOON;
use crate::raw::{self, Attribute, NOTIFICATION, Raw, UPDATE};
use crate::segment::Segment;
use crate::us::{self, Us};

const OUR_AS: u32 = 64601;
const THEIR_AS: u32 = 64602;

/// What becomes of the route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Treat-as-withdraw.
    Gone,
    /// The attribute is discarded, or was no mistake.
    Stays,
}

use Fate::{Gone, Stays};

/// A mistake: its name, how it is made from good attributes, and what becomes of the route of an external and of an
/// internal peer.
struct Mistake {
    name: &'static str,
    make: fn(&[Attribute]) -> Vec<u8>,
    external: Fate,
    internal: Fate,
}

/// The good attributes with one of them replaced, or added.
fn with(good: &[Attribute], flags: u8, code: u8, value: &[u8]) -> Vec<u8> {
    let mut all: Vec<Attribute> = good.iter().filter(|one| one.code != code).cloned().collect();
    all.push(Attribute::new(flags, code, value));
    all.sort_by_key(|one| one.code);
    raw::encode(&all)
}

fn without(good: &[Attribute], code: u8) -> Vec<u8> {
    raw::encode(&good.iter().filter(|one| one.code != code).cloned().collect::<Vec<_>>())
}

const fn mistake(name: &'static str, make: fn(&[Attribute]) -> Vec<u8>, both: Fate) -> Mistake {
    Mistake { name, make, external: both, internal: both }
}

const MISTAKES: &[Mistake] = &[
    mistake("ORIGIN 7", |good| with(good, 0x40, 1, &[7]), Gone),
    mistake("ORIGIN of two octets", |good| with(good, 0x40, 1, &[0, 0]), Gone),
    mistake("ORIGIN of no octet", |good| with(good, 0x40, 1, &[]), Gone),
    mistake("ORIGIN flagged optional", |good| with(good, 0xc0, 1, &[0]), Gone),
    mistake("no ORIGIN", |good| without(good, 1), Gone),
    mistake("AS_PATH with a segment of type 9", |good| with(good, 0x40, 2, &[9, 1, 0, 0, 0xfc, 0x5a]), Gone),
    mistake(
        "AS_PATH with a segment that overruns",
        |good| with(good, 0x40, 2, &[2, 2, 0, 0, 0xfc, 0x5a]),
        Gone,
    ),
    mistake("AS_PATH with an empty segment", |good| with(good, 0x40, 2, &[2, 0]), Gone),
    mistake("AS_PATH with one octet", |good| with(good, 0x40, 2, &[2]), Gone),
    mistake("AS_PATH with AS 0", |good| with(good, 0x40, 2, &[2, 2, 0, 0, 0xfc, 0x5a, 0, 0, 0, 0]), Gone),
    mistake("no AS_PATH", |good| without(good, 2), Gone),
    mistake("NEXT_HOP of three octets", |good| with(good, 0x40, 3, &[10, 99, 0]), Gone),
    mistake("NEXT_HOP 0.0.0.0", |good| with(good, 0x40, 3, &[0, 0, 0, 0]), Gone),
    mistake("NEXT_HOP of multicast", |good| with(good, 0x40, 3, &[224, 0, 0, 1]), Gone),
    mistake("no NEXT_HOP", |good| without(good, 3), Gone),
    mistake("MULTI_EXIT_DISC of three octets", |good| with(good, 0x80, 4, &[0, 0, 1]), Gone),
    mistake("MULTI_EXIT_DISC flagged transitive", |good| with(good, 0xc0, 4, &[0, 0, 0, 1]), Gone),
    Mistake {
        name: "LOCAL_PREF of three octets",
        make: |good| with(good, 0x40, 5, &[0, 0, 1]),
        external: Stays,
        internal: Gone,
    },
    mistake("ATOMIC_AGGREGATE of one octet", |good| with(good, 0x40, 6, &[0]), Stays),
    mistake("AGGREGATOR of five octets", |good| with(good, 0xc0, 7, &[0, 0, 1, 2, 3]), Stays),
    mistake("COMMUNITIES of five octets", |good| with(good, 0xc0, 8, &[0, 1, 0, 1, 0]), Gone),
    Mistake {
        name: "ORIGINATOR_ID of three octets",
        make: |good| with(good, 0x80, 9, &[10, 0, 0]),
        external: Stays,
        internal: Gone,
    },
    Mistake {
        name: "CLUSTER_LIST of five octets",
        make: |good| with(good, 0x80, 10, &[10, 0, 0, 1, 9]),
        external: Stays,
        internal: Gone,
    },
    mistake("EXTENDED COMMUNITIES of seven octets", |good| with(good, 0xc0, 16, &[0; 7]), Gone),
    mistake("LARGE_COMMUNITY of eleven octets", |good| with(good, 0xc0, 32, &[0; 11]), Gone),
    mistake("ORIGIN twice", |good| [raw::encode(good), vec![0x40, 1, 1, 2]].concat(), Stays),
    mistake(
        "an attribute that overruns the others",
        |good| [raw::encode(good), vec![0xc0, 99, 9, 1]].concat(),
        Gone,
    ),
    mistake("half an attribute header", |good| [raw::encode(good), vec![0xc0]].concat(), Gone),
    mistake("an unknown optional transitive attribute", |good| with(good, 0xc0, 99, &[1, 2, 3]), Stays),
    mistake("an unknown optional non-transitive attribute", |good| with(good, 0x80, 98, &[1, 2, 3]), Stays),
    mistake("Entropy Label (28) of zeros", |good| with(good, 0xc0, 28, &[0; 4]), Stays),
    mistake("Prefix-SID (40) of zeros", |good| with(good, 0xc0, 40, &[0; 8]), Stays),
];

pub(crate) async fn every_mistake(sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let here = segment.host(1).await?;
    let addresses = segment.addresses(3, 2).await?;
    let [outside, inside] = addresses.as_slice() else { anyhow::bail!("two addresses expected") };
    let tables =
        [us::peer(outside, THEIR_AS, "passive = true"), us::peer(inside, OUR_AS, "passive = true")].concat();
    let us = Us::start(&here, OUR_AS, &tables).await?;
    for (address, asn, net) in [(outside, THEIR_AS, 100), (inside, OUR_AS, 110)] {
        let mut peer = Raw::open(address, &here.v4(), asn, OUR_AS).await?;
        peer.listen();
        for (place, mistake) in (0..).zip(MISTAKES) {
            let good = peer.good();
            peer.announce(&raw::encode(&good), [10, net, place, 0], 24).await?;
            peer.announce(&(mistake.make)(&good), [10, net, place, 0], 24).await?;
            peer.announce(&raw::encode(&good), [10, net + 1, place, 0], 24).await?;
        }
        let last = MISTAKES.len() - 1;
        let sentinel = format!("10.{}.{last}.0/24", net + 1);
        us.learns(&here, &sentinel, |path| path.best)
            .await
            .with_context(|| format!("heard: {:x?}", peer.heard()))?;
        let paths = us.paths(&here).await?;
        let best = |prefix: &str| paths.iter().any(|path| path.prefix == prefix && path.best);
        let mut wrong = Vec::new();
        for (place, mistake) in MISTAKES.iter().enumerate() {
            ensure!(
                best(&format!("10.{}.{place}.0/24", net + 1)),
                "the sentinel after {} is gone",
                mistake.name
            );
            let stays = best(&format!("10.{net}.{place}.0/24"));
            let wanted = if asn == OUR_AS { mistake.internal } else { mistake.external };
            if stays != (wanted == Stays) {
                wrong.push(format!("{}: {wanted:?} expected", mistake.name));
            }
        }
        let session = us.peer(&here, address).await?;
        ensure!(session.transitions == 1, "the session of {address} did not stand: {session:?}");
        ensure!(wrong.is_empty(), "from AS {asn}: {}", wrong.join("; "));
    }
    Ok(())
}

/// What cannot be read past ends the session with the right words, and the next one comes up.
pub(crate) async fn beyond_repair(sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let here = segment.host(1).await?;
    let address = segment.addresses(3, 1).await?.remove(0);
    let us = Us::start(&here, OUR_AS, &us::peer(&address, THEIR_AS, "passive = true")).await?;
    let cases: [(&str, Vec<u8>, [u8; 2]); 4] = [
        ("a prefix of 33 bits", raw::update(&[], &[33, 10, 0, 0, 0, 0]), [3, 10]),
        ("attributes longer than the message", vec![0, 0, 0xff, 0], [3, 1]),
        ("withdrawn routes longer than the message", vec![0xff, 0, 0, 0], [3, 1]),
        ("MP_REACH_NLRI of two octets", raw::update(&[0x80, 14, 2, 0, 1], &[]), [3, 9]),
    ];
    for (name, body, code) in cases {
        // The machine lets a peer that made a mistake wait before it may come back.
        let opened = wait::until(SOON, "the session can be opened", || async {
            Raw::open(&address, &here.v4(), THEIR_AS, OUR_AS).await.map_err(NotYet::from)
        });
        let mut peer = opened.await.with_context(|| format!("before {name}"))?;
        peer.listen();
        let good = peer.good();
        peer.announce(&raw::encode(&good), [10, 100, 0, 0], 24).await?;
        peer.send(UPDATE, &body).await?;
        let said = wait::until(SOON, "the session is ended in words", || async {
            let heard = peer.heard();
            let words = heard.into_iter().find(|(kind, _)| *kind == NOTIFICATION);
            words.map(|(_, body)| body).ok_or_else(|| NotYet::because("no NOTIFICATION"))
        })
        .await
        .with_context(|| name.to_owned())?;
        ensure!(said.get(..2) == Some(&code), "{name}: NOTIFICATION {said:?} instead of {code:?}");
        us.peers_when(&here, |peers| peers.iter().all(|peer| peer.state != "Established")).await?;
        ensure!(us.paths(&here).await?.is_empty(), "{name}: routes outlived their session");
    }
    Ok(())
}

/// Loops are seen: our AS in AS_PATH, our cluster in CLUSTER_LIST, our identifier as ORIGINATOR_ID; each path is kept with
/// its reason, and takes the place of the good one before it.
pub(crate) async fn loops(sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let here = segment.host(1).await?;
    let addresses = segment.addresses(3, 2).await?;
    let [outside, inside] = addresses.as_slice() else { anyhow::bail!("two addresses expected") };
    let tables =
        [us::peer(outside, THEIR_AS, "passive = true"), us::peer(inside, OUR_AS, "passive = true")].concat();
    let us = Us::start(&here, OUR_AS, &tables).await?;
    let mut external = Raw::open(outside, &here.v4(), THEIR_AS, OUR_AS).await?;
    let mut internal = Raw::open(inside, &here.v4(), OUR_AS, OUR_AS).await?;
    let path = [&[2, 2][..], &THEIR_AS.to_be_bytes(), &OUR_AS.to_be_bytes()].concat();
    let own = [10, 99, 0, 1];
    let good = external.good();
    external.announce(&raw::encode(&good), [10, 100, 0, 0], 24).await?;
    external.announce(&with(&good, 0x40, 2, &path), [10, 100, 0, 0], 24).await?;
    let good = internal.good();
    for (third, code) in [(1, 9), (2, 10)] {
        internal.announce(&raw::encode(&good), [10, 100, third, 0], 24).await?;
        internal.announce(&with(&good, 0x80, code, &own), [10, 100, third, 0], 24).await?;
    }
    for (third, why) in [(0, "AsLoop"), (1, "OriginatorLoop"), (2, "ClusterLoop")] {
        let prefix = format!("10.100.{third}.0/24");
        us.learns(&here, &prefix, |path| !path.best && path.standing == why).await?;
    }
    ensure!(us.paths(&here).await?.iter().all(|path| !path.best), "a path with a loop is used");
    Ok(())
}

/// An unknown optional transitive attribute is passed on with Partial set, its value untouched.
pub(crate) async fn unknown_attribute_passes(sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let here = segment.host(1).await?;
    let addresses = segment.addresses(3, 2).await?;
    let [source, sink] = addresses.as_slice() else { anyhow::bail!("two addresses expected") };
    let tables =
        [us::peer(source, THEIR_AS, "passive = true"), us::peer(sink, 64603, "passive = true")].concat();
    let _us = Us::start(&here, OUR_AS, &tables).await?;
    let mut from = Raw::open(source, &here.v4(), THEIR_AS, OUR_AS).await?;
    let mut to = Raw::open(sink, &here.v4(), 64603, OUR_AS).await?;
    to.listen();
    let good = from.good();
    let mut all = good.clone();
    all.push(Attribute::new(0xc0, 99, &[7; 300]));
    all.push(Attribute::new(0x80, 98, &[1]));
    from.announce(&raw::encode(&all), [10, 100, 0, 0], 24).await?;
    let passed = wait::until(SOON, "the route is passed on", || async {
        let nlri = raw::nlri([10, 100, 0, 0], 24);
        let heard = to.heard();
        let update = heard.into_iter().find(|(kind, body)| *kind == UPDATE && body.ends_with(&nlri));
        update.map(|(_, body)| raw::attributes_of(&body)).ok_or_else(|| NotYet::because("nothing came"))
    })
    .await?;
    let found = passed.iter().find(|one| one.code == 99).context("attribute 99 was not passed on")?;
    ensure!(found.value == [7; 300], "its value became {:x?}", found.value);
    ensure!(
        found.flags & 0xe0 == 0xe0,
        "its flags are {:x}, not optional, transitive and partial",
        found.flags
    );
    ensure!(passed.iter().all(|one| one.code != 98), "a non-transitive attribute was passed on");
    Ok(())
}
