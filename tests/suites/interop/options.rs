//! Options of sessions: long messages, refreshes with a beginning and an end, several paths of a prefix.

use std::collections::BTreeSet;
use std::marker::PhantomData;

use anyhow::ensure;
use caracal_lab::Sandbox;
use caracal_lab::wait::{self, NotYet};

use crate::bird::Bird;
use crate::peer::{Neighbor, Peer, Plan, SOON};
use crate::raw::{self, Attribute, Raw};
use crate::scenario;
use crate::segment::{Host, Segment, v4};
use crate::us::{self, Us};

const OUR_AS: u32 = 64601;
const THEIR_AS: u32 = 64602;
const SOURCE_AS: u32 = 64610;

/// So many large communities are 18,000 octets: more than four messages of the base protocol.
const MANY: u32 = 1500;

fn large_communities() -> Attribute {
    let value: Vec<u8> = (0..MANY).flat_map(|n| [64700, 1, n].map(u32::to_be_bytes).concat()).collect();
    Attribute::new(0xc0, 32, &value)
}

/// A source of our own, us, and the daemon behind us; the prefix came with few attributes first, then with many.
async fn many_attributes<P: Peer>(sandbox: Sandbox, fits: bool) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there) = (segment.host(1).await?, segment.host(2).await?);
    let address = segment.addresses(3, 1).await?.remove(0);
    let tables = [us::peer(&address, SOURCE_AS, "passive = true"), us::peer(&v4(2), THEIR_AS, "")].concat();
    let us = Us::start(&here, OUR_AS, &tables).await?;
    let plan = Plan { asn: THEIR_AS, neighbors: vec![Neighbor::new(1, OUR_AS)], ..Plan::default() };
    let they = P::start(&there, &plan).await?;
    let mut source =
        Raw::open_with(&address, &here.v4(), SOURCE_AS, OUR_AS, &[raw::EXTENDED_MESSAGES]).await?;
    let mut attributes = source.good();
    source.announce(&raw::encode(&attributes), [10, 100, 0, 0], 24).await?;
    they.learns(&there, "10.100.0.0/24", |_| true).await?;
    attributes.push(large_communities());
    source.announce(&raw::encode(&attributes), [10, 100, 0, 0], 24).await?;
    if fits {
        // BIRD shows but the first of a long list. That it has any came with the long message: the short one had none.
        let shown = if P::NAME == Bird::NAME { 1 } else { usize::try_from(MANY)? };
        they.learns(&there, "10.100.0.0/24", |route| route.communities.len() >= shown).await?;
    } else {
        they.loses(&there, "10.100.0.0/24").await?;
    }
    // The sentinel: whatever became of the long one, the session did not end.
    source.announce(&raw::encode(&source.good()), [10, 101, 0, 0], 24).await?;
    they.learns(&there, "10.101.0.0/24", |_| true).await?;
    us.learns(&here, "10.100.0.0/24", |path| path.best).await?;
    let session = us.peer(&here, &v4(2)).await?;
    ensure!(session.transitions == 1, "{session:?}");
    Ok(())
}

/// A route whose attributes need a long message (RFC 8654) passes whole.
pub(crate) async fn extended_messages<P: Peer>(_: PhantomData<P>, sandbox: Sandbox) -> anyhow::Result<()> {
    many_attributes::<P>(sandbox, true).await
}

/// Where the peer does not take long messages, such a route is withdrawn from it and all else goes on.
pub(crate) async fn too_long_is_withheld<P: Peer>(_: PhantomData<P>, sandbox: Sandbox) -> anyhow::Result<()> {
    many_attributes::<P>(sandbox, false).await
}

/// Where several paths may be sent and received.
const BOTH_WAYS: &str = "families = [\"ipv4-unicast\"]\nadd-path-receive = [\"ipv4-unicast\"]\n\
                         add-path-send = [\"ipv4-unicast\"]";

