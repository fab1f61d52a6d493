//! Turns the node into a router.
//!
//! With IPv6 forwarding on, the kernel ignores router advertisements unless `accept_ra` is 2: a node that got its
//! default route from one would lose it. So `accept_ra` is raised first, on every device where it is 1.

use std::io;

use caracal_linux::object::link::IfName;
use caracal_linux::sysctl;
use tracing::{info, warn};

/// Lets this node forward packets of both families. What the kernel lacks (IPv6, say) is reported and left out.
///
/// # Errors
/// When IPv4 forwarding cannot be turned on: without it no pod reaches another.
pub fn enable(devices: &[IfName]) -> io::Result<()> {
    turn_on("net/ipv4/ip_forward")?;
    for device in devices {
        let accept = format!("net/ipv6/conf/{device}/accept_ra");
        if sysctl::read(&accept).is_ok_and(|value| value.trim() == "1")
            && let Err(error) = sysctl::write(&accept, "2")
        {
            warn!(%device, %error, "accept_ra stays 1: a default route from router advertisements may be lost");
        }
    }
    if let Err(error) = turn_on("net/ipv6/conf/all/forwarding") {
        warn!(%error, "IPv6 is not forwarded");
    }
    Ok(())
}

fn turn_on(name: &str) -> io::Result<()> {
    if sysctl::read(name).is_ok_and(|value| value.trim() == "1") {
        return Ok(());
    }
    sysctl::write(name, "1").map_err(io::Error::other)?;
    info!(sysctl = name, "turned on");
    Ok(())
}
