//! The task of one update group: pulls what changed, encodes it once, and hands it to its members as they can take it.
//!
//! The RIB answers a group over one channel, in the order of its decisions, so what arrives later is newer whatever it
//! answers. The group has at most two pulls and one catch-up or slice of the feed under way, which is what the channel holds:
//! the RIB never waits for a group. While no member can take more, the group does not pull, and changes coalesce in the RIB.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::{mpsc, oneshot};

use super::command::Command;
use super::encode::{Encoder, Message};
use super::feeding::Feeding;
use super::member::{Member, Missed, Progress, Refresh, Residue, Ring, Sent};
use crate::rib::{Af, Consumer, DestId, EgressProfile, GroupBatch, PeerSlot, V4, V6};
use crate::wire::nlri::{Ipv4Prefix, Ipv6Prefix, Nlri, Prefix};

/// How many destinations a pull asks for.
const BATCH: usize = 1024;
/// How many answers may be on their way: two pulls and one catch-up.
pub(super) const REPLIES: usize = 3;

/// What a group asks of the RIB.
#[derive(Debug)]
pub struct Request<P> {
    /// Which group.
    pub group: Consumer,
    /// What.
    pub ask: Ask<P>,
}

/// What a group may ask.
#[derive(Debug)]
pub enum Ask<P> {
    /// Answer when there is something: changes, if the budget is not zero, or members that come and go. Takes the place
    /// of a pull that has not been answered, which then never is.
    Pull {
        /// Tells one pull from another; comes back with the answer.
        ticket: u64,
        /// How many destinations at most.
        budget: usize,
    },
    /// The present state of these paths for one member.
    CatchUp {
        /// Who.
        slot: PeerSlot,
        /// Which.
        paths: Vec<Nlri<P>>,
    },
    /// The present state of everything from here on for one member.
    CatchUpFrom {
        /// Who.
        slot: PeerSlot,
        /// From where.
        cursor: DestId,
        /// How many destinations at most.
        budget: usize,
    },
    /// The present state of everything from here on, for all members that have just come.
    Feed {
        /// From where.
        cursor: DestId,
        /// How many destinations at most.
        budget: usize,
    },
}

/// What the RIB answers.
#[derive(Debug)]
pub enum Reply<P> {
    /// To a pull.
    Pulled {
        /// Which pull is answered.
        ticket: u64,
        /// Who came and went before the changes were decided.
        membership: Vec<Membership<P>>,
        /// The changes.
        batch: GroupBatch<P>,
        /// Nothing is left to pull at this moment.
        drained: bool,
    },
    /// To a catch-up.
    CaughtUp {
        /// Who.
        slot: PeerSlot,
        /// The state.
        batch: GroupBatch<P>,
        /// Where a catch-up by cursor began; `None`: it was one by prefixes.
        from: Option<DestId>,
        /// Where a catch-up by cursor goes on; `None`: it is at its end.
        next: Option<DestId>,
    },
    /// To a feed.
    Fed {
        /// The state.
        batch: GroupBatch<P>,
        /// Where it goes on; `None`: it is at the end of the table.
        next: Option<DestId>,
    },
}

/// A change of who belongs to a group.
#[derive(Debug)]
pub enum Membership<P> {
    /// A peer comes.
    Joined(Joined<P>),
    /// A peer goes; if it goes to another group, that one is sent what is left.
    Left {
        /// Who.
        slot: PeerSlot,
        /// Where to.
        handover: Option<oneshot::Sender<Residue<P>>>,
    },
    /// A peer asked for everything again (RFC 2918).
    Refresh {
        /// Who.
        slot: PeerSlot,
        /// It is told where this begins and ends (RFC 7313).
        marked: bool,
    },
}

/// A peer that comes.
#[derive(Debug)]
pub struct Joined<P> {
    /// Who.
    pub slot: PeerSlot,
    /// The way to it.
    pub writer: mpsc::Sender<Bytes>,
    /// It has to be told what the group has been told so far.
    pub late: bool,
    /// Paths of which it was told something else in its former group.
    pub missed: Vec<Nlri<P>>,
    /// What its former group had not told it yet.
    pub residue: Option<oneshot::Receiver<Residue<P>>>,
}

/// A family whose groups speak to the RIB through its queue.
pub trait Lane: Af {
    /// The command that carries a request.
    fn command(request: Request<Self::Prefix>) -> Command;
}

impl Lane for V4 {
    fn command(request: Request<Ipv4Prefix>) -> Command {
        Command::Ipv4(request)
    }
}

impl Lane for V6 {
    fn command(request: Request<Ipv6Prefix>) -> Command {
        Command::Ipv6(request)
    }
}

/// What is awaited for one stay of a member in the group.
type Awaited<T> = FuturesUnordered<BoxFuture<'static, (PeerSlot, u64, T)>>;
type Permit = Result<mpsc::OwnedPermit<Bytes>, mpsc::error::SendError<()>>;

