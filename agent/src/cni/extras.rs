//! What a pod asks for beyond its addresses, by annotations: `allowedSourcePrefixes`, in whose name it may speak, and
//! `floatingIPs`, addresses that lead to it wherever it runs.
//!
//! Whoever may write a pod's annotations would be whoever it likes by the first, and take traffic by the second. So each counts
//! only where the configuration allows it (`feature_control`), and is refused elsewhere rather than passed over.
//!
//! A floating address is no address of a block: a block belongs to a node, and the pod may move to another. It must lie in a pool,
//! since the network believes nodes about pools only, and in one from which no pod gets an address by itself.

use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;

use caracal_api::{AssignmentMode, IpPool};
use caracal_cni::config::NetworkConfig;
use caracal_cni::{Code, Error};
use ipnetwork::IpNetwork;

use super::addresses::annotation;
use crate::attachments::{Attachment, Extras};
use crate::cluster::snapshot::Snapshot;

/// How many of each a pod may have: every one is a rule that packets of all pods pass.
const MOST: usize = 16;

/// What is asked for, as far as the pod's addresses do not matter.
pub(super) fn wanted(config: &NetworkConfig, pools: &Snapshot<IpPool>) -> Result<Extras, Error> {
    let features = config.features;
    let sources = list(config, "allowedSourcePrefixes", features.allowed_source_prefixes)?;
    let sources: Vec<IpNetwork> = sources.into_iter().map(|prefix: IpNetwork| masked(prefix)).collect();
    if let Some(all) = sources.iter().find(|prefix| prefix.prefix() == 0) {
        return Err(invalid(format!(
            "the pod's annotation allowedSourcePrefixes names {all}, which would be every address"
        )));
    }
    let floating: Vec<IpAddr> = list(config, "floatingIPs", features.floating_ips)?;
    floating.iter().try_for_each(|address| can_float(*address, pools))?;
    Ok(Extras { sources, floating })
}

/// Whether the rest of it can be: the pod's own addresses, and what others on this node have.
pub(super) fn fits(asked: &Extras, own: &[IpAddr], others: &[Attachment]) -> Result<(), Error> {
    for floating in &asked.floating {
        if !own.iter().any(|own| own.is_ipv4() == floating.is_ipv4()) {
            let family = if floating.is_ipv4() { "IPv4" } else { "IPv6" };
            return Err(invalid(format!(
                "the floating address {floating} can lead nowhere: the pod has no {family} address"
            )));
        }
        if let Some(other) = others.iter().find(|other| other.extras.floating.contains(floating)) {
            return Err(invalid(format!(
                "the floating address {floating} leads to attachment {} on this node already",
                other.key
            )));
        }
    }
    Ok(())
}

fn list<T: FromStr<Err: Display>>(
    config: &NetworkConfig,
    name: &str,
    allowed: bool,
) -> Result<Vec<T>, Error> {
    let Some(texts) = annotation("pod", config.runtime.annotations.as_ref(), name)? else {
        return Ok(Vec::new());
    };
    if !texts.is_empty() && !allowed {
        let (key, flag) = match name {
            "floatingIPs" => ("floating_ips", "--cni-floating-ips"),
            _ => ("allowed_source_prefixes", "--cni-allowed-source-prefixes"),
        };
        return Err(invalid(format!(
            "the pod's annotation {name} is not allowed here: an administrator allows it by `feature_control.{key}` in the \
             network configuration, which the agent writes when it is started with {flag}"
        )));
    }
    if texts.len() > MOST {
        return Err(invalid(format!(
            "the pod's annotation {name} names {}, and at most {MOST} are taken",
            texts.len()
        )));
    }
    let read = |text: &String| {
        text.parse().map_err(|error| invalid(format!("the pod's annotation {name} names `{text}`: {error}")))
    };
    texts.iter().map(read).collect()
}

