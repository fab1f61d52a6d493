//! Peers of ranges: they come with a connection, and go when nothing is left of their session.
//!
//! While such a peer is there it is a peer of the configuration in force like any other, so that whatever looks there finds
//! it. Its going is proposed by its session and decided here: a connection that comes in between is its own.

use std::sync::Arc;
use std::time::Instant;

use ipnetwork::IpNetwork;
use tokio::sync::oneshot;

use super::Peering;
use crate::config::{Config, PeerKey, PeerOrigin, longest};
use crate::net::Newcomer;
use crate::net::listen::refuse;
use crate::speaker::bfd_thread::Follow;
use crate::speaker::command::Command;
use crate::speaker::error::Stopped;
use crate::speaker::ranges::{RangeStatus, Refusal};

impl Peering {
    /// Somebody has connected from a range. Nobody had the address when the connection was accepted.
    pub(super) async fn welcome(&mut self, newcomer: Newcomer) {
        let Newcomer { address, stream } = newcomer;
        let key = PeerKey::from(address);
        if let Some(session) = self.sessions.get(&key) {
            let waits = self.config.peers.get(&key).is_some_and(|peer| peer.waits.is_some());
            let unwanted = match waits || self.deaf.contains_key(&key) {
                true => Some(stream),
                false => session.incoming().try_send(stream).err().map(|unwanted| unwanted.into_inner()),
            };
            unwanted.iter().for_each(refuse);
            return;
        }
        // It may have been taken away since.
        let Some((prefix, range)) = longest(&self.config.ranges, address) else { return refuse(&stream) };
        let full = (self.living(prefix) >= usize::from(range.max_peers.get()))
            .then(|| Refusal::Full(range.max_peers.get()));
        let deaf = self.deaf_ranges.get(&prefix).cloned().map(Refusal::NoPassword);
        if let Some(why) = deaf.or(full) {
            refuse(&stream);
            return self.turned_away(prefix, key, &why);
        }
        let peer = range.peer(prefix, address);
        let mut config = Config::clone(&self.config);
        config.peers.insert(key, peer.clone());
        if self.with_peers(config).await.is_err() {
            return refuse(&stream);
        }
        tracing::info!(peer = %key, range = %prefix, name = %peer.name, "a peer has come from a range");
        self.open(key, &peer);
        if let Some(session) = self.sessions.get(&key)
            && let Err(unwanted) = session.incoming().try_send(stream)
        {
            refuse(&unwanted.into_inner());
        }
        self.watch_path(key).await;
        self.await_vacancy(key);
    }

    /// Nothing is left of a peer of a range, as its session says.
    pub(super) async fn leave(&mut self, key: PeerKey) {
        let origin = self.config.peers.get(&key).map(|peer| peer.origin);
        // Somebody may have named it meanwhile.
        let Some(PeerOrigin::Range(prefix)) = origin else { return };
        let Some(session) = self.sessions.remove(&key) else { return };
        self.directory.remove(key.address());
        let last = session.status();
        if let Err(session) = session.retire().await {
            self.directory.insert(key.address(), session.incoming());
            self.sessions.insert(key, session);
            return self.await_vacancy(key);
        }
        if let Follow::Now(Some(_)) = self.bfd.configure(&self.config, key, None).await {
            tracing::debug!(peer = %key, "the path to a peer that is gone is still watched");
        }
        let mut config = Config::clone(&self.config);
        config.peers.remove(&key);
        if self.with_peers(config).await.is_err() {
            tracing::debug!(peer = %key, "the RIB ended before a peer that went");
        }
        if last.transitions == 0 {
            let why = last.last_error.map_or_else(|| "it was closed".to_owned(), |error| error.to_string());
            self.turned_away(prefix, key, &Refusal::NoSession(why));
        } else {
            tracing::info!(peer = %key, range = %prefix, "a peer of a range is gone");
        }
    }

    /// A new configuration with the peers of ranges that may stay: those that nobody names, and that are in a range still.
    pub(super) fn with_living(&self, mut config: Config) -> Config {
        let living = self.config.peers.iter().filter(|(_, peer)| matches!(peer.origin, PeerOrigin::Range(_)));
        for (key, _) in living {
            if let Some((prefix, range)) = longest(&config.ranges, key.address()) {
                let peer = range.peer(prefix, key.address());
                config.peers.entry(*key).or_insert(peer);
            }
        }
        config
    }

    /// Lets newcomers in from the ranges there are, each held to the password of its range.
    pub(super) fn admit_ranges(&mut self) {
        self.deaf_ranges.clear();
        for (prefix, range) in &self.config.ranges {
            let Some(password) = &range.terms.password else { continue };
            let whom = (prefix.network(), Some(prefix.prefix()));
            let refused = self.listeners.values().find_map(|one| one.set_key(whom, Some(password)).err());
            if let Some(error) = refused {
                tracing::error!(range = %prefix, %error, "nobody is let in from the range");
                self.deaf_ranges.insert(*prefix, error.to_string());
            }
        }
        let config = Arc::clone(&self.config);
        self.refusals.retain(|range| config.ranges.contains_key(range));
        self.directory.admit(config.ranges.keys().copied().collect(), self.door.clone());
    }

    /// How the ranges stand.
    pub(super) fn ranges(&self) -> Vec<RangeStatus> {
        let status = |prefix: &IpNetwork| {
            let range = self.config.ranges.get(prefix)?;
            let (refused, last_refusal) = self.refusals.of(prefix);
            Some(RangeStatus {
                prefix: *prefix,
                name: range.terms.name.clone(),
                peers: u32::try_from(self.living(*prefix)).unwrap_or(u32::MAX),
                max_peers: range.max_peers.get().into(),
                refused,
                last_refusal: self.deaf_ranges.get(prefix).cloned().or(last_refusal),
            })
        };
        self.config.ranges.keys().filter_map(status).collect()
    }

    /// How many peers of a range there are.
    fn living(&self, prefix: IpNetwork) -> usize {
        self.config.peers.values().filter(|peer| peer.origin == PeerOrigin::Range(prefix)).count()
    }

    /// The same configuration with other peers is in force.
    async fn with_peers(&mut self, config: Config) -> Result<(), Stopped> {
        let config = Arc::new(config);
        let (reply, done) = oneshot::channel();
        self.rib.send(Command::Peers { config: Arc::clone(&config), reply }).await.map_err(|_| Stopped)?;
        done.await.map_err(|_| Stopped)?;
        self.config = config;
        Ok(())
    }

    fn turned_away(&mut self, range: IpNetwork, key: PeerKey, why: &Refusal) {
        if let Some(passed_over) = self.refusals.note(Instant::now(), range, key.address(), why) {
            tracing::warn!(peer = %key, %range, passed_over, "a peer of a range was turned away: {why}");
        }
    }

    /// Has the task told when nothing is left of a session.
    fn await_vacancy(&self, key: PeerKey) {
        let Some(mut status) = self.sessions.get(&key).map(|session| session.watch()) else { return };
        let vacancies = self.vacancies.clone();
        tokio::spawn(async move {
            if status.wait_for(|status| status.vacant).await.is_ok() && vacancies.send(key).await.is_err() {
                tracing::trace!(peer = %key, "the speaker has ended before its peer");
            }
        });
    }
}
