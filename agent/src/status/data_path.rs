//! Conditions about what packets can do: the kernel's features, the nftables table, other programs' firewalls.

use std::collections::BTreeMap;

use caracal_api::conditions::Verdict;
use caracal_linux::features::Features;
use caracal_linux::kernel::Refusals;
use caracal_linux::nft::Standing;

use super::{no, yes};
use crate::attachments::{Attachment, Phase};
use crate::desired::surroundings::Surroundings;

/// Whether the kernel has what the pools ask for.
pub(super) fn kernel_features(features: &Features, around: &Surroundings) -> Verdict {
    const TYPE: &str = "KernelFeatures";
    let needed = [
        ("ipip", &features.ipip, around.asked.ipip),
        ("vxlan", &features.vxlan, around.asked.vxlan),
        ("nftables", &features.nftables, true),
    ];
    let missing: Vec<String> = needed
        .iter()
        .filter(|(.., asked)| *asked)
        .filter_map(|(name, feature, _)| feature.reason().map(|why| format!("{name}: {why}")))
        .collect();
    if missing.is_empty() {
        return yes(TYPE, "OK");
    }
    no(TYPE, "Missing", missing.join("; "))
}

/// How often each reason occurs among what is not in the kernel as wanted.
pub(super) fn refused_by_reason(refusals: &Refusals) -> BTreeMap<String, usize> {
    let mut reasons = BTreeMap::new();
    for refused in &refusals.first {
        *reasons.entry(refused.code()).or_default() += 1;
    }
    reasons
}

/// Whether running pods send packets no larger than the ways between nodes carry. A pod's MTU is set when it starts.
pub(super) fn pod_mtu(attachments: &[Attachment], now: u32) -> Verdict {
    const TYPE: &str = "PodMTU";
    let pods = attachments.iter().filter(|one| matches!(one.phase, Phase::Ready));
    let mut large: Vec<&Attachment> = pods.filter(|one| one.mtu > now).collect();
    large.sort_by(|a, b| b.mtu.cmp(&a.mtu).then_with(|| a.key.cmp(&b.key)));
    let Some(first) = large.first() else { return yes(TYPE, "OK") };
    let name = first.pod.as_ref().map_or_else(
        || format!("container {}", first.key.container),
        |pod| format!("pod {}/{}", pod.namespace, pod.name),
    );
    let message = format!(
        "{} of the pods here were started with a larger MTU than the {now} bytes that the network carries now, such as {name} \
         with {}: their large packets may be lost; start them anew",
        large.len(),
        first.mtu
    );
    no(TYPE, "TooLarge", message)
}

/// Whether the nftables table is as wanted.
pub(super) fn filter(standing: Option<&Standing>) -> Verdict {
    const TYPE: &str = "FilterProgrammed";
    match standing {
        None => no(
            TYPE,
            "NoNftables",
            "natOutgoing is not carried out and tunnels are not guarded: the kernel has no nftables"
                .to_owned(),
        ),
        Some(standing) => match &standing.refused {
            None => yes(TYPE, "OK"),
            Some(refused) => no(TYPE, "Refused", refused.to_string()),
        },
    }
}

/// Whether another program's firewall drops what is forwarded. A rule of its own may accept pods, which cannot be told from
/// here: so this is a warning, and the node stays ready.
pub(super) fn forwarding(standing: Option<&Standing>) -> Verdict {
    const TYPE: &str = "ForwardingAllowed";
    let drops = standing.map(|standing| standing.forward_drops.as_slice()).unwrap_or_default();
    let Some(first) = drops.first() else { return yes(TYPE, "OK") };
    let others = if drops.len() > 1 { format!(" (and {} more)", drops.len() - 1) } else { String::new() };
    let message = format!(
        "{first}{others} drops what is forwarded unless a rule of its own accepts it, and pods' packets with it; set its \
         policy to accept (such as `iptables -P FORWARD ACCEPT`), or accept what comes from and goes to the devices cali+"
    );
    no(TYPE, "ForwardDrop", message)
}

#[cfg(test)]
mod tests {
    use caracal_linux::features::Feature;
    use caracal_linux::nft::ForwardDrop;

    use super::super::Surroundings;
    use super::*;
    use crate::desired::tunnels::Asked;

    fn features() -> Features {
        let present = || Feature::Present;
        Features {
            ipv6: present(),
            ipip: Feature::Missing("the kernel has no ipip devices".to_owned()),
            vxlan: present(),
            wireguard: Feature::Missing("no wireguard".to_owned()),
            nftables: present(),
        }
    }

    #[test]
    fn a_feature_is_missed_only_where_it_is_asked_for() {
        let mut around =
            Surroundings { asked: Asked { ipip: false, vxlan: true }, ..Surroundings::default() };
        assert_eq!(kernel_features(&features(), &around).status, Some(true));
        around.asked.ipip = true;
        let verdict = kernel_features(&features(), &around);
        assert_eq!(
            (verdict.status, verdict.message.as_str()),
            (Some(false), "ipip: the kernel has no ipip devices")
        );
    }

    #[test]
    fn a_dropping_chain_is_named_with_a_remedy() {
        assert_eq!(forwarding(Some(&Standing::default())).status, Some(true));
        let drop = ForwardDrop { family: "ip", table: "filter".into(), chain: "FORWARD".into() };
        let standing = Standing { forward_drops: vec![drop], ..Standing::default() };
        let verdict = forwarding(Some(&standing));
        assert!(verdict.message.starts_with("chain FORWARD of table ip filter drops"), "{}", verdict.message);
        assert!(verdict.message.contains("iptables -P FORWARD ACCEPT"));
    }
}