fn can_float(address: IpAddr, pools: &Snapshot<IpPool>) -> Result<(), Error> {
    let inside =
        |pool: &&std::sync::Arc<IpPool>| pool.spec.network().is_some_and(|range| range.contains(address));
    let Some(pool) = pools.values().find(inside) else {
        return Err(invalid(format!(
            "the floating address {address} lies in no IPPool, and the network believes nodes about pools only: make a pool \
             around it with `disabled: true`"
        )));
    };
    let name = pool.metadata.name.as_deref().unwrap_or_default();
    if !pool.spec.disabled && pool.spec.assignment_mode == AssignmentMode::Automatic {
        return Err(invalid(format!(
            "the floating address {address} lies in IPPool {name}, of which any pod may get that address: take one of a pool \
             with `disabled: true` or `assignmentMode: Manual`"
        )));
    }
    Ok(())
}

fn masked(prefix: IpNetwork) -> IpNetwork {
    IpNetwork::new(prefix.network(), prefix.prefix()).unwrap_or(prefix)
}

fn invalid(why: String) -> Error {
    Error::new(Code::InvalidConfiguration, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pools() -> Snapshot<IpPool> {
        let pool = |(name, spec): (&str, Value)| IpPool::new(name, serde_json::from_value(spec).unwrap());
        [
            ("open", json!({"cidr": "10.244.0.0/16"})),
            ("off", json!({"cidr": "10.250.0.0/24", "disabled": true})),
            ("hand", json!({"cidr": "fd00:250::/64", "assignmentMode": "Manual"})),
        ]
        .into_iter()
        .map(pool)
        .collect()
    }

    fn asked(annotation: &str, value: &str, allowed: bool) -> Result<Extras, Error> {
        let config = json!({
            "cniVersion": "1.0.0", "name": "net",
            "feature_control": {"floating_ips": allowed, "allowed_source_prefixes": allowed},
            "runtimeConfig": {"io.kubernetes.cri.pod-annotations": {format!("cni.projectcalico.org/{annotation}"): value}},
        });
        wanted(&NetworkConfig::parse(config.to_string().as_bytes()).unwrap(), &pools())
    }

    #[test]
    fn prefixes_lose_their_host_bits_and_floating_addresses_lie_in_pools_that_give_none() {
        let sources = asked("allowedSourcePrefixes", r#"["198.51.100.7/24", "192.0.2.9"]"#, true).unwrap();
        assert_eq!(sources.sources, ["198.51.100.0/24", "192.0.2.9/32"].map(|text| text.parse().unwrap()));
        let floating = asked("floatingIPs", r#"["10.250.0.9", "fd00:250::9"]"#, true).unwrap();
        assert_eq!(floating.floating.len(), 2);
        assert!(asked("floatingIPs", "[]", false).unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_to_do() {
        let many = json!(vec!["10.250.0.9"; MOST + 1]).to_string();
        let table = [
            ("floatingIPs", r#"["10.250.0.9"]"#, false, "--cni-floating-ips"),
            ("allowedSourcePrefixes", r#"["10.0.0.0/8"]"#, false, "feature_control.allowed_source_prefixes"),
            ("floatingIPs", r#"["10.244.0.9"]"#, true, "IPPool open"),
            ("floatingIPs", r#"["203.0.113.9"]"#, true, "no IPPool"),
            ("floatingIPs", r#"["10.250.0.0/24"]"#, true, "10.250.0.0/24"),
            ("floatingIPs", "10.250.0.9", true, "JSON list"),
            ("floatingIPs", &many, true, "at most 16"),
            ("allowedSourcePrefixes", r#"["::/0"]"#, true, "every address"),
        ];
        for (annotation, value, allowed, says) in table {
            let error = asked(annotation, value, allowed).unwrap_err();
            assert_eq!(error.code, Code::InvalidConfiguration);
            assert!(error.msg.contains(says), "{value}: {}", error.msg);
        }
    }

    #[test]
    fn a_floating_address_needs_an_address_of_its_family_to_lead_to() {
        let asked = Extras { floating: vec!["fd00:250::9".parse().unwrap()], ..Extras::default() };
        assert!(fits(&asked, &["fd00:244::5".parse().unwrap()], &[]).is_ok());
        let error = fits(&asked, &["10.244.0.5".parse().unwrap()], &[]).unwrap_err();
        assert!(error.msg.contains("no IPv6 address"), "{}", error.msg);
    }
}