/// Several paths of one prefix come from the daemon and go to it (RFC 7911).
pub(crate) async fn add_path<P: Peer>(_: PhantomData<P>, sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there) = (segment.host(1).await?, segment.host(2).await?);
    let sources = segment.addresses(3, 2).await?;
    let mut tables = us::peer(&v4(2), THEIR_AS, BOTH_WAYS);
    for (asn, source) in (SOURCE_AS..).zip(&sources) {
        tables.push_str(&us::peer(source, asn, "passive = true"));
    }
    let us = Us::start(&here, OUR_AS, &tables).await?;
    let mut neighbors = vec![Neighbor { add_path: true, ..Neighbor::new(1, OUR_AS) }];
    let mut behind = Vec::new();
    if P::PASSES_ON {
        for (number, asn) in [(3, 64603), (4, 64604)] {
            neighbors.push(Neighbor::new(number, asn));
            let host = segment.host(number).await?;
            let table = us::peer(&v4(2), THEIR_AS, "families = [\"ipv4-unicast\"]");
            let one = Us::start(&host, asn, &format!("{}{table}", us::originate("10.9.0.0/24", &[]))).await?;
            behind.push((host, one));
        }
    }
    // One that passes nothing on announces two paths itself, with the AS paths that the others would give them.
    let own = if P::PASSES_ON { vec![] } else { vec!["10.9.0.0/24"] };
    let they = P::start(&there, &Plan { asn: THEIR_AS, neighbors, v4: own, ..Plan::default() }).await?;

    let theirs = ["64602 64603", "64602 64604"];
    wait::until(SOON, "caracal has both paths of the daemon", || async {
        let paths = us.paths(&here).await?;
        let of_them = paths.iter().filter(|path| path.prefix == "10.9.0.0/24" && path.peer == Some(v4(2)));
        let found: BTreeSet<&str> = of_them.map(|path| path.as_path.as_str()).collect();
        if found == theirs.into() { Ok(()) } else { Err(NotYet::because(format!("{paths:?}"))) }
    })
    .await?;

    let mut raws = Vec::new();
    for (asn, source) in (SOURCE_AS..).zip(&sources) {
        let mut raw = Raw::open(source, &here.v4(), asn, OUR_AS).await?;
        raw.announce(&raw::encode(&raw.good()), [10, 8, 0, 0], 24).await?;
        raws.push(raw);
    }
    has_paths(&they, &there, &["64601 64610", "64601 64611"]).await?;
    // One of them goes, the other stays.
    drop(raws.pop());
    has_paths(&they, &there, &["64601 64610"]).await?;
    let session = us.peer(&here, &v4(2)).await?;
    let agreed = |word: &str| session.features.iter().any(|feature| feature == word);
    ensure!(agreed("add-path-send:ipv4") && agreed("add-path-receive:ipv4"), "{session:?}");
    ensure!(session.transitions == 1, "{session:?}");
    Ok(())
}

/// Waits until the daemon has these paths of 10.8.0.0/24, by their AS paths.
async fn has_paths<P: Peer>(they: &P, there: &Host, wanted: &[&str]) -> anyhow::Result<()> {
    let wanted: BTreeSet<&str> = wanted.iter().copied().collect();
    wait::until(SOON, &format!("{} has the paths {wanted:?}", P::NAME), || async {
        let routes = they.routes(there).await?;
        let of_it = routes.iter().filter(|route| route.prefix == "10.8.0.0/24");
        let found: BTreeSet<&str> = of_it.map(|route| route.as_path.as_str()).collect();
        if found == wanted { Ok(()) } else { Err(NotYet::because(format!("{routes:?}"))) }
    })
    .await
}

