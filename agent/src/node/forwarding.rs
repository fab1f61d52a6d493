//! Turns the node into a router.
//!
//! With IPv6 forwarding on, the kernel ignores router advertisements unless `accept_ra` is 2, and forgets at once what it had
//! from them: a node that got its default route so would lose it. So `accept_ra` is raised first, on every uplink where it is 1,
//! and on uplinks that appear later. Not on devices of containers, whose advertisements nobody should follow.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use caracal_linux::kernel::{Underlay, Wanted};
use caracal_linux::object::link::IfName;
use caracal_linux::object::setting::{Setting, SettingKey, SettingName};
use caracal_linux::sysctl;
use tokio::sync::watch;
use tracing::{info, warn};

use super::detection::is_uplink;

/// Lets this node forward packets of both families, where these are its devices: what is to stay so. What the kernel lacks
/// (IPv6, say) is reported and left out.
///
/// # Errors
/// When IPv4 forwarding cannot be turned on: without it no pod reaches another.
pub fn enable(links: &Underlay) -> io::Result<Vec<Wanted>> {
    let mut wanted = vec![turn_on(SettingName::ForwardingV4)?];
    uplinks(links).iter().for_each(heed_routers);
    match turn_on(SettingName::ForwardingV6) {
        Ok(also) => wanted.push(also),
        Err(error) => warn!(%error, "IPv6 is not forwarded"),
    }
    Ok(wanted)
}

/// Sees to uplinks that appear later. Runs until the agent ends.
pub async fn follow(mut links: watch::Receiver<Arc<Underlay>>) {
    let mut known = BTreeSet::new();
    loop {
        let now = uplinks(&links.borrow_and_update());
        now.difference(&known).for_each(heed_routers);
        known = now;
        if links.changed().await.is_err() {
            return;
        }
    }
}

/// With their numbers: a device that is made anew under its old name is another one.
fn uplinks(links: &Underlay) -> BTreeSet<(u32, IfName)> {
    let all = links.links.values().filter(|link| !link.loopback && is_uplink(link.name.as_str()));
    all.map(|link| (link.index, link.name)).collect()
}

fn heed_routers((_, device): &(u32, IfName)) {
    let accept = format!("net/ipv6/conf/{device}/accept_ra");
    if sysctl::read(&accept).is_ok_and(|value| value.trim() == "1")
        && let Err(error) = sysctl::write(&accept, "2")
    {
        warn!(%device, %error, "accept_ra stays 1: a default route from router advertisements may be lost");
    }
}

fn turn_on(name: SettingName) -> io::Result<Wanted> {
    let key = SettingKey { device: IfName::ALL, name };
    let path = key.path();
    if !sysctl::read(&path).is_ok_and(|value| value.trim() == "1") {
        sysctl::write(&path, "1").map_err(io::Error::other)?;
        info!(sysctl = path, "turned on");
    }
    Ok(Wanted::Setting(key, Some(Setting(1))))
}