/// The state of the task.
struct Group<P> {
    id: Consumer,
    profile: EgressProfile,
    members: BTreeMap<PeerSlot, Member<P>>,
    ring: Ring<P>,
    encoder: Encoder,
    stays: u64,
    /// The first feed of the group is complete: End-of-RIB may be said.
    fed: bool,
    /// The last pull, and the last one that was answered: equal when none is under way.
    asked: u64,
    answered: u64,
    /// The budget of the last pull.
    budget: usize,
    catching_up: bool,
    /// Where the feed of members that come late goes on.
    feed_at: DestId,
    /// The last question about what was there before was one of the feed.
    fed_last: bool,
    permits: Awaited<Permit>,
    residues: Awaited<Option<Residue<P>>>,
}

/// Runs a group until the RIB lets go of it.
pub(super) async fn run<A: Lane>(
    id: Consumer,
    profile: EgressProfile,
    rib: mpsc::WeakSender<Command>,
    mut replies: mpsc::Receiver<Reply<A::Prefix>>,
) {
    let mut group: Group<A::Prefix> = Group::new(id, profile);
    loop {
        group.flush();
        for ask in group.asks() {
            let Some(rib) = rib.upgrade() else { return };
            if rib.send(A::command(Request { group: id, ask })).await.is_err() {
                return;
            }
        }
        tokio::select! {
            reply = replies.recv() => match reply {
                Some(reply) => group.take(reply),
                None => return,
            },
            Some((slot, stay, permit)) = group.permits.next() => group.permitted(slot, stay, permit),
            Some((slot, stay, residue)) = group.residues.next() => group.taken_over(slot, stay, residue),
        }
        // Each round looks at all members, so whatever else has come is part of this one.
        while let Some(Some((slot, stay, permit))) = group.permits.next().now_or_never() {
            group.permitted(slot, stay, permit);
        }
    }
}

impl<P: Prefix> Group<P> {
    fn new(id: Consumer, profile: EgressProfile) -> Self {
        Group {
            id,
            profile,
            members: BTreeMap::new(),
            ring: Ring::default(),
            encoder: Encoder::default(),
            stays: 0,
            fed: false,
            asked: 0,
            answered: 0,
            budget: 0,
            catching_up: false,
            feed_at: DestId::FIRST,
            fed_last: false,
            permits: FuturesUnordered::new(),
            residues: FuturesUnordered::new(),
        }
    }

    /// What is to be asked now.
    fn asks(&mut self) -> Vec<Ask<P>> {
        let mut asks = Vec::new();
        let head = self.ring.head();
        let wanted = if self.members.values().any(|member| member.is_idle(head)) { BATCH } else { 0 };
        if self.answered == self.asked || (self.budget == 0 && wanted > 0) {
            self.asked += 1;
            self.budget = wanted;
            asks.push(Ask::Pull { ticket: self.asked, budget: wanted });
        }
        if !self.catching_up {
            let next = self.of_before(head);
            self.catching_up = next.is_some();
            self.fed_last = matches!(next, Some(Ask::Feed { .. }));
            asks.extend(next);
        }
        asks
    }

    /// What is to be asked of what was there before: by those who came late, and by one who is behind, in turns.
    fn of_before(&mut self, head: u64) -> Option<Ask<P>> {
        let wait = |member: &Member<P>| member.feeding.is_underway() && member.is_idle(head);
        let feed = self.members.values().any(wait);
        let feed = feed.then_some(Ask::Feed { cursor: self.feed_at, budget: BATCH });
        if feed.is_some() && !self.fed_last {
            return feed;
        }
        let behind = self.members.values_mut().filter(|member| member.can_take()).find_map(catch_up);
        behind.or(feed)
    }

    fn take(&mut self, reply: Reply<P>) {
        match reply {
            Reply::Pulled { ticket, membership, batch, drained } => {
                self.answered = ticket;
                membership.into_iter().for_each(|change| self.change(change));
                for bundle in batch.bundles {
                    let message = self.encoder.encode(&self.profile, bundle);
                    self.publish(message);
                }
                self.fed |= drained;
            }
            Reply::CaughtUp { slot, batch, from, next } => {
                self.catching_up = false;
                let Some(member) = self.members.get_mut(&slot) else { return };
                for bundle in batch.bundles {
                    member.backlog.push_back(Arc::new(self.encoder.encode(&self.profile, bundle)));
                }
                if let Progress::CatchingUp { missed, cursor } = &mut member.progress {
                    // Unless the member has been sent back to the start in the meantime.
                    if from.is_some() && *cursor == from {
                        *cursor = next;
                    }
                    if cursor.is_none() && missed.is_empty() {
                        member.progress = Progress::Following(self.ring.head());
                    }
                }
            }
            Reply::Fed { batch, next } => {
                self.catching_up = false;
                if self.members.values().any(|member| member.feeding.is_underway()) {
                    for bundle in batch.bundles {
                        let message = self.encoder.encode(&self.profile, bundle);
                        self.publish(Message { feed: true, ..message });
                    }
                }
                self.feed_at = next.unwrap_or(DestId::FIRST);
                let head = self.ring.head();
                self.members.values_mut().for_each(|member| member.feeding.advance(next, head));
            }
        }
    }