/// Refreshes with a beginning and an end (RFC 7313) lose nothing that is announced again, whoever asks.
pub(crate) async fn enhanced_refresh<P: Peer>(_: PhantomData<P>, sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there) = (segment.host(1).await?, segment.host(2).await?);
    // FRR marks nothing before it has sent End-of-RIB, which it does to those alone who offer graceful restart.
    let options = "hold-time = 3600\ngraceful-restart = 120";
    let tables = [us::originate("10.1.0.0/24", &[]), us::peer(&v4(2), THEIR_AS, options)].concat();
    let us = Us::start(&here, OUR_AS, &tables).await?;
    let neighbor = Neighbor { hold: Some(scenario::NO_KEEPALIVES), ..Neighbor::new(1, OUR_AS) };
    let v4s = vec!["10.2.0.0/24"];
    let plan = Plan { asn: THEIR_AS, neighbors: vec![neighbor.clone()], v4: v4s, ..Plan::default() };
    let they = P::start(&there, &plan).await?;
    us.learns(&here, "10.2.0.0/24", |path| path.best).await?;
    they.learns(&there, "10.1.0.0/24", |_| true).await?;
    // OPEN, KEEPALIVE, the prefix, and the end of both tables from those who send it.
    let restarts = |peer: &us::Session| peer.features.iter().any(|word| word == "peer-graceful-restart");
    let all_is_said = |peer: &us::Session| peer.messages_received >= if restarts(peer) { 5 } else { 3 };
    us.peers_when(&here, |peers| peers.iter().all(all_is_said)).await?;
    let before = scenario::quiet(&us, &here).await?;
    ensure!(before.features.iter().any(|word| word == "enhanced-route-refresh"), "{before:?}");
    if P::ANSWERS_MARKED {
        us.refresh(&here, &v4(2)).await?;
        // The beginning, the prefix, the end.
        let answered = |peer: &us::Session| peer.messages_received >= before.messages_received + 3;
        us.peers_when(&here, |peers| peers.iter().all(answered)).await?;
    }
    if P::ASKS_AGAIN {
        let before = scenario::quiet(&us, &here).await?;
        they.refresh(&there, &neighbor).await?;
        let answered = |peer: &us::Session| peer.messages_sent >= before.messages_sent + 3;
        us.peers_when(&here, |peers| peers.iter().all(answered)).await?;
    }
    let after = scenario::quiet(&us, &here).await?;
    ensure!(after.state == "Established" && after.transitions == 1, "{after:?}");
    us.learns(&here, "10.2.0.0/24", |path| path.best).await?;
    they.learns(&there, "10.1.0.0/24", |_| true).await.map(drop)
}

/// What an enhanced refresh does not repeat is gone at its end, not before; and who asks is told where it begins and ends.
pub(crate) async fn refreshes_have_an_end(sandbox: Sandbox) -> anyhow::Result<()> {
    const BEGIN: [u8; 4] = [0, 1, 1, 1];
    const END: [u8; 4] = [0, 1, 2, 1];
    let segment = Segment::make(&sandbox).await?;
    let here = segment.host(1).await?;
    let address = segment.addresses(3, 1).await?.remove(0);
    let tables = [us::originate("10.1.0.0/24", &[]), us::peer(&address, SOURCE_AS, "passive = true")];
    let us = Us::start(&here, OUR_AS, &tables.concat()).await?;
    let mut raw = Raw::open_with(&address, &here.v4(), SOURCE_AS, OUR_AS, &[raw::ENHANCED_REFRESH]).await?;
    raw.listen();
    let good = raw::encode(&raw.good());
    for third in [0, 1] {
        raw.announce(&good, [10, 100, third, 0], 24).await?;
    }
    us.learns(&here, "10.100.1.0/24", |path| path.best).await?;
    raw.send(raw::ROUTE_REFRESH, &BEGIN).await?;
    raw.announce(&good, [10, 100, 0, 0], 24).await?;
    raw.announce(&good, [10, 100, 2, 0], 24).await?;
    us.learns(&here, "10.100.2.0/24", |path| path.best).await?;
    us.learns(&here, "10.100.1.0/24", |path| path.best).await?;
    raw.send(raw::ROUTE_REFRESH, &END).await?;
    us.loses(&here, "10.100.1.0/24").await?;
    us.learns(&here, "10.100.0.0/24", |path| path.best).await?;

    let already = raw.heard().len();
    raw.send(raw::ROUTE_REFRESH, &[0, 1, 0, 1]).await?;
    let own = raw::nlri([10, 1, 0, 0], 24);
    wait::until(SOON, "the refresh begins, has the prefix and ends", || async {
        let heard = raw.heard();
        let news = heard.get(already..).unwrap_or_default();
        let place = |fits: &dyn Fn(&raw::Message) -> bool| news.iter().position(fits);
        let begins = place(&|(kind, body)| *kind == raw::ROUTE_REFRESH && *body == BEGIN);
        let says = place(&|(kind, body)| *kind == raw::UPDATE && body.ends_with(&own));
        let ends = place(&|(kind, body)| *kind == raw::ROUTE_REFRESH && *body == END);
        match (begins, says, ends) {
            (Some(begins), Some(says), Some(ends)) if begins < says && says < ends => Ok(()),
            _ => Err(NotYet::because(format!("{news:x?}"))),
        }
    })
    .await
}

