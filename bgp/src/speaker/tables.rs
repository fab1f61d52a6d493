//! One family's RIB with its update groups and followers, as the RIB's thread owns them.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::command::Command;
use super::feed::FeedId;
use super::group::{self, Ask, Joined, Lane, Membership, REPLIES, Reply, Request};
use super::status::FamilyCounts;
use crate::config::Asn;
use crate::rib::{
    Attrs, BestBatch, Change, Consumer, EgressProfile, GroupBatch, Identity, MoreOrLess, Nlri, PeerFacts,
    PeerSlot, Progress, Rib,
};
use crate::wire::attribute::AttributeSet;
use crate::wire::update::Routes;

/// The thread's end of an update group.
#[derive(Debug)]
struct Link<P> {
    profile: EgressProfile,
    replies: mpsc::Sender<Reply<P>>,
    /// The ticket and the budget of a pull that waits for something to answer.
    wanted: Option<(u64, usize)>,
    /// It knows that its first table is complete.
    fed: bool,
    /// Who came and went since the last answer.
    membership: Vec<Membership<P>>,
}

/// One member of a group.
#[derive(Debug)]
struct Seat {
    group: Consumer,
    writer: mpsc::Sender<Bytes>,
}

/// One family.
#[derive(Debug)]
pub(super) struct Tables<A: Lane> {
    pub(super) rib: Rib<A>,
    groups: HashMap<EgressProfile, Consumer>,
    links: HashMap<Consumer, Link<A::Prefix>>,
    seats: BTreeMap<PeerSlot, Seat>,
    feeds: BTreeMap<FeedId, Consumer>,
    own: mpsc::WeakSender<Command>,
    runtime: tokio::runtime::Handle,
    scratch: Vec<Nlri<A::Prefix>>,
}

impl<A: Lane> Tables<A> {
    pub(super) fn new(
        now: Instant,
        identity: Identity,
        local_as: Asn,
        own: mpsc::WeakSender<Command>,
        runtime: tokio::runtime::Handle,
    ) -> Self {
        Tables {
            rib: Rib::new(now, identity, local_as),
            groups: HashMap::new(),
            links: HashMap::new(),
            seats: BTreeMap::new(),
            feeds: BTreeMap::new(),
            own,
            runtime,
            scratch: Vec::new(),
        }
    }

    /// A session is up; `profile` is `None` where the family was not negotiated.
    pub(super) fn up(
        &mut self,
        now: Instant,
        slot: PeerSlot,
        facts: PeerFacts,
        profile: Option<EgressProfile>,
        writer: &mpsc::Sender<Bytes>,
    ) {
        self.rib.apply(now, Change::Up(slot, facts));
        let Some(profile) = profile else { return };
        let group = self.group(profile);
        let late = !self.rib.join(group, slot);
        let joined = Joined { slot, writer: writer.clone(), late, missed: Vec::new(), residue: None };
        self.tell(group, Membership::Joined(joined));
        self.seats.insert(slot, Seat { group, writer: writer.clone() });
    }

    /// A session is over.
    pub(super) fn down(&mut self, now: Instant, slot: PeerSlot) {
        self.rib.apply(now, Change::Down(slot));
        if let Some(seat) = self.seats.remove(&slot) {
            self.leave(seat.group, slot, None);
        }
    }

    /// A session is over, and its paths are kept for the peer's return.
    pub(super) fn keep(&mut self, now: Instant, slot: PeerSlot) {
        self.rib.apply(now, Change::Stale(slot));
        if let Some(seat) = self.seats.remove(&slot) {
            self.leave(seat.group, slot, None);
        }
    }

    /// A peer asks for everything again; `marked`: it is told where that begins and ends.
    pub(super) fn refresh(&mut self, slot: PeerSlot, marked: bool) {
        if let Some(group) = self.seats.get(&slot).map(|seat| seat.group) {
            self.tell(group, Membership::Refresh { slot, marked });
        }
    }

