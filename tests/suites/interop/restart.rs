//! Graceful restart (RFC 4724) with real daemons: either side is killed, or ends to be started again, while packets pass
//! through the kernels of both, counted one by one.
//!
//! Between two events nothing is waited for but what the other end says: that it has noticed, and that all is well again.

use std::fs;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context, ensure};
use caracal_lab::command::ip_batch;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Process, Sandbox, probe};
use caracal_suites::flow::Flow;

use crate::bfd;
use crate::peer::{Neighbor, Peer, Plan, RESTART_TIME, SOON};
use crate::segment::{Host, Segment, v4};
use crate::us::{self, Us};

const OUR_AS: u32 = 64601;
const THEIR_AS: u32 = 64602;
const OURS: &str = "10.1.0.0/24";
const THEIRS: &str = "10.2.0.0/24";

/// A daemon that can be killed and come back.
pub(crate) trait Restarts: Peer {
    /// Whether it writes its neighbours' routes into the kernel; where not, the case does.
    const WRITES_KERNEL: bool = true;
    /// Whether its End-of-RIB comes after all its own routes.
    const ENDS_LAST: bool = true;
    /// Whether its own kernel has its routes all the while when it is killed and comes back.
    const KEEPS_ITS_KERNEL: bool = true;
    /// Whether it can be told that it is about to be started again, and then leaves its kernel's routes alone.
    const CAN_LEAVE: bool = true;

    /// Whether the session with a neighbour is established.
    async fn is_up(&self, host: &Host, neighbor: &Neighbor) -> anyhow::Result<bool>;
    /// Whether its BFD takes the path for good, in any of its sessions.
    async fn sees_path(&self, host: &Host) -> anyhow::Result<bool>;
    /// How its BFD sees the path, which is up.
    async fn path(&self, host: &Host) -> anyhow::Result<PathSeen>;
    /// Ends it as one that will be back.
    async fn leave(&self, host: &Host) -> anyhow::Result<()>;
    /// Starts it again as one that has restarted.
    async fn back(&mut self, host: &Host, plan: &Plan) -> anyhow::Result<()>;
}

/// How a daemon's BFD sees a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PathSeen {
    /// Other words after every change of its state.
    pub(crate) since: String,
    /// For so long it takes silence for nothing.
    pub(crate) patience_millis: u64,
}

/// The first address of a /24.
fn inside(prefix: &str) -> anyhow::Result<IpAddr> {
    let network: Ipv4Addr = prefix.trim_end_matches("/24").parse().context("a /24")?;
    Ok(Ipv4Addr::from_bits(network.to_bits() + 1).into())
}

/// Gives a host an address to be reached at by a prefix.
async fn live_at(host: &Host, prefix: &str) -> anyhow::Result<()> {
    let line = format!("address add {}/32 dev lo\n", inside(prefix)?);
    ip_batch(Some(host.netns().name()), &line).await
}

/// Waits until a host's kernel has a route for exactly this prefix.
async fn has_route(host: &Host, prefix: &str) -> anyhow::Result<()> {
    wait::until(SOON, &format!("{} has a route to {prefix}", host.netns().name()), || async {
        let text = host.run(&["ip", "route", "show", prefix]).await?;
        if text.trim().is_empty() { Err(NotYet::because("it has none")) } else { Ok(()) }
    })
    .await
}

/// Our file: `more` goes to the peer.
fn tables(more: &str) -> String {
    let peer = us::peer(&v4(2), THEIR_AS, &format!("graceful-restart = {RESTART_TIME}\n{more}"));
    format!("[fib]\n{}{peer}", us::originate(OURS, &[]))
}

/// Two routers, one of them foreign, that reach each other's addresses by what BGP brought.
struct Pair<P> {
    _segment: Segment,
    here: Host,
    there: Host,
    us: Us,
    they: P,
    plan: Plan,
    watched: bool,
}

impl<P: Restarts> Pair<P> {
    async fn make(sandbox: &Sandbox, watched: bool) -> anyhow::Result<Self> {
        Self::with(sandbox, watched, false).await
    }

