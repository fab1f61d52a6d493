//! Passwords of sessions (TCP-MD5, RFC 2385): missing, wrong, right, and changed while both run.
//!
//! That a password keeps a session down is seen by what the kernels drop, not by waiting for nothing to happen.

use std::marker::PhantomData;

use anyhow::{Context, bail, ensure};
use caracal_lab::Sandbox;
use caracal_lab::wait::{self, NotYet};

use crate::peer::{Neighbor, Peer, Plan, SOON};
use crate::segment::{Host, Segment, v4};
use crate::us::{self, Us};

const OUR_AS: u32 = 64601;
const THEIR_AS: u32 = 64602;
const OURS: &str = "10.1.0.0/24";
const THEIRS: &str = "10.2.0.0/24";
const FIRST: &str = "between-us-1";
const SECOND: &str = "between-us-2";

/// The beginning of the names of all counters of TCP-MD5.
const MD5: &str = "TCPMD5";

/// A daemon whose passwords can be changed while it runs.
pub(crate) trait Rekeys: Peer {
    /// Whether it can do so before its first session.
    const REKEYS_UNHEARD: bool = true;

    /// Goes over to the passwords of another plan that differs in nothing else.
    async fn rekey(&self, host: &Host, plan: &Plan) -> anyhow::Result<()>;
}

/// How many segments a host's kernel has dropped for their signatures, or for having none: by the counters that begin with
/// this name.
pub(crate) async fn dropped(host: &Host, name: &str) -> anyhow::Result<u64> {
    let text = host.run(&["cat", "/proc/net/netstat"]).await?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { bail!("no TcpExt in {text}") };
    let counters = names.split_whitespace().zip(values.split_whitespace());
    let of_md5 = counters.filter(|(counter, _)| counter.starts_with(name));
    let values: Result<Vec<u64>, _> = of_md5.map(|(_, value)| value.parse()).collect();
    let values = values.with_context(|| format!("reading the counters: {text}"))?;
    ensure!(!values.is_empty(), "this kernel does not count {name}: {names}");
    Ok(values.iter().sum())
}

fn tables(password: Option<&str>) -> String {
    let key = password.map(|text| format!("password = \"{text}\"")).unwrap_or_default();
    format!("{}{}", us::originate(OURS, &[]), us::peer(&v4(2), THEIR_AS, &key))
}

fn plan(password: &'static str) -> Plan {
    let neighbor = Neighbor { password: Some(password), ..Neighbor::new(1, OUR_AS) };
    Plan { asn: THEIR_AS, neighbors: vec![neighbor], v4: vec![THEIRS], ..Plan::default() }
}

/// Waits until segments were dropped, and nothing else came of them.
async fn refused(us: &Us, here: &Host, there: &Host, why: &str) -> anyhow::Result<()> {
    let before = dropped(here, MD5).await? + dropped(there, MD5).await?;
    wait::until(SOON, &format!("segments are dropped: {why}"), || async {
        let peer = us.peer(here, &v4(2)).await?;
        if peer.transitions > 0 {
            return Err(NotYet::Never(anyhow::anyhow!("there was a session: {peer:?}")));
        }
        let now = dropped(here, MD5).await? + dropped(there, MD5).await?;
        if now >= before + 3 { Ok(()) } else { Err(NotYet::because(format!("{now}, at first {before}"))) }
    })
    .await
}

/// Without the password there is no session, with the right one there is; a new one holds for the next session, too.
pub(crate) async fn are_asked_for<P: Rekeys>(_: PhantomData<P>, sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there) = (segment.host(1).await?, segment.host(2).await?);
    let us = Us::start(&here, OUR_AS, &tables(None)).await?;
    let they = P::start(&there, &plan(FIRST)).await?;
    refused(&us, &here, &there, "we have no password").await?;
    us.reload(&here, OUR_AS, &tables(Some("another"))).await?;
    refused(&us, &here, &there, "we have another password").await?;
    us.reload(&here, OUR_AS, &tables(Some(FIRST))).await?;
    us.learns(&here, THEIRS, |path| path.best).await?;
    they.learns(&there, OURS, |_| true).await?;

    let before = us.peer(&here, &v4(2)).await?.transitions;
    us.reload(&here, OUR_AS, &tables(Some(SECOND))).await?;
    they.rekey(&there, &plan(SECOND)).await?;
    us.reset(&here, &v4(2)).await?;
    let anew = |peers: &[us::Session]| {
        peers.iter().all(|peer| peer.state == "Established" && peer.transitions >= before + 2)
    };
    us.peers_when(&here, anew).await?;
    us.learns(&here, THEIRS, |path| path.best).await?;
    they.learns(&there, OURS, |_| true).await.map(drop)
}
