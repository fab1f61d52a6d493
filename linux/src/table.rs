//! The one reconciler: keeps a kind of kernel object (routes, neighbours, …) at what is wanted.
//!
//! A [`Table`] holds for each key what is *wanted* and what was last *seen*, and gives out the operations that lead from one
//! to the other. It is level-triggered: it does not matter which event told of a change or whether one was lost, since the
//! next [`Table::resync`] tells the same. It is pure: no I/O, no clock; the kernel thread feeds it and performs what it plans.
//!
//! Three rules protect what is not ours. A foreign object is never replaced or deleted, only reported
//! ([`Refusal::Conflict`]). While the sweep is [`Sweep::Held`], objects that were found at the start and that nobody has
//! asked for yet stay; only what is withdrawn by name goes. And a key that another hand changes five times within ten
//! seconds is left to it for a while and reported ([`Refusal::Contended`]), not fought over.

mod hold;
mod refusal;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Instant;

use hold::{Hold, Trouble};
pub use refusal::Refusal;

/// What can name an object.
pub trait Key: Ord + Clone + Debug {}

impl<T: Ord + Clone + Debug> Key for T {}

/// What an object says besides its key.
pub trait Value: Eq + Clone {
    /// Who made it, in words for people: said when it stands in our way.
    fn maker(&self) -> String;
}

/// Whose an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// It carries our mark: we may change and delete it.
    Ours,
    /// Anyone else's: never touched.
    Foreign,
}

/// Whether own objects that nobody wants are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    /// Not yet: what was found at the start may still be asked for.
    Held,
    /// Yes.
    Released,
}

/// One step towards what is wanted. Each must be answered by [`Table::done`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op<K, V> {
    /// Nothing is there: create, and fail if something is.
    Create(K, V),
    /// Ours is there and differs: replace.
    Replace(K, V),
    /// Ours is there and unwanted.
    Delete(K),
}

impl<K, V> Op<K, V> {
    /// The key it is about.
    pub fn key(&self) -> &K {
        match self {
            Self::Create(key, _) | Self::Replace(key, _) | Self::Delete(key) => key,
        }
    }
}

/// How a key stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing<'a> {
    /// Nothing is to be done: it is as wanted, or nobody wants anything of it.
    Settled,
    /// An operation is due or under way.
    Pending,
    /// It is not as wanted, and why.
    Refused(&'a Refusal),
}

/// Wanted against seen, for one kind of object.
#[derive(Debug)]
pub struct Table<K, V> {
    entries: BTreeMap<K, Entry<V>>,
    /// Keys that [`Table::plan`] has to look at.
    dirty: BTreeSet<K>,
    /// When to look again at refused keys. Entries that do not match the key's own hold any more are stale.
    retries: BTreeSet<(Instant, K)>,
    /// Keys with a refusal.
    refused: BTreeSet<K>,
    sweep: Sweep,
    /// Counts resyncs, to tell what a dump did not show.
    round: u32,
    /// Counts changes of the set of refusals.
    generation: u64,
}

#[derive(Debug)]
struct Entry<V> {
    want: Option<V>,
    /// Was withdrawn by name, so that the held sweep does not protect it.
    withdrawn: bool,
    seen: Option<(V, Owner)>,
    flight: Option<Flight<V>>,
    round: u32,
    trouble: Option<Box<Trouble>>,
}

#[derive(Debug)]
struct Flight<V> {
    /// What will be there if it succeeds.
    then: Option<V>,
    /// The key was seen meanwhile: that says more than our own success.
    overtaken: bool,
}

impl<V> Default for Entry<V> {
    fn default() -> Self {
        Self { want: None, withdrawn: false, seen: None, flight: None, round: 0, trouble: None }
    }
}

impl<V: Value> Entry<V> {
    fn matches(&self) -> bool {
        matches!((&self.want, &self.seen), (Some(want), Some((seen, Owner::Ours))) if want == seen)
    }

    fn hold(&self) -> Hold {
        self.trouble.as_ref().map_or(Hold::Free, |trouble| trouble.hold)
    }

    /// Lets a refused key be tried again, unless it is left to another hand: that ends with time alone.
    fn free(&mut self) {
        if let Some(trouble) = self.trouble.as_mut().filter(|trouble| !trouble.resting()) {
            trouble.hold = Hold::Free;
        }
    }
}