    /// With `outlives` our BFD goes on after a restart, and either end waits so long that we can be back by then.
    async fn with(sandbox: &Sandbox, watched: bool, outlives: bool) -> anyhow::Result<Self> {
        let segment = Segment::make(sandbox).await?;
        let (here, there) = (segment.host(1).await?, segment.host(2).await?);
        live_at(&here, OURS).await?;
        live_at(&there, THEIRS).await?;
        if !P::WRITES_KERNEL {
            let line = format!("route add {OURS} via {} proto 99\n", here.v4());
            ip_batch(Some(there.netns().name()), &line).await?;
        }
        let neighbor =
            Neighbor { restart: true, bfd: watched, patient: outlives, ..Neighbor::new(1, OUR_AS) };
        let times = if watched { bfd::table_of(neighbor.bfd_times()) } else { String::new() };
        let directory = format!("run-directory = \"{}\"\n", here.file("run").display());
        let speaker = if outlives { directory.as_str() } else { "" };
        let us = Us::start(&here, OUR_AS, &format!("{speaker}{}", tables(&times))).await?;
        let plan = Plan {
            asn: THEIR_AS,
            neighbors: vec![neighbor],
            v4: vec![THEIRS],
            v6: vec![],
            kernel: P::WRITES_KERNEL,
        };
        let they = P::start(&there, &plan).await?;
        let pair = Self { _segment: segment, here, there, us, they, plan, watched };
        pair.settled().await?;
        Ok(pair)
    }

    /// Waits until both ends have all of each other, nothing stale, and BFD is up where it is wanted.
    async fn settled(&self) -> anyhow::Result<()> {
        self.us.learns(&self.here, THEIRS, |path| path.best && !path.stale).await?;
        let what = format!("{} has a session", P::NAME);
        wait::until(SOON, &what, || async {
            let up = self.they.is_up(&self.there, &self.plan.neighbors[0]).await?;
            let path = !self.watched || self.they.sees_path(&self.there).await?;
            if up && path { Ok(()) } else { Err(NotYet::because(format!("up: {up}, path: {path}"))) }
        })
        .await?;
        self.they.learns(&self.there, OURS, |_| true).await?;
        let fits = |peers: &[us::Session]| {
            peers.iter().all(|peer| {
                let path = peer.bfd.as_ref().is_none_or(|bfd| bfd.state == "Up" && bfd.remote_state == "Up");
                peer.state == "Established" && path
            })
        };
        self.us.peers_when(&self.here, fits).await?;
        has_route(&self.here, THEIRS).await?;
        has_route(&self.there, OURS).await
    }

    /// Waits until they have noticed that we are away: the session is over, and the path is silent where it is watched.
    async fn noticed_there(&self) -> anyhow::Result<()> {
        let what = format!("{} has noticed", P::NAME);
        wait::until(SOON, &what, || async {
            let up = self.they.is_up(&self.there, &self.plan.neighbors[0]).await?;
            let path = self.watched && self.they.sees_path(&self.there).await?;
            if up || path { Err(NotYet::because(format!("up: {up}, path: {path}"))) } else { Ok(()) }
        })
        .await?;
        self.they.learns(&self.there, OURS, |_| true).await.map(drop)
    }

    /// Waits until we have noticed that they are away, and keep what they said.
    async fn noticed_here(&self) -> anyhow::Result<()> {
        let fits = |peers: &[us::Session]| {
            peers.iter().all(|peer| {
                let silent = peer.bfd.as_ref().is_none_or(|bfd| bfd.state == "Down");
                peer.state != "Established" && silent
            })
        };
        self.us.peers_when(&self.here, fits).await?;
        self.us.learns(&self.here, THEIRS, |path| path.best && path.stale).await.map(drop)
    }

    /// Waits until they take silence for nothing for so long.
    async fn patience_there(&self, millis: u64) -> anyhow::Result<()> {
        wait::until(SOON, &format!("{} waits {millis} ms for a packet", P::NAME), || async {
            let seen = self.they.path(&self.there).await?;
            if seen.patience_millis == millis { Ok(()) } else { Err(NotYet::because(format!("{seen:?}"))) }
        })
        .await
    }

    /// Packets from us to them.
    fn to_them(&self) -> anyhow::Result<Flow> {
        Flow::start(self.here.netns(), inside(THEIRS)?)
    }

    /// Packets from them to us.
    fn to_us(&self) -> anyhow::Result<Flow> {
        Flow::start(self.there.netns(), inside(OURS)?)
    }

