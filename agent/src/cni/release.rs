//! An administrator says that an address is lost: it is freed if nothing on this node uses it.
//!
//! What decides is this node, not the list of pods at the API server: an attachment whose device is up and bears its alias
//! is in use, whatever became of the pod's object.

use std::net::IpAddr;

use caracal_ipam::Purpose;
use caracal_linux::netlink;
use caracal_linux::object::link::IfName;
use tracing::info;

use super::{CniContext, alias_of, del};
use crate::attachments::{Attachment, Phase};

/// Why an address was not freed.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// Something uses it.
    #[error("releasing {address}: {holder} uses it: {what}")]
    InUse {
        /// The address.
        address: IpAddr,
        /// Its handle.
        holder: String,
        /// What uses it, and what to do.
        what: String,
    },
    /// Nobody of this name holds it here.
    #[error("releasing {address}: {handle} does not hold it on {node}; {known}")]
    NotHeld {
        /// The address.
        address: IpAddr,
        /// The handle that was named.
        handle: String,
        /// This node.
        node: String,
        /// Who does.
        known: String,
    },
    /// The kernel could not be asked.
    #[error("looking whether a device uses the address: {0}")]
    Kernel(#[from] netlink::Error),
    /// The attachment could not be undone.
    #[error("undoing the attachment that holds the address: {0}")]
    Undo(String),
}

/// Frees an address that a handle holds, and with it the whole of its attachment. Says what was done.
///
/// # Errors
/// [`ReleaseError`]; nothing was freed then.
pub async fn release(context: &CniContext, address: IpAddr, handle: &str) -> Result<String, ReleaseError> {
    let records = context.records.all();
    let record = records.into_iter().find(|record| {
        record.key.handle().0 == handle && record.own_addresses().any(|held| held.address == address)
    });
    match record {
        Some(record) => undo(context, address, &record).await,
        None => forget(context, address, handle).await,
    }
}

/// Whether the journal has an attachment of this handle.
fn is_recorded(context: &CniContext, handle: &str) -> bool {
    context.records.all().iter().any(|record| record.key.handle().0 == handle)
}

/// The journal has an attachment with this address.
async fn undo(context: &CniContext, address: IpAddr, record: &Attachment) -> Result<String, ReleaseError> {
    let kept = match record.phase {
        Phase::Delegated => {
            Some("another plugin has it for its interface; detach the container (CNI DEL, or GC)")
        }
        Phase::Subnet => {
            Some("its block is the subnet of another plugin's network until the machine is booted")
        }
        Phase::Adding | Phase::Ready | Phase::Removing | Phase::Tunnel => None,
    };
    if let Some(what) = kept {
        let (holder, what) = (record.key.to_string(), what.to_owned());
        return Err(ReleaseError::InUse { address, holder, what });
    }
    let _attachment = context.locks.lock(record.key.to_string()).await;
    let _device = context.locks.lock(record.host.clone()).await;
    let failed = |error: String| ReleaseError::Undo(error);
    let alias = alias_of(&record.key).map_err(|error| failed(error.to_string()))?.to_string();
    let device = IfName::new(&record.host).map_err(|error| failed(error.to_string()))?;
    let link = context.wiring.link(&device).await?;
    if link.is_some_and(|link| link.up && link.alias.as_deref() == Some(alias.as_str())) {
        let what = format!("its device {device} is up; delete the pod, or detach the container (CNI DEL)");
        return Err(ReleaseError::InUse { address, holder: record.key.to_string(), what });
    }
    // It may have gone while this waited.
    if context.records.get(&record.key).is_some() {
        del::undo(context, record).await.map_err(|error| failed(error.to_string()))?;
    }
    info!(key = %record.key, %address, "freed: an administrator said that it is lost, and its device is gone");
    Ok(format!("attachment {} had no device any more and was undone", record.key))
}

/// No attachment has this address: the allocator may hold it for one that the journal lost.
async fn forget(context: &CniContext, address: IpAddr, handle: &str) -> Result<String, ReleaseError> {
    // An ADD has its address before its record, and holds this lock meanwhile: an attachment is locked by what is its handle too.
    let _attachment = context.locks.lock(handle.to_owned()).await;
    if is_recorded(context, handle) {
        let what = "it has come up meanwhile".to_owned();
        return Err(ReleaseError::InUse { address, holder: handle.to_owned(), what });
    }
    let report = context.ipam.show().await;
    let held = report.blocks.iter().find_map(|block| {
        let found = block.allocations.iter().find(|held| held.address == address)?;
        Some((block, found))
    });
    let Some((block, found)) = held else {
        return Err(not_held(
            context,
            address,
            handle,
            "nobody does: the record goes with the next write".into(),
        ));
    };
    if found.handle.0 != handle {
        return Err(not_held(context, address, handle, format!("{} does", found.handle)));
    }
    if found.attributes.kind == Purpose::Tunnel {
        let what = "it is the address of this node's tunnel device".to_owned();
        return Err(ReleaseError::InUse { address, holder: handle.to_owned(), what });
    }
    let allocation = caracal_ipam::Allocation {
        address,
        block: block.name.clone(),
        block_cidr: block.cidr,
        block_uid: block.uid.clone(),
        sequence: found.sequence,
        pool: block.pool.clone(),
    };
    context.ipam.release(found.handle.clone(), vec![allocation]).await;
    let still = context.ipam.show().await;
    let remains = still.blocks.iter().flat_map(|block| &block.allocations).any(|held| {
        held.address == address && held.handle == found.handle && held.sequence == found.sequence
    });
    if remains {
        let what = "the block's object was made anew since; restart the agent".to_owned();
        return Err(ReleaseError::InUse { address, holder: handle.to_owned(), what });
    }
    info!(handle, %address, "freed: an administrator said that it is lost, and no attachment has it");
    Ok(format!("{handle} had no attachment and its address was freed"))
}

fn not_held(context: &CniContext, address: IpAddr, handle: &str, known: String) -> ReleaseError {
    ReleaseError::NotHeld { address, handle: handle.to_owned(), node: context.node.to_string(), known }
}