impl<K: Key, V: Value> Table<K, V> {
    /// An empty table.
    pub fn new(sweep: Sweep) -> Self {
        Self {
            entries: BTreeMap::new(),
            dirty: BTreeSet::new(),
            retries: BTreeSet::new(),
            refused: BTreeSet::new(),
            sweep,
            round: 0,
            generation: 0,
        }
    }

    /// Wants this value under this key, or (none) that ours is gone. Wanting again what was refused tries again.
    pub fn want(&mut self, key: K, value: Option<V>) {
        let entry = self.entries.entry(key.clone()).or_default();
        entry.withdrawn = value.is_none();
        entry.want = value;
        entry.free();
        if entry.withdrawn {
            // A contest over something we no longer want is over.
            self.clear_refusal(&key);
        }
        self.dirty.insert(key);
    }

    /// An event: this was seen under this key, or (none) the one of this owner is gone. If that spoils what was as wanted,
    /// another hand did it, and it is counted against the key.
    pub fn saw(&mut self, now: Instant, key: K, value: Option<V>, owner: Owner) {
        if value.is_some() && owner == Owner::Foreign && !self.entries.contains_key(&key) {
            return;
        }
        if self.note(&key, value, owner) {
            self.disturbed(now, &key);
        }
    }

    /// The own object is gone for a reason that is nobody's doing, such as its link going down: not counted.
    pub fn lost(&mut self, key: &K) {
        self.note(key, None, Owner::Ours);
    }

    /// Takes a listing: of everything, or of what `within` holds for; what it does not show is gone.
    pub fn resync(&mut self, within: impl Fn(&K, &V) -> bool, dump: impl IntoIterator<Item = (K, V, Owner)>) {
        self.round = self.round.wrapping_add(1);
        let round = self.round;
        for (key, value, owner) in dump {
            if owner == Owner::Foreign && !self.entries.contains_key(&key) {
                continue;
            }
            self.entries.entry(key.clone()).or_default().round = round;
            self.note(&key, Some(value), owner);
        }
        self.sweep_round(|key, value, _| within(key, value));
    }

    /// Takes a listing of ours alone: of all of them, or of those that `within` holds for.
    pub fn resync_own(&mut self, within: impl Fn(&K, &V) -> bool, dump: impl IntoIterator<Item = (K, V)>) {
        self.round = self.round.wrapping_add(1);
        let round = self.round;
        for (key, value) in dump {
            self.entries.entry(key.clone()).or_default().round = round;
            self.note(&key, Some(value), Owner::Ours);
        }
        self.sweep_round(|key, value, owner| owner == Owner::Ours && within(key, value));
    }

    /// Takes it that nothing is known of what others have: it is seen again when it stands in our way.
    pub fn forget_foreign(&mut self) {
        self.round = self.round.wrapping_add(1);
        self.sweep_round(|_, _, owner| owner == Owner::Foreign);
    }

