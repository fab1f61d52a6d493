//! What plugins detached while no agent answered: done here as the DEL that it was.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use caracal_cni::detached;
use caracal_cni::name::Alias;
use tracing::{info, warn};

use super::{CniContext, del};
use crate::attachments::AttachmentKey;

/// A plugin may find no agent a moment before there is one, and say so a moment later.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Looks for what was left in the folder of the socket, until the agent ends.
pub async fn keep(folder: impl AsRef<Path>, context: Arc<CniContext>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        ticks.tick().await;
        look(folder.as_ref(), &context).await;
    }
}

async fn look(folder: &Path, context: &CniContext) {
    let left = match detached::left(folder) {
        Ok(left) => left,
        Err(error) => {
            warn!(folder = %folder.display(), %error, "looking for what was detached without the agent");
            return;
        }
    };
    for (file, alias) in left {
        match free(context, &alias).await {
            Ok(()) => {
                info!(attachment = %alias, "freed: it was detached while no agent answered");
                if let Err(error) = std::fs::remove_file(&file) {
                    warn!(file = %file.display(), %error, "removing what told of a detached container");
                }
            }
            Err(error) => warn!(attachment = %alias, %error, "freeing what was detached without the agent"),
        }
    }
}

async fn free(context: &CniContext, alias: &Alias) -> Result<(), del::UndoError> {
    let key = AttachmentKey {
        network: alias.network.clone(),
        container: alias.container.clone(),
        interface: alias.interface.to_string(),
    };
    let _attachment = context.locks.lock(key.to_string()).await;
    let Some(record) = context.records.get(&key) else { return Ok(()) };
    let _device = context.locks.lock(record.host.clone()).await;
    del::undo(context, &record).await
}