    /// What happens to the routes in their kernel, in a log.
    async fn kernel_events_there(&self) -> anyhow::Result<Process> {
        self.there.start("kernel", Path::new("ip"), &["-ts", "monitor", "route"]).await
    }

    /// Packets pass now, both ways.
    async fn reach(&self) -> anyhow::Result<()> {
        probe::ping(self.here.netns(), inside(THEIRS)?).await?;
        probe::ping(self.there.netns(), inside(OURS)?).await
    }
}

/// We are killed, and told to restart.
async fn we_restart<P: Restarts>(pair: &Pair<P>) -> anyhow::Result<()> {
    for planned in [false, true] {
        match planned {
            false => pair.us.crash().await?,
            true => pair.us.leave().await?,
        }
        pair.noticed_there().await?;
        pair.us.again().await?;
        pair.settled().await?;
    }
    pair.reach().await
}

/// Our restarts cost no packet, with one that cannot restart so itself.
pub(crate) async fn our_restarts<P: Restarts>(_: PhantomData<P>, sandbox: Sandbox) -> anyhow::Result<()> {
    let pair = Pair::<P>::make(&sandbox, false).await?;
    let flows = [pair.to_them()?, pair.to_us()?];
    we_restart(&pair).await?;
    for flow in flows {
        flow.lost_none().await?;
    }
    Ok(())
}

/// We are killed, and told to restart; they are killed, and, where they can be, told to restart.
async fn both_restart<P: Restarts>(sandbox: &Sandbox, watched: bool) -> anyhow::Result<()> {
    let mut pair = Pair::<P>::make(sandbox, watched).await?;
    let (to_them, to_us) = (pair.to_them()?, pair.to_us()?);
    we_restart(&pair).await?;
    to_us.lost_none().await.context("while we restarted")?;
    let (to_us, events) = (pair.to_us()?, pair.kernel_events_there().await?);
    let mut to_them = Some(to_them);
    if !P::ENDS_LAST
        && let Some(flow) = to_them.take()
    {
        flow.lost_none().await.context("while we restarted")?;
    }

    for planned in [false, true] {
        match planned {
            false => pair.they.crash().await?,
            true if P::CAN_LEAVE => pair.they.leave(&pair.there).await?,
            true => continue,
        }
        pair.noticed_here().await?;
        pair.they.back(&pair.there, &pair.plan).await?;
        pair.settled().await?;
    }
    pair.reach().await?;
    if let Some(flow) = to_them {
        flow.lost_none().await?;
    }
    let lost = to_us.lost_none().await;
    // These take routes of the other end's kernel alone, which tells when the other end has taken one out.
    let own_doing =
        !P::KEEPS_ITS_KERNEL && fs::read_to_string(events.log())?.contains(&format!("Deleted {OURS}"));
    lost.or_else(|lost| if own_doing { Ok(()) } else { Err(lost.context("while they restarted")) })
}

/// Restarts of both sides cost no packet.
pub(crate) async fn restarts<P: Restarts>(_: PhantomData<P>, sandbox: Sandbox) -> anyhow::Result<()> {
    both_restart::<P>(&sandbox, false).await
}

/// Nor where BFD watches the path at both ends: its loss is part of the restart (RFC 5882 §4.3).
pub(crate) async fn restarts_with_bfd<P: Restarts>(
    _: PhantomData<P>,
    sandbox: Sandbox,
) -> anyhow::Result<()> {
    both_restart::<P>(&sandbox, true).await
}

