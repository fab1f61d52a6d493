//! What this host's kernel can do, found out by trying.
//!
//! Links are tried in a network namespace that is thrown away, which also makes the kernel load the module if there is one.
//! A kernel that lacks something is no error: the node goes on with what works, and says in its conditions what is missing.

use std::fmt;
use std::io;
use std::path::Path;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_sys::SocketAddr;
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rtnetlink::{LinkIpIp, LinkVxlan, LinkWireguard};

use crate::namespace::Namespace;
use crate::netlink::batch::{Failure, Request, Writer};
use crate::sysctl;

/// Whether the kernel can do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Feature {
    /// It can.
    Present,
    /// It cannot, or it could not be found out: why, and what to do about it.
    Missing(String),
}

impl Feature {
    /// Whether it can.
    pub fn is_present(&self) -> bool {
        *self == Self::Present
    }

    /// Why it cannot.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Present => None,
            Self::Missing(reason) => Some(reason),
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason().unwrap_or("present"))
    }
}

/// What the kernel can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    /// IPv6 at all, in the namespace of the calling thread.
    pub ipv6: Feature,
    /// IPv4 in IPv4 tunnels.
    pub ipip: Feature,
    /// VXLAN tunnels.
    pub vxlan: Feature,
    /// WireGuard tunnels.
    pub wireguard: Feature,
    /// nftables.
    pub nftables: Feature,
}

/// Finds out what the kernel can do. Takes some milliseconds, and CAP_SYS_ADMIN for the namespace.
pub fn probe() -> Features {
    let links = [
        ("ipip", LinkIpIp::new("probe-ipip").remote(std::net::Ipv4Addr::new(192, 0, 2, 1)).build()),
        ("vxlan", LinkVxlan::new("probe-vxlan", 1).port(4789).build()),
        ("wireguard", LinkWireguard::new("probe-wg").build()),
    ];
    let tried = match Namespace::create() {
        Ok(namespace) => namespace
            .run(|| (links.map(|(module, link)| try_link(module, link)), try_nftables()))
            .map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let ([ipip, vxlan, wireguard], nftables) = tried.unwrap_or_else(|error| {
        let unknown = Feature::Missing(format!("it could not be tried: {error}"));
        ([unknown.clone(), unknown.clone(), unknown.clone()], unknown)
    });
    Features { ipv6: look_for_ipv6(), ipip, vxlan, wireguard, nftables }
}

fn look_for_ipv6() -> Feature {
    if !Path::new("/proc/sys/net/ipv6").exists() {
        return Feature::Missing(
            "the kernel runs without IPv6 (ipv6.disable=1, or built without)".to_owned(),
        );
    }
    match sysctl::read("net/ipv6/conf/all/disable_ipv6").as_deref() {
        Ok("1") => {
            Feature::Missing("IPv6 is switched off by the sysctl net.ipv6.conf.all.disable_ipv6".to_owned())
        }
        Ok(_) | Err(_) => Feature::Present,
    }
}

/// Makes such a link here.
fn try_link(module: &str, link: LinkMessage) -> Feature {
    let request = Request { message: RouteNetlinkMessage::NewLink(link), flags: NLM_F_CREATE | NLM_F_EXCL };
    let answer = Writer::open().and_then(|mut writer| writer.perform(vec![request]));
    match answer.map(|answers| answers.into_iter().next()) {
        Ok(Some(Ok(()))) => Feature::Present,
        Ok(Some(Err(Failure::Refused(refused)))) if refused.errno == libc::EOPNOTSUPP => {
            Feature::Missing(format!(
                "the kernel has no {module} devices: install or build its module `{module}`, or use a kernel that has it"
            ))
        }
        Ok(Some(Err(Failure::Refused(refused)))) => {
            Feature::Missing(format!("the kernel refused a device of kind {module}: {}", refused.words()))
        }
        Ok(Some(Err(Failure::NoAnswer)) | None) => {
            Feature::Missing(format!("the kernel gave no answer about devices of kind {module}"))
        }
        Err(error) => Feature::Missing(format!("asking for a device of kind {module}: {error}")),
    }
}

/// Asks nftables for the generation of its rules, which every kernel that has it can tell.
fn try_nftables() -> Feature {
    match nftables_generation() {
        Ok(true) => Feature::Present,
        Ok(false) => Feature::Missing(
            "the kernel has no nftables: install or build its module `nf_tables`, or use a kernel that has it".to_owned(),
        ),
        Err(error) => Feature::Missing(format!("asking for nftables: {error}")),
    }
}

fn nftables_generation() -> io::Result<bool> {
    /// NFNL_SUBSYS_NFTABLES and NFT_MSG_GETGEN.
    const GET_GENERATION: u16 = (10 << 8) | 16;
    const NLMSG_ERROR: u16 = 2;
    let mut request = Vec::new();
    request.extend(20_u32.to_ne_bytes());
    request.extend(GET_GENERATION.to_ne_bytes());
    request.extend((NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    request.extend([0; 12]); // sequence number, port, and the family, version and resource of netfilter
    let mut socket = netlink_sys::Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.send_to(&request, &SocketAddr::new(0, 0), 0)?;
    let left = PollTimeout::from(5000_u16);
    if poll(&mut [PollFd::new(std::os::fd::AsFd::as_fd(&socket), PollFlags::POLLIN)], left)? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut answer = Vec::with_capacity(4096);
    socket.recv(&mut answer, libc::MSG_DONTWAIT)?;
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    Ok(kind.is_some_and(|kind| kind != NLMSG_ERROR))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Whether `ip` can make such a link in a fresh namespace.
    fn ip_can(link: &str) -> bool {
        let namespace = Namespace::create().expect("this test makes a network namespace: run it as root");
        let arguments = format!("link add probe type {link}");
        let output = namespace.run(|| Command::new("ip").args(arguments.split(' ')).output());
        output.unwrap().expect("this test needs `ip` of the Debian package iproute2").status.success()
    }

    #[test]
    fn what_is_present_is_what_ip_can_make() {
        let features = probe();
        assert_eq!(features.ipip.is_present(), ip_can("ipip remote 192.0.2.1"), "{}", features.ipip);
        assert_eq!(features.vxlan.is_present(), ip_can("vxlan id 1 dstport 4789"), "{}", features.vxlan);
        assert_eq!(features.wireguard.is_present(), ip_can("wireguard"), "{}", features.wireguard);
        assert_eq!(features.ipv6.is_present(), Path::new("/proc/net/if_inet6").exists(), "{}", features.ipv6);
    }

    #[test]
    fn what_is_missing_says_what_to_do() {
        let feature = try_link("ipip", {
            // A kind that no kernel has, under the name of one that some lack.
            let kind = netlink_packet_route::link::InfoKind::Other("caracal-nothing".to_owned());
            let mut link = LinkMessage::default();
            let info = vec![netlink_packet_route::link::LinkInfo::Kind(kind)];
            link.attributes.push(netlink_packet_route::link::LinkAttribute::LinkInfo(info));
            link
        });
        let reason = feature.reason().unwrap();
        assert!(reason.contains("no ipip devices") && reason.contains("module `ipip`"), "{reason}");
    }
}
