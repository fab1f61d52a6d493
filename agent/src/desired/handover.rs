//! The change from one encapsulation to another on a live cluster: make before break.
//!
//! Nobody orders the change; each node follows three rules, from the pools and from what the others say of themselves in
//! their `NetworkNode`s.
//!
//! 1. A node whose pools ask for a tunnel makes its end, and says that it *receives* by it once the device is up; IPv4
//!    packets once the device has an IPv4 address as well: where it has none, the kernel's reverse path filter, loose as it
//!    may be, drops what comes by it from a source whose route leads elsewhere, as it still does before this node's own
//!    routes have changed. An end that has carried IPv6 for long may not have one yet.
//! 2. A node sends through a tunnel to another only when that one receives by it. Until then the route that stands
//!    stays (`desired::routes`).
//! 3. A node keeps its end while anyone says that it *sends* by it, and for [`LINGER`] after: what was sent is under way, and
//!    news of someone who has just begun may be too.
//!
//! A node says that it sends as soon as it is asked to, before the first packet, and until its last route through the
//! tunnel is replaced. So whichever nodes hear of the change first, each packet finds its other end open. What is promised
//! holds for packets that fit the smaller of the two ways' MTUs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use caracal_api::EncapsulationMode;
use caracal_api::network_node::TunnelDevice;
use caracal_linux::kernel::Underlay;

use super::surroundings::Surroundings;
use super::tunnels::{device, device_name, vtep};

/// How long a tunnel's end stays after the last who sent to it has said that it does not any more.
pub const LINGER: Duration = Duration::from_secs(5);

/// How long an end that stands waits for its address before packets are taken in by it.
pub const ADDRESS_PATIENCE: Duration = Duration::from_secs(3);

/// The ends of tunnels that this node has, or should.
pub type Ends = BTreeSet<TunnelDevice>;

/// What the others should know of this node's ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TunnelEnds {
    /// Those by which it takes IPv4 packets.
    pub receives_v4: Ends,
    /// Those by which it takes IPv6 packets.
    pub receives_v6: Ends,
    /// Those by which it sends, or may.
    pub sends: Ends,
}

/// The ends by which this node would send, as the pools ask and as far as its kernel can.
pub fn asked(around: &Surroundings) -> Ends {
    let mut ends = Ends::new();
    let (asked, ability) = (around.asked, &around.ability);
    if asked.ipip && ability.ipip.is_ok() {
        ends.insert(TunnelDevice::Ipip);
    }
    if asked.vxlan && ability.vxlan_v4.is_ok() {
        ends.insert(TunnelDevice::VxlanV4);
    }
    // The second device is for nodes that the first cannot reach.
    let beyond = || {
        let mut others = around.remotes().filter_map(|remote| vtep(ability, remote).ok());
        ability.vxlan_v4.is_err() || others.any(|end| end.device == device(TunnelDevice::VxlanV6))
    };
    if asked.vxlan && ability.vxlan_v6.is_ok() && beyond() {
        ends.insert(TunnelDevice::VxlanV6);
    }
    ends
}

/// The ends by which this node sends, or may at any moment. `used` are those that its routes lead through.
pub fn sends(around: &Surroundings, used: &Ends) -> Ends {
    asked(around).union(used).copied().collect()
}

/// The ends that this node has to have now.
pub fn needed(around: &Surroundings, used: &Ends) -> Ends {
    let others = around.remotes().flat_map(|remote| remote.sends.iter().copied());
    sends(around, used).into_iter().chain(others.filter(|end| can(around, *end))).collect()
}

/// How an end stands whose device is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// This node's pools ask it to carry IPv4.
    pub carries_v4: bool,
    /// Its device has an IPv4 address.
    pub addressed: bool,
}

/// The ends that are needed and whose device is up.
pub fn standing(around: &Surroundings, used: &Ends, links: &Underlay) -> BTreeMap<TunnelDevice, Standing> {
    let addressed = |end| links.addresses_of(&device(end)).any(|address| address.network.is_ipv4());
    let carries_v4 = |end: TunnelDevice| {
        around.pools.iter().any(|pool| {
            let mode = if end == TunnelDevice::Ipip { pool.ipip } else { pool.vxlan };
            pool.network.is_ipv4() && mode != EncapsulationMode::Never
        })
    };
    let up = |end: &TunnelDevice| links.link(&device(*end)).is_some_and(|link| link.up);
    let stands = |end| (end, Standing { carries_v4: carries_v4(end), addressed: addressed(end) });
    needed(around, used).into_iter().filter(up).map(stands).collect()
}

/// The ends by which IPv6 packets are taken in, where these stand.
pub fn receives_v6(standing: &BTreeMap<TunnelDevice, Standing>) -> Ends {
    standing.keys().copied().filter(|end| *end != TunnelDevice::Ipip).collect()
}

/// Tells by which ends IPv4 packets are taken in.
#[derive(Debug, Default)]
pub struct Opening {
    /// Since when each end waits that is asked to carry IPv4 and has no address.
    waits: BTreeMap<TunnelDevice, Instant>,
}

impl Opening {
    /// The ends by which IPv4 packets are taken in, where these stand, and when to look again. One that gets no address for
    /// long is taken as it is: a pool may have none left.
    pub fn update(
        &mut self,
        now: Instant,
        standing: &BTreeMap<TunnelDevice, Standing>,
    ) -> (Ends, Option<Instant>) {
        let waits = |stands: &Standing| stands.carries_v4 && !stands.addressed;
        self.waits.retain(|end, _| standing.get(end).is_some_and(waits));
        let (mut open, mut next) = (Ends::new(), None);
        for (end, stands) in standing {
            if stands.addressed {
                open.insert(*end);
            } else if stands.carries_v4 {
                let due = *self.waits.entry(*end).or_insert(now) + ADDRESS_PATIENCE;
                if due <= now {
                    open.insert(*end);
                } else {
                    next = Some(next.map_or(due, |other: Instant| other.min(due)));
                }
            }
        }
        (open, next)
    }
}

/// The ends that routes with these devices lead through.
pub fn of_devices<'a>(devices: impl Iterator<Item = &'a str>) -> Ends {
    let all = [TunnelDevice::Ipip, TunnelDevice::VxlanV4, TunnelDevice::VxlanV6];
    devices.filter_map(|name| all.into_iter().find(|end| device_name(*end) == name)).collect()
}

fn can(around: &Surroundings, end: TunnelDevice) -> bool {
    match end {
        TunnelDevice::Ipip => around.ability.ipip.is_ok(),
        TunnelDevice::VxlanV4 => around.ability.vxlan_v4.is_ok(),
        TunnelDevice::VxlanV6 => around.ability.vxlan_v6.is_ok(),
    }
}

/// Ends that stay for a while after they are needed.
#[derive(Debug, Default)]
pub struct Kept {
    /// Those that are not needed any more, and until when each stays.
    leaving: BTreeMap<TunnelDevice, Instant>,
    needed: Ends,
}

impl Kept {
    /// The ends to have now, where these are needed.
    pub fn update(&mut self, now: Instant, needed: Ends) -> Ends {
        for end in self.needed.difference(&needed) {
            self.leaving.insert(*end, now + LINGER);
        }
        self.leaving.retain(|end, until| *until > now && !needed.contains(end));
        self.needed = needed;
        self.needed.iter().chain(self.leaving.keys()).copied().collect()
    }

    /// When to look again.
    pub fn deadline(&self) -> Option<Instant> {
        self.leaving.values().min().copied()
    }
}

#[cfg(test)]
mod tests;
