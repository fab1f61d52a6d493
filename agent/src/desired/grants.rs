//! What some pods have beyond their own addresses: prefixes in whose name they may speak, and floating addresses, which lead to
//! them wherever they run. Both are asked for by annotations, where the administrator allows it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;
use tokio::sync::watch;

use crate::attachments::Attachment;

/// What one pod has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// The pod's device on the host.
    pub device: String,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// The prefixes in whose name it may speak.
    pub sources: Vec<IpNetwork>,
    /// The addresses that lead to it besides its own.
    pub floating: Vec<IpAddr>,
}

/// What all pods of this node have.
pub type Grants = BTreeSet<Grant>;

/// The same, as it changes.
pub type GrantsReceiver = watch::Receiver<Arc<Grants>>;

impl Grant {
    /// What an attachment has, if it has anything.
    pub fn of(attachment: &Attachment) -> Option<Self> {
        let extras = &attachment.extras;
        let any = !extras.sources.is_empty() || !extras.floating.is_empty();
        any.then(|| Self {
            device: attachment.host.clone(),
            addresses: attachment.ips().collect(),
            sources: extras.sources.clone(),
            floating: extras.floating.clone(),
        })
    }

    /// The floating addresses, each with the pod's own address that it stands for.
    pub fn leads(&self) -> impl Iterator<Item = (IpAddr, IpAddr)> {
        self.floating.iter().filter_map(|floating| {
            let own = self.addresses.iter().find(|own| own.is_ipv4() == floating.is_ipv4())?;
            Some((*floating, *own))
        })
    }
}

/// What these attachments have.
pub fn grants<'a>(attachments: impl IntoIterator<Item = &'a Attachment>) -> Grants {
    attachments.into_iter().filter_map(Grant::of).collect()
}

/// The prefixes by which the network is to find floating addresses.
pub fn floating(grants: &Grants) -> impl Iterator<Item = IpNetwork> {
    grants.iter().flat_map(Grant::leads).map(|(address, _)| IpNetwork::from(address))
}
