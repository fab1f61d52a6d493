//! The Secrets that sessions' passwords are in: each is watched by its name, and only while a `BGPPeer` or a
//! `BGPConfiguration` names it, so that the agent may be allowed to read those and no others.
//!
//! What was read is kept on disk beside the other last good states, for root alone, so that sessions come up after a start
//! without the API server. A Secret that is no longer named is forgotten there, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use caracal_api::{BgpConfiguration, BgpPeer};
use futures::future::select_all;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use tokio::sync::watch;
use tracing::warn;

use super::snapshot::SnapshotReceiver;
use super::watch::{self as watching, WatchSettings};
use crate::desired::passwords::{Secrets, named};

/// How they are handed out.
pub type SecretsReceiver = watch::Receiver<Arc<Secrets>>;

/// Where Secrets are, and who names them.
pub struct Sources {
    /// The way to the API server.
    pub client: Client,
    /// The namespace they are in.
    pub namespace: String,
    /// Where the last good state of each kind is kept.
    pub folder: PathBuf,
    /// Sessions beside the mesh.
    pub peers: SnapshotReceiver<BgpPeer>,
    /// Settings of the speakers.
    pub configurations: SnapshotReceiver<BgpConfiguration>,
}

/// Follows them. The first value has what the disk has.
pub fn follow(sources: Sources) -> SecretsReceiver {
    let mut keeper = Keeper { folder: sources.folder.join("secrets"), sources, watches: BTreeMap::new() };
    keeper.choose();
    let (told, receiver) = watch::channel(Arc::new(keeper.secrets()));
    tokio::spawn(keeper.run(told));
    receiver
}

struct Keeper {
    sources: Sources,
    folder: PathBuf,
    watches: BTreeMap<String, SnapshotReceiver<Secret>>,
}

impl Keeper {
    async fn run(mut self, told: watch::Sender<Arc<Secrets>>) {
        loop {
            let changed = {
                let secrets = self.watches.values_mut().map(|watch| Box::pin(watch.changed()));
                let secrets: Vec<_> = secrets.collect();
                let any = async {
                    if secrets.is_empty() {
                        std::future::pending().await
                    } else {
                        select_all(secrets).await.0
                    }
                };
                tokio::select! {
                    changed = any => changed,
                    changed = self.sources.peers.changed() => changed,
                    changed = self.sources.configurations.changed() => changed,
                    () = told.closed() => return,
                }
            };
            if changed.is_err() {
                return;
            }
            self.choose();
            let now = self.secrets();
            told.send_if_modified(|secrets| {
                let news = **secrets != now;
                if news {
                    *secrets = Arc::new(now);
                }
                news
            });
        }
    }

    /// Watches those that are named now.
    fn choose(&mut self) {
        let wanted =
            named(&self.sources.peers.borrow_and_update(), &self.sources.configurations.borrow_and_update());
        let gone: BTreeSet<String> =
            self.watches.keys().filter(|name| !wanted.contains(*name)).cloned().collect();
        for name in gone {
            self.watches.remove(&name);
            forget(&self.folder.join(&name));
        }
        for name in wanted {
            let api = Api::namespaced(self.sources.client.clone(), &self.sources.namespace);
            let kept = self.folder.join(&name);
            let only = WatchSettings::all(&kept).fields(format!("metadata.name={name}"));
            self.watches.entry(name).or_insert_with(|| watching::spawn(api, only));
        }
    }

    fn secrets(&mut self) -> Secrets {
        let read = |(name, watch): (&String, &mut SnapshotReceiver<Secret>)| {
            let snapshot = watch.borrow_and_update();
            let found = snapshot.values().next();
            // What is neither there nor known to be missing is waited for.
            let data = match found {
                Some(secret) => Some(secret.data.clone().unwrap_or_default()),
                None if snapshot.synced => None,
                None => return None,
            };
            let data = data.map(|all| all.into_iter().map(|(key, value)| (key, value.0)).collect());
            Some((name.clone(), data))
        };
        Secrets {
            namespace: self.sources.namespace.clone(),
            read: self.watches.iter_mut().filter_map(read).collect(),
        }
    }
}

fn forget(kept: &Path) {
    match fs::remove_dir_all(kept) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            warn!(folder = %kept.display(), %error, "a Secret that is no longer used cannot be removed from disk");
        }
    }
}
