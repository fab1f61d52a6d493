//! The MTU of pods: the uplink's, less what the encapsulations in use add.
//!
//! An encapsulation counts once any pool asks for it, even across subnets only: a pod's MTU is fixed at its start, and
//! packets that do not fit a tunnel are lost or fragmented.

use caracal_api::{EncapsulationMode, IpPool};

use crate::cluster::Snapshot;

/// Bytes that IP in IP adds to a packet (one IPv4 header).
pub const IPIP_OVERHEAD: u32 = 20;
/// Bytes that VXLAN over IPv4 adds (IPv4, UDP, VXLAN, Ethernet).
pub const VXLAN_V4_OVERHEAD: u32 = 50;
/// Bytes that VXLAN over IPv6 adds.
pub const VXLAN_V6_OVERHEAD: u32 = 70;
/// The least a pod gets: what IPv6 demands of every link (RFC 8200 §5).
pub const LEAST: u32 = 1280;

/// The MTU of new pods, in bytes.
///
/// `uplink` is the smallest MTU of the devices that carry the node's addresses; `underlay_v4` whether all tunnels can run
/// over IPv4.
pub fn pod_mtu(uplink: u32, underlay_v4: bool, pools: &Snapshot<IpPool>) -> u32 {
    let asks = |mode: fn(&IpPool) -> EncapsulationMode| {
        pools.values().any(|pool| mode(pool) != EncapsulationMode::Never)
    };
    let ipip = if asks(|p| p.spec.ipip_mode) { IPIP_OVERHEAD } else { 0 };
    let over = if underlay_v4 { VXLAN_V4_OVERHEAD } else { VXLAN_V6_OVERHEAD };
    let vxlan = if asks(|p| p.spec.vxlan_mode) { over } else { 0 };
    uplink.saturating_sub(ipip.max(vxlan)).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pools(modes: &[(&str, &str)]) -> Snapshot<IpPool> {
        let pool = |(number, (ipip, vxlan)): (usize, &(&str, &str))| {
            let spec = json!({"cidr": "10.244.0.0/16", "ipipMode": ipip, "vxlanMode": vxlan});
            IpPool::new(&format!("p{number}"), serde_json::from_value(spec).unwrap())
        };
        modes.iter().enumerate().map(pool).collect()
    }

    #[test]
    fn the_largest_overhead_in_use_is_taken_off() {
        assert_eq!(pod_mtu(1500, true, &pools(&[("Never", "Never")])), 1500);
        assert_eq!(pod_mtu(1500, true, &pools(&[("CrossSubnet", "Never")])), 1480);
        assert_eq!(pod_mtu(9000, true, &pools(&[("Always", "Never"), ("Never", "Always")])), 8950);
        assert_eq!(pod_mtu(1500, false, &pools(&[("Never", "CrossSubnet")])), 1430);
        assert_eq!(pod_mtu(1300, true, &pools(&[("Never", "Always")])), 1280);
    }
}
