//! Making and removing a pod's devices.
//!
//! The pair is made in one request with the pod's end born inside its namespace: moving it there later would cost a wait for
//! every processor. The pod's end is then set up from inside, the host's end last of all: it goes up when everything else is
//! in place, so "ours and up" means "finished" to whoever finds it after a crash.

mod inside;

use std::sync::Arc;

use caracal_linux::namespace::{self, Namespace};
use caracal_linux::netlink;
use caracal_linux::netlink::client::{Client, LinkChange, Veth, VethEnd};
use caracal_linux::netlink::removal::Removal;
use caracal_linux::object::link::{IfName, Link};
use caracal_linux::sysctl;
use tokio::sync::Semaphore;

use crate::desired::pod::{PodNetwork, Sysctl};

pub(super) use inside::Inside;

/// How many pods are wired at the same time. The kernel takes one change of links at a time anyhow.
const AT_ONCE: usize = 4;

/// Why a pod's devices could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum WiringError {
    /// The kernel refused something.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// The namespace could not be used.
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
    /// A setting could not be written.
    #[error(transparent)]
    Sysctl(#[from] sysctl::Error),
    /// The pod has such an interface already.
    #[error("the container already has an interface {0}: detach it first (DEL)")]
    Exists(IfName),
    /// The namespace is the node's own.
    #[error("the namespace {0} is the node's own: caracal does not make a pod of the node")]
    NodeItself(String),
    /// What was to run aside did not come to its end.
    #[error("wiring was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// The host's side.
#[derive(Debug)]
pub(super) struct Wiring {
    client: Client,
    removal: Removal,
    home: (u64, u64),
    turns: Semaphore,
}

impl Wiring {
    /// Works in the namespace of the calling thread.
    pub(super) fn open() -> Result<Self, netlink::Error> {
        let home = Namespace::current()?.identity()?;
        let (client, removal) = (Client::open(None)?, Removal::start()?);
        Ok(Self { client, removal, home, turns: Semaphore::new(AT_ONCE) })
    }

    /// Enters the namespace of a container that is to get an interface, and sees that it can have it.
    pub(super) async fn enter(&self, netns: Namespace, interface: &IfName) -> Result<Inside, WiringError> {
        if netns.identity()? == self.home {
            return Err(WiringError::NodeItself(netns.name().to_owned()));
        }
        let inside = Inside::open(netns).await?;
        match inside.link(interface).await? {
            Some(_) => Err(WiringError::Exists(*interface)),
            None => Ok(inside),
        }
    }

    /// Makes both ends. What is left after an error is removed by [`Wiring::detach`].
    pub(super) async fn attach(&self, wanted: &Arc<PodNetwork>, inside: &Inside) -> Result<(), WiringError> {
        // The semaphore is never closed, so a turn always comes.
        let _turn = self.turns.acquire().await.ok();
        let host = &wanted.host;
        let peer = VethEnd {
            name: wanted.pod.device,
            mac: Some(wanted.pod.mac),
            mtu: Some(wanted.pod.mtu),
            namespace: inside.namespace(),
        };
        let (name, alias) = (host.device, Some(wanted.alias.clone()));
        let veth = Veth { name, mac: Some(host.mac), mtu: Some(host.mtu), alias, up: false, peer };
        match self.client.create_veth(&veth).await {
            // The pod's last sandbox has left its device behind: the name is the pod's, so it is this one's now.
            Err(error) if error.already_exists() => {
                if let Some(left) = self.link(&host.device).await? {
                    self.removal.remove(left.index).await?;
                }
                self.client.create_veth(&veth).await?;
            }
            made => drop(made?),
        }
        inside.configure(wanted).await?;
        let settings = host.sysctls.clone();
        tokio::task::spawn_blocking(move || write(&settings)).await??;
        if let Some(shape) = host.shape {
            self.client.shape(&host.device, shape).await?;
        }
        self.client
            .change_link(&host.device, &LinkChange { up: Some(true), ..LinkChange::default() })
            .await?;
        for address in &host.addresses {
            self.client.add_address(&host.device, *address, true).await?;
        }
        Ok(())
    }

    /// Removes both ends, if the host's one belongs to this attachment, or to nobody: one that is down and has no alias was
    /// being made when an agent was killed. The caller holds the device's lock, so it is not being made now.
    pub(super) async fn detach(&self, device: &IfName, alias: &str) -> Result<(), netlink::Error> {
        let Some(link) = self.link(device).await? else { return Ok(()) };
        let goes = match link.alias.as_deref() {
            Some(found) if !found.is_empty() => found == alias,
            Some(_) | None => !link.up,
        };
        if goes {
            self.removal.remove(link.index).await?;
        }
        Ok(())
    }

    /// A device of the host.
    pub(super) async fn link(&self, device: &IfName) -> Result<Option<Link>, netlink::Error> {
        self.client.link(device).await
    }

    /// Questions about the host.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }
}

/// Writes settings in the namespace of the calling thread.
fn write(settings: &[Sysctl]) -> Result<(), sysctl::Error> {
    for setting in settings {
        match sysctl::write(&setting.path, setting.value) {
            Ok(()) => {}
            Err(error) if setting.optional && error.is_missing() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
