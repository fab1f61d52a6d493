//! Options of sessions: long messages, refreshes with a beginning and an end, several paths of a prefix.

use std::marker::PhantomData;

use anyhow::ensure;
use caracal_lab::Sandbox;

use crate::bird::Bird;
use crate::peer::{Neighbor, Peer, Plan};
use crate::raw::{self, Attribute, Raw};
use crate::segment::{Segment, v4};
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
