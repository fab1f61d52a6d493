//! What is in our table: which chains, and which sets with what in them. Rules are not read: they are always written anew.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::nft::attributes::{Attributes, find, number, read as attributes, text};
use crate::nft::interval::{self, Interval};
use crate::nft::messages::{INTERVAL_END, INTERVALS, kind};
use crate::nft::ruleset::{Chain, Ruleset, Set};
use crate::nft::socket::{INET, Socket};

/// How often a list is begun again that another transaction broke into.
const TRIES: usize = 5;
/// NF_ACCEPT.
const ACCEPT: u32 = 1;

/// What is there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Present {
    sets: BTreeMap<String, (SetShape, BTreeSet<Interval>)>,
    chains: BTreeMap<String, ChainShape>,
}

/// How a set is made.
#[derive(Debug, PartialEq, Eq)]
struct SetShape {
    flags: u32,
    key: (u32, u32),
}

/// How a chain is made.
#[derive(Debug, PartialEq, Eq)]
struct ChainShape {
    hook: u32,
    priority: u32,
    kind: String,
    policy: u32,
}

impl SetShape {
    fn of(set: &Set) -> Self {
        Self { flags: INTERVALS, key: set.key() }
    }

    fn read(set: &[u8]) -> Option<Self> {
        let at = |which| find(set, which).and_then(number);
        Some(Self { flags: at(3)?, key: (at(4)?, at(5)?) })
    }
}

impl ChainShape {
    fn of(chain: &Chain) -> Self {
        Self {
            hook: chain.hook.number(),
            priority: u32::from_be_bytes(chain.priority.to_be_bytes()),
            kind: chain.kind.word().to_owned(),
            policy: ACCEPT,
        }
    }

    /// None of a chain that packets do not enter by themselves, which is not one of ours.
    fn read(chain: &[u8]) -> Option<Self> {
        let hook = find(chain, 4)?;
        Some(Self {
            hook: find(hook, 1).and_then(number)?,
            priority: find(hook, 2).and_then(number)?,
            kind: find(chain, 7).map(text)?,
            policy: find(chain, 5).and_then(number)?,
        })
    }
}

impl Present {
    /// The ranges of a set, if it is there.
    pub(super) fn ranges(&self, set: &str) -> Option<&BTreeSet<Interval>> {
        self.sets.get(set).map(|(_, ranges)| ranges)
    }

    pub(super) fn has_chain(&self, chain: &str) -> bool {
        self.chains.contains_key(chain)
    }

    /// The chains that are there and not wanted.
    pub(super) fn chains_beside<'a>(&'a self, wanted: &'a Ruleset) -> impl Iterator<Item = &'a str> {
        let is_wanted = |name: &str| wanted.chains.iter().any(|chain| chain.name == name);
        self.chains.keys().map(String::as_str).filter(move |name| !is_wanted(name))
    }

    /// Whether every set is wanted, and every set and every wanted chain made as it is wanted; what is in them may differ.
    pub(super) fn can_become(&self, wanted: &Ruleset) -> bool {
        let set = |(name, (shape, _)): (&String, &(SetShape, _))| {
            wanted.sets.iter().any(|set| set.name == *name && SetShape::of(set) == *shape)
        };
        let chain =
            |chain: &Chain| self.chains.get(&chain.name).is_none_or(|shape| ChainShape::of(chain) == *shape);
        self.sets.iter().all(set) && wanted.chains.iter().all(chain)
    }

    /// What is there once a ruleset is in place.
    #[cfg(test)]
    pub(super) fn of(ruleset: &Ruleset) -> Self {
        let set = |set: &Set| (set.name.clone(), (SetShape::of(set), interval::of(set)));
        let chain = |chain: &Chain| (chain.name.clone(), ChainShape::of(chain));
        Self {
            sets: ruleset.sets.iter().map(set).collect(),
            chains: ruleset.chains.iter().map(chain).collect(),
        }
    }
}

/// Reads what is in a table; none if there is no such table, or something in it that is none of what we make.
pub(super) fn read(socket: &mut Socket, sequence: &mut u32, table: &str) -> io::Result<Option<Present>> {
    for _ in 0..TRIES {
        match read_once(socket, sequence, table) {
            Err(broken) if broken.kind() == io::ErrorKind::Interrupted => {}
            Err(absent) if absent.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
            done => return done,
        }
    }
    Ok(None)
}

fn read_once(socket: &mut Socket, sequence: &mut u32, table: &str) -> io::Result<Option<Present>> {
    let of_table = Attributes::default().text(1, table).into_bytes();
    let (mut present, mut odd) = (Present::default(), false);
    socket.list(sequence, (INET, kind::GET_CHAIN, &of_table), |_, kind, chain| {
        if kind != kind::NEW_CHAIN || find(chain, 1).map(text).as_deref() != Some(table) {
            return;
        }
        match (find(chain, 3).map(text), ChainShape::read(chain)) {
            (Some(name), Some(shape)) => _ = present.chains.insert(name, shape),
            _ => odd = true,
        }
    })?;
    let mut shapes = BTreeMap::new();
    socket.list(sequence, (INET, kind::GET_SET, &of_table), |_, kind, set| {
        if kind != kind::NEW_SET {
            return;
        }
        match (find(set, 2).map(text), SetShape::read(set)) {
            (Some(name), Some(shape)) => _ = shapes.insert(name, shape),
            _ => odd = true,
        }
    })?;
    for (name, shape) in shapes {
        let of_set = Attributes::default().text(1, table).text(2, &name).into_bytes();
        let mut elements = Vec::new();
        socket.list(sequence, (INET, kind::GET_ELEMENTS, &of_set), |_, kind, list| {
            if kind != kind::NEW_ELEMENTS {
                return;
            }
            let Some(list) = find(list, 3) else { return };
            for (_, element) in attributes(list) {
                let key = find(element, 1).and_then(|key| find(key, 1));
                let flags = find(element, 3).and_then(number).unwrap_or_default();
                match key {
                    Some(key) => elements.push((key.to_vec(), flags & INTERVAL_END != 0)),
                    None => odd = true,
                }
            }
        })?;
        match interval::paired(elements) {
            Some(ranges) => _ = present.sets.insert(name, (shape, ranges)),
            None => odd = true,
        }
    }
    Ok((!odd).then_some(present))
}
