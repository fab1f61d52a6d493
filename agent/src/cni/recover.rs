//! After a start: which of the recorded attachments still live, and what the host must keep for them.
//!
//! A device of ours that is up was finished, and its routes are wanted again, whatever its record says of the phase. Without
//! such a device the attachment is over: an ADD was cut off half way, or a DEL was done while no agent ran, or the namespace
//! has gone. Its record and addresses are freed. Addresses that another plugin was given stay.

use std::collections::HashMap;

use caracal_linux::netlink;
use tracing::{info, warn};

use super::{CniContext, alias_of, del, follow};
use crate::attachments::Phase;

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Attachments that go on.
    pub living: usize,
    /// Attachments that were over.
    pub freed: usize,
}

/// Looks at each recorded attachment, wants the host's side of the living ones and frees the others. To be called once,
/// before the socket is served, and before the kernel's sweep is released.
///
/// # Errors
/// When the kernel cannot be asked: nothing is freed then.
pub async fn recover(context: &CniContext) -> Result<Outcome, netlink::Error> {
    let client = context.wiring.client();
    let links: HashMap<String, (bool, Option<String>)> = client
        .links()
        .await?
        .into_iter()
        .map(|link| (link.name.to_string(), (link.up, link.alias)))
        .collect();
    let (mut wanted, mut outcome) = (Vec::new(), Outcome::default());
    for record in context.records.all() {
        match record.phase {
            // Nothing on this host tells; what does is DEL, GC, or a reboot.
            Phase::Delegated => {
                outcome.living += 1;
                continue;
            }
            Phase::Subnet | Phase::Tunnel => continue,
            Phase::Adding | Phase::Ready | Phase::Removing => {}
        }
        let alias = alias_of(&record.key).ok().map(|alias| alias.to_string());
        let lives =
            matches!(links.get(&record.host), Some((true, found)) if found.is_some() && *found == alias);
        match del::network(&record) {
            Ok(_) if lives => {
                // Its Ethernet address may have changed while nobody followed it.
                let record = follow::mend(context, record).await?;
                wanted.extend(del::network(&record).ok().into_iter().flat_map(|network| network.wanted()));
                outcome.living += 1;
            }
            Ok(_) | Err(_) => match del::undo(context, &record).await {
                Ok(()) => {
                    info!(key = %record.key, "freed: its device is gone, or was never finished");
                    outcome.freed += 1;
                }
                Err(error) => warn!(key = %record.key, %error, "freeing an attachment that is over"),
            },
        }
    }
    match context.kernel.want(wanted).await {
        Ok(refused) => {
            for refused in refused {
                warn!(%refused, "the host's side of a recovered pod");
            }
        }
        Err(error) => warn!(%error, "the host's side of recovered pods"),
    }
    Ok(outcome)
}
