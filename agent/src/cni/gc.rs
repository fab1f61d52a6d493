//! GC: detach everything of one network that the runtime does not list.
//!
//! Attachments of other networks are left alone, and a failure of one does not keep the others.

use std::collections::BTreeSet;

use caracal_cni::config::NetworkConfig;
use caracal_cni::{Code, Error};
use tracing::info;

use super::{CniContext, del};

/// Removes what is not valid any more.
pub(super) async fn gc(context: &CniContext, config: &NetworkConfig) -> Result<(), Error> {
    let valid: BTreeSet<(&str, &str)> =
        config.valid_attachments.iter().map(|a| (a.container.as_str(), a.interface.as_str())).collect();
    let mut failures = Vec::new();
    let _alone = context.gate.write().await;
    for record in context.records.all() {
        let key = &record.key;
        // The addresses of subnets are of no network that a runtime can name.
        if key.network != config.name || valid.contains(&(key.container.as_str(), key.interface.as_str())) {
            continue;
        }
        let _attachment = context.locks.lock(key.to_string()).await;
        let _device = context.locks.lock(record.host.clone()).await;
        // It may have gone while this waited.
        if context.records.get(key).is_none() {
            continue;
        }
        match del::undo(context, &record).await {
            Ok(()) => info!(%key, "detached: the runtime does not know it any more"),
            Err(error) => failures.push(format!("{key}: {error}")),
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    let msg = format!("{} attachments could not be removed: {}", failures.len(), failures.join("; "));
    Err(Error::new(Code::Wiring, msg))
}
