//! Keeps the host's neighbours of pods at the Ethernet addresses that the pods have.
//!
//! The host's entries are permanent, so that no packet waits for ARP; but an address may change after ADD has answered: the
//! stock plugin `tuning`, chained behind caracal, does it, and a pod with the right may. Nobody tells the host's end of a veth,
//! so this listens to the devices of pods, and asks the kernel about each that is said to have an address which no record has.
//! Who takes on the address of another pod's device is not followed, and not heard: that is its own loss.

use std::collections::HashMap;
use std::sync::Arc;

use caracal_linux::kernel::Wanted;
use caracal_linux::netlink;
use caracal_linux::netlink::peers::{PeerEvents, PeerNews, Said};
use caracal_linux::object::link::{IfName, Mac};
use tracing::{info, warn};

use super::{CniContext, HOST_PREFIX, del};
use crate::attachments::{Attachment, AttachmentKey};
use crate::desired::pod::HOST_MAC;

/// Follows until the listener fails, which it does not in normal life.
///
/// # Errors
/// When the socket fails.
pub async fn follow(mut events: PeerEvents, context: Arc<CniContext>) -> Result<(), netlink::Error> {
    // By the number of the host's end: the address that was found last.
    let mut known: HashMap<u32, Mac> = HashMap::new();
    loop {
        match events.next().await? {
            PeerNews::Said(said) => {
                for Said { other: index, name, mac } in said {
                    // The host's own ends are heard of, too.
                    let own_end = mac == HOST_MAC && name.as_str().starts_with(HOST_PREFIX);
                    if own_end || known.get(&index) == Some(&mac) {
                        continue;
                    }
                    // A new pod has the address that it was to have: nothing has to be asked.
                    if context.records.expect(mac) {
                        known.insert(index, mac);
                        continue;
                    }
                    match at(&context, index).await {
                        Ok(Some(mac)) => drop(known.insert(index, mac)),
                        Ok(None) => drop(known.remove(&index)),
                        Err(error) => warn!(%error, "looking at the device of a pod"),
                    }
                }
            }
            PeerNews::Lost => {
                known.clear();
                for record in context.records.all() {
                    match_one(&context, &record.key).await;
                }
            }
        }
        // Devices that are gone are forgotten when they are many: their numbers are not used again soon.
        if known.len() > 2 * context.records.count() + 64 {
            known.clear();
        }
    }
}

/// Looks after the pod behind the host's device with this number; the address that it has.
async fn at(context: &CniContext, index: u32) -> Result<Option<Mac>, netlink::Error> {
    let Some(link) = context.wiring.client().link_at(index).await? else { return Ok(None) };
    if !link.name.as_str().starts_with(HOST_PREFIX) {
        return Ok(None);
    }
    let host = link.name.to_string();
    let record = context.records.all().into_iter().find(|record| record.host == host);
    let Some(record) = record else { return Ok(None) };
    match_one(context, &record.key).await;
    Ok(context.wiring.client().peer(&link.name).await?.and_then(|peer| peer.mac))
}

async fn match_one(context: &CniContext, key: &AttachmentKey) {
    // ADD holds this until its record is complete.
    let _attachment = context.locks.lock(key.to_string()).await;
    let Some(record) = context.records.get(key) else { return };
    if let Err(error) = mend(context, record).await {
        warn!(%key, %error, "following the Ethernet address of a pod");
    }
}

/// Wants the host's neighbours of a pod at the address that the pod's end has; the record as it is then. The caller holds the
/// attachment's lock.
pub(super) async fn mend(context: &CniContext, record: Attachment) -> Result<Attachment, netlink::Error> {
    let (Ok(device), Ok(network)) = (IfName::new(&record.host), del::network(&record)) else {
        return Ok(record);
    };
    let found = context.wiring.client().peer(&device).await?.and_then(|peer| peer.mac);
    let Some(mac) = found.filter(|mac| *mac != network.pod.mac) else { return Ok(record) };
    let record = Attachment { mac: Some(mac), ..record };
    let Ok(network) = del::network(&record) else { return Ok(record) };
    let neighbours =
        network.wanted().into_iter().filter(|wanted| matches!(wanted, Wanted::Neighbour(..))).collect();
    if let Err(error) = context.kernel.settle(neighbours).await {
        warn!(key = %record.key, %error, "the host's neighbours of a pod");
    }
    info!(key = %record.key, %mac, "the pod has another Ethernet address: the host follows");
    // After a restart it is asked for anew, so that nothing depends on this.
    if let Err(error) = context.records.put(record.clone()).await {
        warn!(key = %record.key, %error, "keeping the Ethernet address of a pod");
    }
    Ok(record)
}
