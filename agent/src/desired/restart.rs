//! What peers are told of a restart of the agent (RFC 4724 §3), so that they go on sending packets here meanwhile.
//!
//! The kernel forwards while the agent is away. That this is so is claimed for a family only where routes of the run before
//! were found in the kernel, on the same boot of the machine: what a peer keeps for a node that has lost its routes is a
//! black hole.

use std::time::Duration;

use caracal_bgp::config::RestartOptions;
use caracal_bgp::{Families, Family};
use ipnetwork::IpNetwork;

/// What was found at the start of the run before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comeback {
    /// There was one: the first session is told so (R).
    pub restarted: bool,
    /// The families in which forwarding went on (F).
    pub forwarding: Families,
}

impl Comeback {
    /// The first start of an agent on its node.
    pub const FIRST: Comeback = Comeback { restarted: false, forwarding: Families::NONE };

    /// What follows from this: whether the journal had blocks, whether the machine was booted since, and the destinations of
    /// the routes found in the kernel.
    pub fn of(had_blocks: bool, rebooted: bool, adopted: impl IntoIterator<Item = IpNetwork>) -> Self {
        let found: Families = adopted.into_iter().map(|destination| Family::of(&destination)).collect();
        Comeback {
            restarted: had_blocks || !found.is_empty(),
            forwarding: if rebooted { Families::NONE } else { found },
        }
    }

    /// The options of a session whose peer keeps routes for this time; none are kept for zero.
    pub fn options(self, time: Duration) -> Option<RestartOptions> {
        (!time.is_zero()).then(|| RestartOptions {
            time,
            restarted: self.restarted,
            forwarding: self.forwarding,
            ..RestartOptions::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<IpNetwork> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn forwarding_is_claimed_where_routes_were_found_and_never_after_a_reboot() {
        let v4: Families = [Family::Ipv4Unicast].into_iter().collect();
        assert_eq!(Comeback::of(false, false, []), Comeback::FIRST);
        let adopted = networks(&["10.244.0.0/26", "10.244.0.64/26"]);
        assert_eq!(Comeback::of(true, false, adopted), Comeback { restarted: true, forwarding: v4 });
        let both = networks(&["10.244.0.0/26", "fd00:10:244::/122"]);
        assert_eq!(Comeback::of(true, false, both.clone()).forwarding, Families::dual());
        assert_eq!(Comeback::of(true, true, both).forwarding, Families::NONE);
        assert_eq!(Comeback::of(true, true, []), Comeback { restarted: true, ..Comeback::FIRST });
    }
}