/// Limits of prefixes: a warning leaves the session, a restart ends it and lets it come back, and so it goes on.
pub(crate) async fn limits_warn_and_restart(sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let here = segment.host(1).await?;
    let addresses = segment.addresses(3, 2).await?;
    let [warned, restarted] = addresses.as_slice() else { anyhow::bail!("two addresses expected") };
    let limit = |action: &str| format!("passive = true\nmax-prefixes = {{ ipv4-unicast = 2, {action} }}");
    let tables = [
        us::peer(warned, SOURCE_AS, &limit("action = \"warn\"")),
        us::peer(restarted, SOURCE_AS + 1, &limit("action = \"restart\", after = 1")),
    ];
    let us = Us::start(&here, OUR_AS, &tables.concat()).await?;
    let mut one = Raw::open(warned, &here.v4(), SOURCE_AS, OUR_AS).await?;
    let good = raw::encode(&one.good());
    for third in 0..3 {
        one.announce(&good, [10, 100, third, 0], 24).await?;
    }
    us.learns(&here, "10.100.2.0/24", |path| path.best).await?;
    let told = |peer: &us::Session| peer.last_error.as_ref().is_some_and(|said| said.contains("prefixes"));
    let warns = |peer: &us::Session| peer.key != *warned || told(peer) && peer.transitions == 1;
    us.peers_when(&here, |peers| peers.iter().all(warns)).await?;

    let mut two = Raw::open(restarted, &here.v4(), SOURCE_AS + 1, OUR_AS).await?;
    two.listen();
    let good = raw::encode(&two.good());
    for third in 0..3 {
        two.announce(&good, [10, 101, third, 0], 24).await?;
    }
    let said = wait::until(SOON, "the session is ended in words", || async {
        let words = two.heard().into_iter().find(|(kind, _)| *kind == raw::NOTIFICATION);
        words.map(|(_, body)| body).ok_or_else(|| NotYet::because("no NOTIFICATION"))
    })
    .await?;
    // Cease, Maximum Number of Prefixes Reached (RFC 4486).
    ensure!(said.get(..2) == Some(&[6, 1]), "NOTIFICATION {said:?}");
    us.loses(&here, "10.101.0.0/24").await?;
    let again = wait::until(SOON, "the session may come back", || async {
        Raw::open(restarted, &here.v4(), SOURCE_AS + 1, OUR_AS).await.map_err(NotYet::from)
    });
    let mut again = again.await?;
    again.announce(&good, [10, 101, 0, 0], 24).await?;
    us.learns(&here, "10.101.0.0/24", |path| path.best).await.map(drop)
}