    /// What an UPDATE says of this family; true when it was an End-of-RIB.
    pub(super) fn update(
        &mut self,
        now: Instant,
        slot: PeerSlot,
        set: Option<&AttributeSet>,
        routes: &Routes<A::Prefix>,
        on_link: bool,
    ) -> bool {
        if !routes.withdrawn.is_empty() {
            self.scratch.clear();
            self.scratch.extend(routes.withdrawn.iter());
            self.rib.apply(now, Change::Withdraw(slot, &self.scratch));
        }
        for reach in &routes.announced {
            let Some(set) = set else { continue };
            self.scratch.clear();
            self.scratch.extend(reach.prefixes.iter());
            // On a shared link the address of that link leads there, whatever subnets there are (RFC 2545 §3).
            let near = reach.next_hop.link_local.filter(|_| on_link).map(IpAddr::V6);
            let attrs = Attrs { set, next_hop: near.or(Some(reach.next_hop.address)) };
            self.rib.apply(now, Change::Announce(slot, attrs, &self.scratch));
        }
        if routes.end_of_rib {
            self.rib.apply(now, Change::EndOfRib(slot));
        }
        routes.end_of_rib
    }

    /// Announces an own prefix with these attributes, or withdraws it.
    pub(super) fn originate(&mut self, now: Instant, prefix: A::Prefix, set: Option<&AttributeSet>) {
        let nlri = [Nlri { prefix, path_id: 0 }];
        let change = match set {
            Some(set) => Change::Announce(PeerSlot::LOCAL, Attrs { set, next_hop: None::<IpAddr> }, &nlri),
            None => Change::Withdraw(PeerSlot::LOCAL, &nlri),
        };
        self.rib.apply(now, change);
    }

    /// The peer is told by another profile from now on. Its session stands and it is sent the differences.
    pub(super) fn regroup(&mut self, slot: PeerSlot, profile: EgressProfile) {
        let Some(seat) = self.seats.get(&slot) else { return };
        let (from, writer) = (seat.group, seat.writer.clone());
        if self.links.get(&from).is_some_and(|link| link.profile == profile) {
            return;
        }
        let to = match self.groups.get(&profile) {
            Some(&group) => group,
            None => {
                let group = self.rib.fork_group(from, profile.clone());
                self.open(group, profile);
                group
            }
        };
        let missed = self.rib.differences(from, to, slot);
        self.rib.join(to, slot);
        let (handover, residue) = oneshot::channel();
        let joined = Joined { slot, writer: writer.clone(), late: false, missed, residue: Some(residue) };
        self.tell(to, Membership::Joined(joined));
        self.seats.insert(slot, Seat { group: to, writer });
        self.leave(from, slot, Some(handover));
    }

    fn leave(
        &mut self,
        group: Consumer,
        slot: PeerSlot,
        handover: Option<oneshot::Sender<super::member::Residue<A::Prefix>>>,
    ) {
        let last = self.rib.leave(group, slot);
        self.tell(group, Membership::Left { slot, handover });
        if last {
            self.close(group);
        }
    }

    /// The group of a profile, made if there is none.
    fn group(&mut self, profile: EgressProfile) -> Consumer {
        if let Some(&group) = self.groups.get(&profile) {
            return group;
        }
        let group = self.rib.open_group(profile.clone());
        self.open(group, profile);
        group
    }

    fn open(&mut self, group: Consumer, profile: EgressProfile) {
        let (replies, receiver) = mpsc::channel(REPLIES + 1);
        self.runtime.spawn(group::run::<A>(group, profile.clone(), self.own.clone(), receiver));
        self.groups.insert(profile.clone(), group);
        let link = Link { profile, replies, wanted: None, fed: false, membership: Vec::new() };
        self.links.insert(group, link);
    }

    /// The last member has gone: the group is told so and ends.
    fn close(&mut self, group: Consumer) {
        let Some(link) = self.links.remove(&group) else { return };
        self.groups.remove(&link.profile);
        self.rib.close_consumer(group);
        let ticket = link.wanted.map_or(0, |(ticket, _)| ticket);
        let goodbye = Reply::Pulled {
            ticket,
            membership: link.membership,
            batch: GroupBatch::default(),
            drained: false,
        };
        if link.replies.try_send(goodbye).is_err() {
            tracing::debug!(?group, "a group that closes had already ended");
        }
    }