    /// What the listing of this round did not show, and should have, is gone.
    fn sweep_round(&mut self, should: impl Fn(&K, &V, Owner) -> bool) {
        let round = self.round;
        let gone: Vec<(K, Owner)> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.round != round)
            .filter_map(|(key, entry)| {
                let (value, owner) = entry.seen.as_ref()?;
                should(key, value, *owner).then(|| (key.clone(), *owner))
            })
            .collect();
        for (key, owner) in gone {
            self.note(&key, None, owner);
        }
    }

    /// Records what is there; true if that spoilt what was as wanted.
    fn note(&mut self, key: &K, value: Option<V>, owner: Owner) -> bool {
        if value.is_none() && !self.entries.contains_key(key) {
            return false;
        }
        let entry = self.entries.entry(key.clone()).or_default();
        let before = entry.matches();
        match value {
            Some(value) => entry.seen = Some((value, owner)),
            None if entry.seen.as_ref().is_some_and(|(_, whose)| *whose == owner) => entry.seen = None,
            None => return false,
        }
        if let Some(flight) = &mut entry.flight {
            flight.overtaken = true;
            return false;
        }
        let matches = entry.matches();
        entry.free();
        self.dirty.insert(key.clone());
        before && !matches
    }

    fn disturbed(&mut self, now: Instant, key: &K) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let trouble = entry.trouble.get_or_insert_default();
        if let Some(until) = trouble.disturbed(now) {
            self.retries.insert((until, key.clone()));
            if trouble.refusal.is_some() {
                self.refused.insert(key.clone());
                self.generation += 1;
            }
        }
    }

    /// Puts out at most `budget` operations, the first keys first.
    pub fn plan(&mut self, now: Instant, budget: usize, out: &mut Vec<Op<K, V>>) {
        self.wake(now);
        let full = out.len() + budget;
        while out.len() < full
            && let Some(key) = self.dirty.pop_first()
        {
            out.extend(self.decide(key));
        }
    }

    /// Puts out the operation for this key, if one is due: for what must not wait behind others.
    pub fn plan_key(&mut self, now: Instant, key: &K, out: &mut Vec<Op<K, V>>) {
        self.wake(now);
        if self.dirty.remove(key) {
            out.extend(self.decide(key.clone()));
        }
    }

    /// Turns holds that have run out into work.
    fn wake(&mut self, now: Instant) {
        while let Some((at, key)) = self.retries.first().filter(|(at, _)| *at <= now).cloned() {
            self.retries.pop_first();
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            if let Some(trouble) = entry.trouble.as_mut().filter(|trouble| trouble.hold == Hold::Until(at)) {
                trouble.hold = Hold::Free;
                self.dirty.insert(key);
            }
        }
    }

    fn decide(&mut self, key: K) -> Option<Op<K, V>> {
        let held = self.sweep == Sweep::Held;
        let entry = self.entries.get_mut(&key)?;
        if entry.flight.is_some() || entry.hold() != Hold::Free {
            return None;
        }
        match (&entry.want, &entry.seen) {
            (None, None | Some((_, Owner::Foreign))) => {
                self.entries.remove(&key);
                self.clear_refusal(&key);
                None
            }
            (None, Some((_, Owner::Ours))) if held && !entry.withdrawn => None,
            (None, Some((_, Owner::Ours))) => {
                entry.flight = Some(Flight { then: None, overtaken: false });
                Some(Op::Delete(key))
            }
            (Some(want), None) => {
                let want = want.clone();
                entry.flight = Some(Flight { then: Some(want.clone()), overtaken: false });
                Some(Op::Create(key, want))
            }
            (Some(want), Some((seen, Owner::Ours))) if want == seen => {
                self.clear_refusal(&key);
                None
            }
            (Some(want), Some((_, Owner::Ours))) => {
                let want = want.clone();
                entry.flight = Some(Flight { then: Some(want.clone()), overtaken: false });
                Some(Op::Replace(key, want))
            }
            (Some(_), Some((other, Owner::Foreign))) => {
                let refusal = Refusal::Conflict { with: other.maker() };
                self.refuse(&key, refusal, Hold::Change);
                None
            }
        }
    }

    /// Answers an operation that was planned.
    pub fn done(&mut self, now: Instant, key: &K, result: Result<(), Refusal>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let Some(flight) = entry.flight.take() else { return };
        match result {
            Ok(()) => {
                if !flight.overtaken {
                    entry.seen = flight.then.map(|value| (value, Owner::Ours));
                }
                self.clear_refusal(key);
                self.dirty.insert(key.clone());
            }
            Err(Refusal::Vanished) => {
                if !flight.overtaken {
                    entry.seen = None;
                }
                self.dirty.insert(key.clone());
            }
            Err(refusal) => {
                // Something changed while it was tried: that may have been the cause, so try again at once.
                let overtaken = flight.overtaken;
                let hold = match &refusal {
                    Refusal::LinkMissing(_) | Refusal::LinkDown(_) | Refusal::Conflict { .. } => Hold::Change,
                    Refusal::Exists | Refusal::Kernel { .. } | Refusal::NoAnswer => {
                        let trouble = entry.trouble.get_or_insert_default();
                        Hold::Until(now + trouble.next_pause())
                    }
                    Refusal::Vanished | Refusal::Contended { .. } | Refusal::Unsupported(_) => Hold::Change,
                };
                self.refuse(key, refusal, hold);
                if overtaken {
                    self.entries.get_mut(key).into_iter().for_each(Entry::free);
                    self.dirty.insert(key.clone());
                }
            }
        }
    }

    fn refuse(&mut self, key: &K, refusal: Refusal, hold: Hold) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let trouble = entry.trouble.get_or_insert_default();
        trouble.hold = hold;
        if let Hold::Until(at) = hold {
            self.retries.insert((at, key.clone()));
        }
        let differs = trouble.refusal.replace(refusal.clone()) != Some(refusal);
        if trouble.unexplained() {
            return;
        }
        if self.refused.insert(key.clone()) || differs {
            self.generation += 1;
        }
    }

    fn clear_refusal(&mut self, key: &K) {
        if let Some(trouble) = self.entries.get_mut(key).and_then(|entry| entry.trouble.as_mut()) {
            trouble.cleared();
        }
        if self.refused.remove(key) {
            self.generation += 1;
        }
    }

    /// Tries refused keys again for which this holds: what stood in their way may have gone. It is given the key, the value
    /// wanted and the refusal.
    pub fn retry(&mut self, may: impl Fn(&K, Option<&V>, &Refusal) -> bool) {
        for key in &self.refused {
            let Some(entry) = self.entries.get_mut(key) else { continue };
            let Some(refusal) = entry.trouble.as_ref().and_then(|trouble| trouble.refusal.as_ref()) else {
                continue;
            };
            if may(key, entry.want.as_ref(), refusal) {
                entry.free();
                self.dirty.insert(key.clone());
            }
        }
    }

    /// Lets own objects that nobody wants be deleted, from now on.
    pub fn release_sweep(&mut self) {
        self.sweep = Sweep::Released;
        let unwanted =
            self.entries.iter().filter(|(_, entry)| entry.want.is_none()).map(|(key, _)| key.clone());
        self.dirty.extend(unwanted);
    }

    /// When [`Table::plan`] should be called even if nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        self.retries.first().map(|(at, _)| *at)
    }

    /// Whether [`Table::plan`] may have something to put out now.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// How this key stands.
    pub fn standing(&self, key: &K) -> Standing<'_> {
        let Some(entry) = self.entries.get(key) else { return Standing::Settled };
        if entry.flight.is_some() || self.dirty.contains(key) {
            return Standing::Pending;
        }
        let trouble = entry.trouble.as_ref();
        if trouble.is_some_and(|trouble| trouble.unexplained()) {
            return Standing::Pending;
        }
        match trouble.map(|trouble| (&trouble.refusal, trouble.hold)) {
            Some((Some(refusal), _)) => Standing::Refused(refusal),
            Some((None, Hold::Until(_))) => Standing::Pending,
            Some((None, Hold::Free | Hold::Change)) | None => Standing::Settled,
        }
    }

    /// Whether something is wanted under this key.
    pub fn wants(&self, key: &K) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.want.is_some())
    }

    /// Our object under this key, as last seen.
    pub fn own_value(&self, key: &K) -> Option<&V> {
        match &self.entries.get(key)?.seen {
            Some((value, Owner::Ours)) => Some(value),
            Some((_, Owner::Foreign)) | None => None,
        }
    }

    /// Whether an object of ours was seen under this key.
    pub fn owns(&self, key: &K) -> bool {
        self.own_value(key).is_some()
    }

    /// Every key that something is wanted or known of.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.keys()
    }

    /// Whether an operation is due or under way for this key.
    pub fn pending(&self, key: &K) -> bool {
        self.standing(key) == Standing::Pending
    }

    /// Every key that is not as wanted, and why.
    pub fn refusals(&self) -> impl Iterator<Item = (&K, &Refusal)> {
        self.refused.iter().filter_map(|key| {
            let trouble = self.entries.get(key)?.trouble.as_ref()?;
            Some((key, trouble.refusal.as_ref()?))
        })
    }

    /// Changes whenever [`Table::refusals`] does.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many keys are refused.
    pub fn refused(&self) -> usize {
        self.refused.len()
    }

    /// How many keys are wanted.
    pub fn wanted(&self) -> usize {
        self.entries.values().filter(|entry| entry.want.is_some()).count()
    }

    /// Our objects, as last seen.
    pub fn own(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().filter_map(|(key, entry)| match &entry.seen {
            Some((value, Owner::Ours)) => Some((key, value)),
            Some((_, Owner::Foreign)) | None => None,
        })
    }

    /// Whether any wanted or own object satisfies this.
    pub fn any(&self, mut holds: impl FnMut(&K, &V) -> bool) -> bool {
        self.entries.iter().any(|(key, entry)| {
            entry.want.iter().chain(entry.seen.iter().map(|(value, _)| value)).any(|value| holds(key, value))
        })
    }
}
