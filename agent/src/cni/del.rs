//! DEL: the way of ADD backwards, as often as it is asked, with whatever is left.
//!
//! It needs neither the pod's namespace nor the API server nor a record. A device is removed only if its alias names this
//! attachment: the pod's next sandbox may have taken its place. Addresses are freed last, when nothing leads to them.

use caracal_cni::config::{NetworkConfig, Role};
use caracal_cni::environment::Target;
use caracal_cni::name::host_interface;
use caracal_cni::{Code, Error};
use caracal_linux::netlink;
use caracal_linux::object::link::{BadIfName, IfName};
use tracing::warn;

use super::{CniContext, alias_of, request};
use crate::attachments::{Attachment, JournalError, Phase};
use crate::desired::pod::{Facts, PodNetwork, Shapes, pod, pod_mac};

/// What kept an attachment from being undone.
#[derive(Debug, thiserror::Error)]
pub(super) enum UndoError {
    /// Its device could not be removed.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// Its record could not be removed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Its record names no device.
    #[error("the record of the attachment is damaged: {0}")]
    Record(#[from] BadIfName),
}

/// Detaches a container.
pub(super) async fn del(context: &CniContext, config: &NetworkConfig, target: &Target) -> Result<(), Error> {
    let key = request::key(config, target);
    let _attachment = context.locks.lock(key.to_string()).await;
    let record = context.records.get(&key);
    let named = host_interface(target);
    let host = record.as_ref().map_or_else(|| named.to_string(), |record| record.host.clone());
    let _device = context.locks.lock(host).await;
    let failed = |error: UndoError| {
        Error::new(
            Code::Wiring,
            format!("detaching container {} from {}: {error}", key.container, key.network),
        )
    };
    match record {
        Some(record) => undo(context, &record).await.map_err(failed),
        None if config.role == Role::Ipam => Ok(()),
        // Unknown: detached before, never attached, or its record was lost. A device of its own is all there can be.
        None => {
            let alias = alias_of(&key).map_err(|error| failed(error.into()))?;
            context.wiring.detach(&named, &alias.to_string()).await.map_err(|error| failed(error.into()))
        }
    }
}

/// Undoes an attachment as far as it has come. The caller holds its locks.
pub(super) async fn undo(context: &CniContext, record: &Attachment) -> Result<(), UndoError> {
    // The interfaces of other plugins are theirs to remove.
    if record.phase != Phase::Delegated {
        withdraw(context, record).await;
        let device = IfName::new(&record.host)?;
        context.wiring.detach(&device, &alias_of(&record.key)?.to_string()).await?;
    }
    context.records.remove(&record.key).await?;
    context.ipam.release(record.key.handle(), record.own_addresses().cloned().collect()).await;
    Ok(())
}

/// Wants nothing of an attachment any more on the host. A route that another hand holds is left to it.
pub(super) async fn withdraw(context: &CniContext, record: &Attachment) {
    match network(record) {
        Ok(network) => {
            if let Err(error) = context.kernel.settle(network.unwanted()).await {
                warn!(key = %record.key, %error, "taking back the host's routes to a container");
            }
        }
        Err(error) => warn!(key = %record.key, %error, "the record of an attachment is damaged"),
    }
}

/// Both ends of an attachment, as its record tells.
pub(super) fn network(record: &Attachment) -> Result<PodNetwork, BadIfName> {
    let alias = alias_of(&record.key)?;
    let (host, mac) = (IfName::new(&record.host)?, record.mac.unwrap_or_else(|| pod_mac(&alias)));
    let addresses = record.ips().collect();
    // Limits are set once, at ADD, and go with the devices.
    let (shapes, extras) = (Shapes::default(), record.extras.clone());
    Ok(pod(&Facts { alias, host, mtu: record.mtu, mac, addresses, shapes, extras }))
}
