//! Making and removing a pod's devices.
//!
//! The pair is made in one request with the pod's end born inside its namespace: moving it there later would cost a wait for
//! every processor. The pod's end is then set up by a socket inside, the host's end last of all: it goes up when everything else is
//! in place, so "ours and up" means "finished" to whoever finds it after a crash.

mod making;

use std::num::NonZero;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::thread;

use caracal_linux::namespace::{self, Namespace, Visitors};
use caracal_linux::netlink;
use caracal_linux::netlink::client::Client;
use caracal_linux::netlink::hand::{Hand, exists};
use caracal_linux::netlink::removal::Removal;
use caracal_linux::object::link::{IfName, Link};
use caracal_linux::sysctl;
use tokio::runtime::Handle;

use crate::desired::pod::PodNetwork;

use making::Made;

/// How many pods are wired at the same time: as many as there are processors, within this. The kernel takes one change of links
/// at a time anyhow.
const AT_ONCE: RangeInclusive<usize> = 2..=4;

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
}

/// The host's side.
#[derive(Debug)]
pub(super) struct Wiring {
    client: Client,
    removal: Removal,
    home: (u64, u64),
    /// Each with a socket at home.
    visitors: Visitors<Hand>,
}

/// The namespace of a container that is to get an interface, with a socket in it.
#[derive(Debug)]
pub(super) struct Entered {
    namespace: Namespace,
    hand: Hand,
}

impl Wiring {
    /// Works in the namespace of the calling thread.
    pub(super) fn open() -> Result<Self, netlink::Error> {
        let home = Namespace::current()?.identity()?;
        let (client, removal) = (Client::open(None)?, Removal::start()?);
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let count = processors.clamp(*AT_ONCE.start(), *AT_ONCE.end());
        let hands = (0..count).map(|_| Hand::open()).collect::<Result<_, _>>()?;
        Ok(Self { client, removal, home, visitors: Visitors::start("wiring", hands)? })
    }

    /// Enters the namespace of a container that is to get an interface, and sees that it can have it.
    pub(super) async fn enter(&self, netns: Namespace, interface: &IfName) -> Result<Entered, WiringError> {
        if netns.identity()? == self.home {
            return Err(WiringError::NodeItself(netns.name().to_owned()));
        }
        let interface = *interface;
        let entered = self.visitors.send(move |visitor| {
            let look = || Ok::<_, WiringError>((Hand::open()?, exists(&interface)?));
            let (hand, exists) = visitor.visit(&netns, look)??;
            if exists { Err(WiringError::Exists(interface)) } else { Ok(Entered { namespace: netns, hand }) }
        });
        entered.await?
    }

    /// Makes both ends. What is left after an error is removed by [`Wiring::detach`].
    pub(super) async fn attach(&self, wanted: &Arc<PodNetwork>, entered: Entered) -> Result<(), WiringError> {
        let device = wanted.host.device;
        let (made, entered) = self.make(wanted, entered).await?;
        let Made::NothingButTaken(_) = made? else { return Ok(()) };
        // The pod's last sandbox has left its device behind: the name is the pod's, so it is this one's now.
        if let Some(left) = self.link(&device).await? {
            self.removal.remove(left.index).await?;
        }
        match self.make(wanted, entered).await?.0? {
            Made::All => Ok(()),
            Made::NothingButTaken(refused) => Err(refused.into()),
        }
    }

    async fn make(
        &self,
        wanted: &Arc<PodNetwork>,
        mut entered: Entered,
    ) -> Result<(Result<Made, WiringError>, Entered), namespace::Error> {
        let wanted = Arc::clone(wanted);
        self.visitors.send(move |visitor| (making::make(visitor, &wanted, &mut entered), entered)).await
    }

    /// Questions about a container's namespace.
    pub(super) async fn look_inside(&self, netns: Namespace) -> Result<Client, WiringError> {
        let runtime = Handle::current();
        let opened = self.visitors.send(move |visitor| {
            visitor.visit(&netns, || {
                let _entered = runtime.enter();
                Client::open(None)
            })
        });
        Ok(opened.await???)
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