    fn change(&mut self, change: Membership<P>) {
        match change {
            Membership::Joined(joined) => self.join(joined),
            Membership::Left { slot, handover } => {
                let Some(member) = self.members.remove(&slot) else { return };
                if let Some(handover) = handover
                    && handover.send(member.into_residue(&self.ring)).is_err()
                {
                    tracing::debug!(?slot, "the group a peer moved to is gone");
                }
            }
            Membership::Refresh { slot, marked } => match self.members.get_mut(&slot) {
                Some(member) if marked => member.refresh = Refresh::Due,
                Some(member) => member.fall_behind(&self.ring, Some(DestId::FIRST)),
                None => {}
            },
        }
    }

    fn join(&mut self, joined: Joined<P>) {
        let Joined { slot, writer, late, missed, residue } = joined;
        self.stays += 1;
        let stay = self.stays;
        let expecting = residue.is_some();
        let missed: Missed<P> = missed.into_iter().collect();
        let (head, mut feeding) = (self.ring.head(), Feeding::default());
        let progress = if missed.is_empty() && !expecting {
            if late {
                feeding = Feeding::begin(self.feed_at, head);
            }
            Progress::Following(head)
        } else {
            Progress::CatchingUp { missed, cursor: late.then_some(DestId::FIRST) }
        };
        if let Some(residue) = residue {
            self.residues.push(Box::pin(async move { (slot, stay, residue.await.ok()) }));
        }
        self.members.insert(
            slot,
            Member {
                slot,
                stay,
                writer,
                progress,
                feeding,
                backlog: Default::default(),
                blocked: false,
                expecting,
                end_of_rib_due: true,
                refresh: Refresh::Idle,
            },
        );
    }

    fn taken_over(&mut self, slot: PeerSlot, stay: u64, residue: Option<Residue<P>>) {
        if let Some(member) = self.members.get_mut(&slot).filter(|member| member.stay == stay) {
            member.take_over(residue);
            if let Progress::CatchingUp { missed, cursor: None } = &member.progress
                && missed.is_empty()
            {
                member.progress = Progress::Following(self.ring.head());
            }
        }
    }

    /// Puts a message into the ring. Members that have fallen out of it remember what they miss.
    fn publish(&mut self, message: Message<P>) {
        let message = Arc::new(message);
        for member in self.members.values_mut() {
            member.miss(&message);
        }
        while self.ring.is_full() {
            let tail = self.ring.tail();
            for member in self.members.values_mut() {
                if matches!(member.progress, Progress::Following(position) if position == tail) {
                    tracing::info!(slot = ?member.slot, group = ?self.id, "a slow peer has lost its place");
                    member.fall_behind(&self.ring, None);
                    member.miss(&message);
                }
            }
            self.ring.release(tail + 1);
        }
        self.ring.push(message);
    }

    /// Hands every member what it can take.
    fn flush(&mut self) {
        let head = self.ring.head();
        let mut slowest = head;
        for member in self.members.values_mut() {
            if self.fed && matches!(member.progress, Progress::Following(_)) {
                member.say_ends(&self.ring);
            }
            let mut sent = Sent::All;
            if !member.blocked {
                sent = member.send(&self.ring);
                if member.begin_refresh(&self.ring) {
                    sent = member.send(&self.ring);
                }
            }
            if sent == Sent::Full {
                let (slot, stay, writer) = (member.slot, member.stay, member.writer.clone());
                self.permits.push(Box::pin(async move { (slot, stay, writer.reserve_owned().await) }));
            }
            if let Progress::Following(position) = member.progress {
                slowest = slowest.min(position);
            }
        }
        self.ring.release(slowest);
    }

    /// A writer that was full can take one more.
    fn permitted(&mut self, slot: PeerSlot, stay: u64, permit: Permit) {
        let Some(member) = self.members.get_mut(&slot).filter(|member| member.stay == stay) else { return };
        member.blocked = false;
        if let (Ok(permit), Some(message)) = (permit, member.next(&self.ring)) {
            permit.send(message.bytes.clone());
            member.advance();
        }
    }
}

/// What a member asks for next to catch up, if it has to.
fn catch_up<P: Prefix>(member: &mut Member<P>) -> Option<Ask<P>> {
    let slot = member.slot;
    let Progress::CatchingUp { missed, cursor } = &mut member.progress else { return None };
    if let Some(cursor) = *cursor {
        return Some(Ask::CatchUpFrom { slot, cursor, budget: BATCH });
    }
    let paths: Vec<Nlri<P>> = missed.iter().take(BATCH).copied().collect();
    for path in &paths {
        missed.remove(path);
    }
    Some(Ask::CatchUp { slot, paths })
}