    fn tell(&mut self, group: Consumer, change: Membership<A::Prefix>) {
        if let Some(link) = self.links.get_mut(&group) {
            link.membership.push(change);
        }
    }

    /// What a group asks. A catch-up is answered at once, a pull by [`Tables::serve`].
    pub(super) fn request(&mut self, request: Request<A::Prefix>) {
        let Request { group, ask } = request;
        let Some(link) = self.links.get_mut(&group) else { return };
        let reply = match ask {
            Ask::Pull { ticket, budget } => {
                link.wanted = Some((ticket, budget));
                return;
            }
            Ask::CatchUp { slot, paths } => {
                let batch = self.rib.catch_up(group, slot, &paths);
                Reply::CaughtUp { slot, batch, from: None, next: None }
            }
            Ask::CatchUpFrom { slot, cursor, budget } => {
                let (batch, next) = self.rib.catch_up_from(group, slot, cursor, budget);
                Reply::CaughtUp { slot, batch, from: Some(cursor), next }
            }
            Ask::Feed { cursor, budget } => {
                let (batch, next) = self.rib.feed_from(group, cursor, budget);
                Reply::Fed { batch, next }
            }
        };
        if link.replies.try_send(reply).is_err() {
            tracing::debug!(?group, "a group has ended with a question open");
        }
    }

    /// Answers the groups whose pull has something to be answered with; `complete`: when a group has pulled all there is,
    /// its first table is complete.
    pub(super) fn serve(&mut self, complete: bool) -> Progress {
        let mut progress = Progress::Idle;
        for (&group, link) in &mut self.links {
            let Some((ticket, budget)) = link.wanted else { continue };
            let news = self.rib.has_news(group) || (complete && !link.fed);
            if link.membership.is_empty() && (budget == 0 || !news) {
                continue;
            }
            let mut batch = GroupBatch::default();
            let state = match budget {
                0 => MoreOrLess::More,
                budget => self.rib.pull_group(group, budget, &mut batch),
            };
            let membership = std::mem::take(&mut link.membership);
            let drained = complete && state == MoreOrLess::Drained;
            link.fed |= drained;
            if membership.is_empty() && batch.bundles.is_empty() && !drained {
                // All of it was told before, and there is more to look at: the same pull again.
                progress = Progress::More;
                continue;
            }
            link.wanted = None;
            if link.replies.try_send(Reply::Pulled { ticket, membership, batch, drained }).is_err() {
                tracing::error!(?group, "an update group has ended: its peers are told nothing any more");
            }
        }
        progress
    }

    pub(super) fn work(&mut self, budget: usize) -> Progress {
        self.rib.work(budget)
    }

    pub(super) fn open_feed(&mut self, feed: FeedId) {
        let consumer = self.rib.open_best();
        self.feeds.insert(feed, consumer);
    }

    pub(super) fn close_feed(&mut self, feed: FeedId) {
        if let Some(consumer) = self.feeds.remove(&feed) {
            self.rib.close_consumer(consumer);
        }
    }

    pub(super) fn feed_has_news(&self, feed: FeedId) -> bool {
        self.feeds.get(&feed).is_some_and(|&consumer| self.rib.has_news(consumer))
    }

    pub(super) fn pull_feed(&mut self, feed: FeedId, budget: usize) -> BestBatch<A::Prefix> {
        let mut batch = BestBatch::default();
        if let Some(&consumer) = self.feeds.get(&feed) {
            self.rib.pull_best(consumer, budget, &mut batch);
        }
        batch
    }

    pub(super) fn counts(&self, slot: PeerSlot) -> FamilyCounts {
        let counts = self.rib.counts(slot);
        let announced = self.seats.get(&slot).map_or(0, |seat| self.rib.announced(seat.group, slot));
        FamilyCounts {
            received: counts.received.into(),
            accepted: counts.accepted.into(),
            announced: announced.into(),
        }
    }
}
