//! The paths of a speaker a page at a time, in the order of their prefixes.
//!
//! A full table is neither walked nor answered in one go: the RIB is asked for a slice of its prefixes at a time, which
//! are put in order here, and then for the paths of some of them at a time. Between two questions the RIB does its own
//! work. What changes meanwhile is shown as it is when its page is made; a prefix that is gone by then is left out, one
//! that comes later may be missing.

use std::collections::VecDeque;

use ipnetwork::IpNetwork;
use tokio::sync::{mpsc, oneshot};

use super::command::Command;
use super::error::Stopped;
use super::status::{RouteQuery, RouteStatus};
use crate::config::Family;
use crate::rib::DestId;

/// How many places of the table the RIB looks at for one question.
const SLICE: usize = 4096;
/// How many prefixes a page is about.
const PAGE: usize = 256;

/// A listing of paths that is under way.
#[derive(Debug)]
pub struct RouteListing {
    rib: mpsc::Sender<Command>,
    query: RouteQuery,
    /// Families whose prefixes are still to be collected, with where to go on.
    tables: VecDeque<(Family, DestId)>,
    /// Prefixes of which no paths were asked for yet.
    prefixes: VecDeque<IpNetwork>,
}

impl RouteListing {
    pub(super) fn new(rib: mpsc::Sender<Command>, query: RouteQuery) -> Self {
        let family = query.prefix.as_ref().map(Family::of).or(query.family);
        let contradicts = query.family.is_some() && family != query.family;
        let tables = Family::ALL
            .into_iter()
            .filter(|one| query.prefix.is_none() && family.is_none_or(|of| of == *one));
        RouteListing {
            rib,
            tables: tables.map(|family| (family, DestId::FIRST)).collect(),
            prefixes: query.prefix.into_iter().filter(|_| !contradicts).collect(),
            query,
        }
    }

    /// The next paths; `None` at the end. A page is never empty.
    ///
    /// # Errors
    /// When the speaker has stopped.
    pub async fn next(&mut self) -> Result<Option<Vec<RouteStatus>>, Stopped> {
        loop {
            while self.prefixes.is_empty() {
                let Some((family, _)) = self.tables.front().copied() else { return Ok(None) };
                self.collect(family).await?;
            }
            let some = self.prefixes.len().min(PAGE);
            let prefixes: Vec<IpNetwork> = self.prefixes.drain(..some).collect();
            let peer = self.query.peer;
            let page = self.ask(|reply| Command::Routes { prefixes, peer, reply }).await?;
            if !page.is_empty() {
                return Ok(Some(page));
            }
        }
    }

    /// Collects all prefixes of a family and puts them in order.
    async fn collect(&mut self, family: Family) -> Result<(), Stopped> {
        let mut found: Vec<IpNetwork> = Vec::new();
        while let Some(&(_, cursor)) = self.tables.front().filter(|(of, _)| *of == family) {
            let slice = |reply| Command::Prefixes { family, cursor, budget: SLICE, reply };
            let (prefixes, next) = self.ask(slice).await?;
            found.extend(prefixes);
            match next {
                Some(next) => self.tables[0].1 = next,
                None => drop(self.tables.pop_front()),
            }
        }
        found.sort_unstable();
        self.prefixes.extend(found);
        Ok(())
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.rib.send(command(reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
}