/// Our BFD outlives us: killed and back within the detection time, and told to restart, for which they wait as long as we may
/// be away, we go on by the same names, and to them the path was never down (RFC 5882 §4.3.2.2).
pub(crate) async fn path_outlives_restarts<P: Restarts>(
    _: PhantomData<P>,
    sandbox: Sandbox,
) -> anyhow::Result<()> {
    let pair = Pair::<P>::with(&sandbox, true, true).await?;
    let (interval, multiplier) = pair.plan.neighbors[0].bfd_times();
    let usual = u64::from(interval) * u64::from(multiplier);
    pair.patience_there(usual).await?;
    let names = || async {
        let bfd = pair.us.peer(&pair.here, &v4(2)).await?.bfd.context("BFD is not there")?;
        anyhow::Ok((bfd.discriminator, bfd.remote_discriminator, bfd.downs))
    };
    let (named, seen) = (names().await?, pair.they.path(&pair.there).await?);
    let flows = [pair.to_them()?, pair.to_us()?];
    for planned in [false, true] {
        if planned {
            pair.us.leave().await?;
            let what = format!("{} has noticed that the session is over", P::NAME);
            wait::until(SOON, &what, || async {
                let up = pair.they.is_up(&pair.there, &pair.plan.neighbors[0]).await?;
                if up { Err(NotYet::because("it is up")) } else { Ok(()) }
            })
            .await?;
            pair.patience_there(u64::from(RESTART_TIME) * 1000).await?;
        } else {
            pair.us.crash().await?;
        }
        pair.us.again().await?;
        pair.settled().await?;
        pair.patience_there(usual).await?;
        let (now, again) = (pair.they.path(&pair.there).await?, names().await?);
        ensure!(now == seen, "planned: {planned}: {seen:?} is now {now:?}");
        // A process counts from its own start.
        let expected = (named.0, named.1, 0);
        ensure!(again == expected, "planned: {planned}: {expected:?} is now {again:?}");
    }
    pair.reach().await?;
    for flow in flows {
        flow.lost_none().await?;
    }
    Ok(())
}

/// A node is dead: the hold time ends the session at both ends with a NOTIFICATION, and what was learned of it stays
/// (RFC 8538), but for what another peer has, too; and it goes when the restart time is over.
pub(crate) async fn a_dead_node<P: Restarts>(_: PhantomData<P>, sandbox: Sandbox) -> anyhow::Result<()> {
    const HOLD: u16 = 9;
    const ALONE: &str = "10.3.0.0/24";
    let segment = Segment::make(&sandbox).await?;
    let (here, dead, other) = (segment.host(1).await?, segment.host(2).await?, segment.host(3).await?);
    let peers = [
        us::peer(&v4(2), THEIR_AS, &format!("hold-time = {HOLD}\ngraceful-restart = {RESTART_TIME}")),
        us::peer(&v4(3), THEIR_AS, &format!("graceful-restart = {RESTART_TIME}")),
    ];
    let us = Us::start(&here, OUR_AS, &format!("[fib]\n{}", peers.concat())).await?;
    let plan = |prefixes: &[&'static str]| {
        let neighbor = Neighbor { restart: true, ..Neighbor::new(1, OUR_AS) };
        Plan { asn: THEIR_AS, neighbors: vec![neighbor], v4: prefixes.to_vec(), v6: vec![], kernel: false }
    };
    let _dead = P::start(&dead, &plan(&[THEIRS, ALONE])).await?;
    let _other = P::start(&other, &plan(&[THEIRS])).await?;
    let from = |host: u8| move |path: &us::Path| path.peer.as_deref() == Some(v4(host).as_str());
    us.learns(&here, THEIRS, |path| from(2)(path) && path.best).await?;
    us.learns(&here, THEIRS, |path| from(3)(path)).await?;
    us.learns(&here, ALONE, |path| path.best).await?;

    segment.attach(&dead, false).await?;
    // What the other has, too, goes by it alone.
    us.learns(&here, THEIRS, |path| from(3)(path) && path.best).await?;
    us.learns(&here, THEIRS, |path| from(2)(path) && path.stale && !path.best).await?;
    us.learns(&here, ALONE, |path| path.best && path.stale).await?;
    let route = |prefix: &'static str| {
        let here = &here;
        async move { here.run(&["ip", "route", "show", prefix]).await }
    };
    wait::until(SOON, "the kernel sends by the other alone", || async {
        let text = route(THEIRS).await?;
        let fine = text.contains(&v4(3)) && !text.contains(&v4(2));
        if fine { Ok(()) } else { Err(NotYet::because(text)) }
    })
    .await?;
    ensure!(route(ALONE).await?.contains(&v4(2)), "what was kept is not in the kernel");
    let peer = us.peer(&here, &v4(2)).await?;
    let why = peer.last_error.unwrap_or_default();
    ensure!(!why.is_empty(), "no reason is told for the end of the session");
    // It does not come back: with the restart time what was kept goes.
    us.loses(&here, ALONE).await?;
    us.learns(&here, THEIRS, |path| from(3)(path) && path.best).await.map(drop)
}
