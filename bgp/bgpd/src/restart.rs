//! What peers are told of a restart of the daemon (RFC 4724 §3).
//!
//! A daemon that was killed leaves its routes in the kernel, which goes on forwarding. The next run finds them, adopts
//! them, and tells its peers that it has restarted (R) and in which families forwarding went on (F). Without `[fib]`, or
//! where nothing was found, neither is said: what a peer keeps for a router that has lost its routes is a black hole.

use std::path::Path;
use std::time::Duration;

use caracal_bgp::speaker::Beginning;
use caracal_bgp::{Config, Families, Family};
use caracal_linux::kernel::{Kernel, Stopped};
use ipnetwork::IpNetwork;

/// How long the choice among routes waits for the peers' End-of-RIBs (RFC 4724 §4.1).
const SELECTION_DEFERRAL: Duration = Duration::from_secs(30);

/// What the run before left in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comeback {
    forwarding: Families,
}

impl Comeback {
    /// Of a daemon that finds nothing.
    pub const NOTHING: Comeback = Comeback { forwarding: Families::NONE };

    /// Looks; before anything is written.
    ///
    /// # Errors
    /// When the kernel's writer has ended.
    pub async fn look(kernel: &Kernel) -> Result<Self, Stopped> {
        Ok(Comeback::of(kernel.routes().await?.into_iter().map(|(key, _)| key.destination)))
    }

    fn of(found: impl Iterator<Item = IpNetwork>) -> Self {
        Comeback { forwarding: found.map(|destination| Family::of(&destination)).collect() }
    }

    /// How the speaker begins: own prefixes are announced right after its start.
    pub fn beginning(self, run_directory: Option<&Path>) -> Beginning {
        let deferral = (!self.forwarding.is_empty()).then_some(SELECTION_DEFERRAL);
        let file = |name| run_directory.map(|directory| directory.join(name));
        let (bfd_memory, peer_memory) = (file("bfd"), file("peers"));
        Beginning { deferral, announces_later: true, bfd_memory, peer_memory }
    }

    /// The configuration with what its peers are to be told.
    #[must_use]
    pub fn told(self, mut config: Config) -> Config {
        let of_ranges = config.ranges.values_mut().map(|range| &mut range.terms);
        let all = config.peers.values_mut().chain(of_ranges);
        for restart in all.filter_map(|peer| peer.session.graceful_restart.as_mut()) {
            restart.restarted = !self.forwarding.is_empty();
            restart.forwarding = self.forwarding;
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;
    use caracal_bgp::config::RestartOptions;
    use caracal_bgp::{Asn, PeerConfig, PeerKey, RouterId};

    #[test]
    fn a_restart_is_told_with_the_families_of_what_was_found() {
        let mut peer = PeerConfig::new(SocketAddr::from(([192, 0, 2, 1], 179)), Asn(1), Asn(2));
        peer.session.graceful_restart = Some(RestartOptions::default());
        let router_id = RouterId::try_from(Ipv4Addr::new(192, 0, 2, 2)).unwrap();
        let peers = [(PeerKey::Address(peer.remote.ip()), peer)].into();
        let config = Config { peers, ..Config::new(Asn(1), router_id) };
        let told = |comeback: Comeback| {
            let config = comeback.told(config.clone());
            let restart = config.peers.values().next().unwrap().session.graceful_restart.unwrap();
            (restart.restarted, restart.forwarding, comeback.beginning(None).deferral.is_some())
        };
        assert_eq!(told(Comeback::NOTHING), (false, Families::NONE, false));
        let v6: Families = [Family::Ipv6Unicast].into_iter().collect();
        assert_eq!(told(Comeback::of(["2001:db8::/64".parse().unwrap()].into_iter())), (true, v6, true));
    }
}
