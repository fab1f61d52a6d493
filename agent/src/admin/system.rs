//! The kernel's features beside what the cluster asks for.

use caracal_linux::features::Features;
use caracal_proto::v1::SystemFeature;

use crate::desired::surroundings::Surroundings;

/// The kernel's release, as `uname -r` prints it.
pub(super) fn kernel_release() -> String {
    nix::sys::utsname::uname()
        .map(|names| names.release().to_string_lossy().into_owned())
        .unwrap_or_else(|error| format!("unknown ({error})"))
}

/// Every feature that this node may use.
pub(super) fn features(features: &Features, around: &Surroundings) -> Vec<SystemFeature> {
    let v6_pools = around.pools.iter().any(|pool| pool.network.is_ipv6());
    let all = [
        ("ipv6", "pools of IPv6 addresses", &features.ipv6, v6_pools),
        ("ipip", "pools with ipipMode", &features.ipip, around.asked.ipip),
        ("vxlan", "pools with vxlanMode", &features.vxlan, around.asked.vxlan),
        ("nftables", "natOutgoing, and guarding tunnels and pods", &features.nftables, true),
    ];
    all.into_iter()
        .map(|(name, purpose, feature, needed)| SystemFeature {
            name: name.to_owned(),
            purpose: purpose.to_owned(),
            present: feature.is_present(),
            needed,
            reason: feature.reason().unwrap_or_default().to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::tunnels::Asked;
    use caracal_linux::features::Feature;

    #[test]
    fn what_is_needed_follows_the_pools_and_what_is_missing_says_why() {
        let missing = Feature::Missing("install its module".to_owned());
        let have = Features {
            ipv6: Feature::Present,
            ipip: missing.clone(),
            vxlan: Feature::Present,
            wireguard: missing,
            nftables: Feature::Present,
        };
        let asked = Asked { ipip: true, vxlan: false };
        let around = Surroundings { asked, ..Surroundings::default() };
        let told: Vec<String> = features(&have, &around)
            .iter()
            .map(|one| format!("{} {} {} {}", one.name, one.present, one.needed, one.reason))
            .collect();
        assert_eq!(
            told,
            [
                "ipv6 true false ",
                "ipip false true install its module",
                "vxlan true false ",
                "nftables true true ",
            ]
        );
    }
}
