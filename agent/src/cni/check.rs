//! CHECK: is everything that ADD made still there? It names all that is missing, and passes over what others have added.

use std::collections::BTreeSet;

use caracal_cni::config::NetworkConfig;
use caracal_cni::environment::Target;
use caracal_cni::{Code, Error};
use caracal_linux::namespace::Namespace;
use caracal_linux::netlink;
use caracal_linux::netlink::client::Client;
use caracal_linux::object::link::Link;
use caracal_linux::object::route::{RouteFilter, TABLE_MAIN};

use super::wiring::WiringError;
use super::{CniContext, del, follow, request};
use crate::desired::pod::{End, PodNetwork};

/// Compares an attachment with its record.
pub(super) async fn check(
    context: &CniContext,
    config: &NetworkConfig,
    target: &Target,
    netns: Namespace,
) -> Result<(), Error> {
    let key = request::key(config, target);
    let _attachment = context.locks.lock(key.to_string()).await;
    let Some(record) = context.records.get(&key) else {
        let msg =
            format!("container {} is not attached to {} as {}", key.container, key.network, key.interface);
        return Err(Error::new(Code::UnknownContainer, msg));
    };
    let failed = |why: String| {
        Error::new(
            Code::CheckFailed,
            format!("checking container {} in {}: {why}", key.container, key.network),
        )
    };
    let record = follow::mend(context, record).await.map_err(|error| failed(error.to_string()))?;
    let network = del::network(&record).map_err(|error| failed(error.to_string()))?;
    let mut missing = promised(config, &network);
    missing.extend(compare(context, &network, netns).await.map_err(|error| failed(error.to_string()))?);
    if missing.is_empty() { Ok(()) } else { Err(failed(missing.join("; "))) }
}

/// What the runtime was told at ADD and is not so.
fn promised(config: &NetworkConfig, network: &PodNetwork) -> Vec<String> {
    let Some(previous) = &config.previous else { return Vec::new() };
    let told: BTreeSet<_> = previous.ips.iter().map(|ip| ip.address.ip()).collect();
    let ours = network.pod.addresses.iter().filter(|address| !told.contains(&address.ip()));
    ours.map(|address| format!("prevResult lacks the address {address}")).collect()
}

async fn compare(
    context: &CniContext,
    network: &PodNetwork,
    netns: Namespace,
) -> Result<Vec<String>, WiringError> {
    let inside = context.wiring.look_inside(netns).await?;
    let mut missing = Vec::new();
    let pod = inside.link(&network.pod.device).await?;
    look(&network.pod, pod, "in the pod", &inside, &mut missing).await?;
    let host = context.wiring.link(&network.host.device).await?;
    let alias = host.as_ref().and_then(|link| link.alias.clone());
    if host.is_some() && alias.as_deref() != Some(network.alias.as_str()) {
        let found = alias.unwrap_or_default();
        let device = network.host.device;
        missing
            .push(format!("device {device} on the host belongs to `{found}` and not to {}", network.alias));
    }
    look(&network.host, host, "on the host", context.wiring.client(), &mut missing).await?;
    Ok(missing)
}

/// One end against what the kernel shows of it. Its own hardware address is left out: another in the chain may have changed it.
async fn look(
    end: &End,
    link: Option<Link>,
    place: &str,
    client: &Client,
    missing: &mut Vec<String>,
) -> Result<(), netlink::Error> {
    let device = end.device;
    let Some(link) = link else {
        missing.push(format!("device {device} {place} is gone"));
        return Ok(());
    };
    if !link.up {
        missing.push(format!("device {device} {place} is down"));
    }
    let addresses = client.addresses().await?;
    for wanted in &end.addresses {
        if !addresses.iter().any(|seen| seen.device == device && seen.network == *wanted) {
            missing.push(format!("address {wanted} of {device} {place} is gone"));
        }
    }
    let neighbours = client.neighbours().await?;
    for (key, wanted) in &end.neighbours {
        match neighbours.iter().find(|seen| seen.key == *key && seen.permanent) {
            None => missing.push(format!("the permanent neighbour {key} {place} is gone")),
            Some(seen) if seen.mac != Some(wanted.mac) => {
                missing.push(format!("the permanent neighbour {key} {place} is not at {}", wanted.mac));
            }
            Some(_) => {}
        }
    }
    let filter = RouteFilter { table: Some(TABLE_MAIN), device: Some(device), ..RouteFilter::default() };
    let routes = client.routes(&filter).await?;
    for (key, route) in &end.routes {
        let key = key.normalised();
        let hops = route.hops();
        let there = routes.iter().any(|(seen, found)| {
            seen.destination == key.destination
                && found
                    .hops()
                    .iter()
                    .any(|hop| hops.iter().any(|w| w.via == hop.via && w.device == hop.device))
        });
        if !there {
            missing.push(format!("route {} dev {device} {place} is gone", key.destination));
        }
    }
    Ok(())
}
