//! The pod's end, from inside its namespace.

use std::sync::Arc;

use caracal_linux::namespace::Namespace;
use caracal_linux::netlink::client::{Client, LinkChange};
use caracal_linux::object::link::{IfName, Link};

use super::{WiringError, write};
use crate::desired::pod::PodNetwork;

/// A pod's namespace, and a netlink socket in it.
#[derive(Debug)]
pub(in crate::cni) struct Inside {
    namespace: Namespace,
    client: Client,
}

impl Inside {
    /// Opens a socket there.
    pub(in crate::cni) async fn open(namespace: Namespace) -> Result<Self, WiringError> {
        // Entering a namespace takes a thread of its own, for whose end a worker must not wait.
        let opened = tokio::task::spawn_blocking(move || {
            let client = Client::open(Some(&namespace))?.remembering();
            Ok::<_, WiringError>(Self { namespace, client })
        });
        opened.await?
    }

    /// The namespace itself.
    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// A device of the pod.
    pub(in crate::cni) async fn link(&self, device: &IfName) -> Result<Option<Link>, WiringError> {
        Ok(self.client.link(device).await?)
    }

    /// Questions about the pod's namespace.
    pub(in crate::cni) fn client(&self) -> &Client {
        &self.client
    }

    /// Settings, up, addresses, neighbours, routes: in this order each finds what it stands on.
    pub(super) async fn configure(&self, wanted: &Arc<PodNetwork>) -> Result<(), WiringError> {
        let (namespace, settings) = (self.namespace.clone(), Arc::clone(wanted));
        let written = tokio::task::spawn_blocking(move || namespace.run(|| write(&settings.pod.sysctls)));
        written.await???;
        let up = LinkChange { up: Some(true), ..LinkChange::default() };
        let pod = &wanted.pod;
        if let Some(shape) = pod.shape {
            self.client.shape(&pod.device, shape).await?;
        }
        for device in [&IfName::LOOPBACK, &pod.device] {
            self.client.change_link(device, &up).await?;
        }
        for address in &pod.addresses {
            self.client.add_address(&pod.device, *address, true).await?;
        }
        for (key, value) in &pod.neighbours {
            self.client.replace_neighbour(key, value).await?;
        }
        for (key, route) in &pod.routes {
            self.client.add_route(key, route).await?;
        }
        Ok(())
    }
}
