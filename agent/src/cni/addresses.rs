//! Which addresses a pod is to get: families, pools, and particular ones that were asked for.
//!
//! A particular address may be asked for in four places, and the first that says anything wins: the pod's annotation
//! `ipAddrs`, the capability `ips`, `args.cni.ips`, and `IP=` of old. Pools come from the pod's annotations `ipv4pools` and
//! `ipv6pools`, else from its namespace's, else from the configuration. Annotations are read under `caracal.dev/` and, so that
//! manifests carry over, under Calico's prefix. Without any wish a pod gets one address of each family that has a pool in use.

use std::collections::BTreeMap;
use std::net::IpAddr;

use caracal_api::IpPool;
use caracal_cni::config::NetworkConfig;
use caracal_cni::environment::Target;
use caracal_cni::{Code, Error};
use caracal_ipam::{Attributes, Purpose, Want, WantFamilies};
use ipnetwork::IpNetwork;
use k8s_openapi::api::core::v1::Namespace;

use crate::attachments::AttachmentKey;
use crate::cluster::snapshot::Snapshot;

/// Where annotations are looked for, in this order.
const PREFIXES: [&str; 2] = ["caracal.dev", "cni.projectcalico.org"];

/// What to ask the allocator for.
pub(super) fn wanted(
    key: &AttachmentKey,
    target: &Target,
    config: &NetworkConfig,
    pools: &Snapshot<IpPool>,
    namespace: Option<&Namespace>,
) -> Result<Want, Error> {
    let annotations = config.runtime.annotations.as_ref();
    let requested = requested(target, config, annotations)?;
    let of_namespace = namespace.and_then(|n| n.metadata.annotations.as_ref());
    let listed = |name: &str, configured: &[String]| {
        let own = annotation("pod", annotations, name)?;
        let list = own.map_or_else(|| annotation("namespace", of_namespace, name), |list| Ok(Some(list)))?;
        Ok::<_, Error>(list.unwrap_or_else(|| configured.to_vec()))
    };
    let mut named = listed("ipv4pools", &config.ipam.ipv4_pools)?;
    named.extend(listed("ipv6pools", &config.ipam.ipv6_pools)?);
    let pod = target.args.pod.as_ref();
    Ok(Want {
        handle: key.handle(),
        families: families(config, pools),
        requested,
        pools: (!named.is_empty()).then_some(named),
        attributes: Attributes {
            kind: Purpose::Workload,
            namespace: pod.map(|pod| pod.namespace.clone()).unwrap_or_default(),
            pod: pod.map(|pod| pod.name.clone()).unwrap_or_default(),
            interface: target.interface.to_string(),
            namespace_labels: namespace.and_then(|n| n.metadata.labels.clone()).unwrap_or_default(),
        },
    })
}

fn families(config: &NetworkConfig, pools: &Snapshot<IpPool>) -> WantFamilies {
    let in_use = |v4: bool| {
        pools.values().any(|pool| {
            !pool.spec.disabled && pool.spec.network().is_some_and(|network| network.is_ipv4() == v4)
        })
    };
    let v4 = config.ipam.assign_ipv4.unwrap_or_else(|| in_use(true));
    let v6 = config.ipam.assign_ipv6.unwrap_or_else(|| in_use(false));
    // With no pool at all the allocator is asked nevertheless: it says best what is missing.
    WantFamilies { v4: v4 || !v6, v6 }
}

fn requested(
    target: &Target,
    config: &NetworkConfig,
    annotations: Option<&BTreeMap<String, String>>,
) -> Result<Vec<IpAddr>, Error> {
    let (from, texts) = if let Some(list) = annotation("pod", annotations, "ipAddrs")? {
        ("the annotation ipAddrs", list)
    } else if !config.runtime.ips.is_empty() {
        ("runtimeConfig.ips", config.runtime.ips.clone())
    } else if !config.args_ips.is_empty() {
        ("args.cni.ips", config.args_ips.clone())
    } else {
        ("IP in CNI_ARGS", target.args.ip.iter().cloned().collect())
    };
    let addresses: Result<Vec<IpAddr>, Error> = texts.iter().map(|text| address(from, text)).collect();
    let addresses = addresses?;
    for v4 in [true, false] {
        if addresses.iter().filter(|address| address.is_ipv4() == v4).count() > 1 {
            let family = if v4 { "IPv4" } else { "IPv6" };
            let msg = format!("{from} asks for more than one {family} address ({})", texts.join(", "));
            return Err(Error::new(Code::InvalidConfiguration, msg));
        }
    }
    Ok(addresses)
}

/// An address with or without a prefix length; a pod's own is always /32 or /128.
fn address(from: &str, text: &str) -> Result<IpAddr, Error> {
    let network: Result<IpNetwork, _> = text.parse();
    network.map(|network| network.ip()).map_err(|_| {
        let msg = format!("{from} asks for `{text}`, which is no IP address");
        Error::new(Code::InvalidConfiguration, msg)
    })
}

/// An annotation's text, with its key.
pub(super) fn annotated<'a>(
    annotations: &'a BTreeMap<String, String>,
    name: &str,
) -> Option<(String, &'a str)> {
    PREFIXES.iter().find_map(|prefix| {
        let key = format!("{prefix}/{name}");
        annotations.get(&key).map(|text| (format!("the pod's annotation {key}"), text.as_str()))
    })
}

/// The list that an annotation holds as JSON.
pub(super) fn annotation(
    whose: &str,
    annotations: Option<&BTreeMap<String, String>>,
    name: &str,
) -> Result<Option<Vec<String>>, Error> {
    let Some(annotations) = annotations else { return Ok(None) };
    let found = PREFIXES.iter().find_map(|prefix| {
        let key = format!("{prefix}/{name}");
        annotations.get(&key).map(|text| (key, text))
    });
    let Some((key, text)) = found else { return Ok(None) };
    serde_json::from_str(text).map(Some).map_err(|error| {
        let msg =
            format!("the {whose}'s annotation {key} must be a JSON list of texts, found {text}: {error}");
        Error::new(Code::InvalidConfiguration, msg)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use caracal_cni::environment::{Command, Environment};
    use serde_json::{Value, json};

    fn pools(cidrs: &[(&str, bool)]) -> Snapshot<IpPool> {
        let pool = |(cidr, disabled): &(&str, bool)| -> IpPool {
            serde_json::from_value(json!({
                "apiVersion": "caracal.dev/v1", "kind": "IPPool", "metadata": {"name": cidr.replace(['.', ':', '/'], "-")},
                "spec": {"cidr": cidr, "disabled": disabled},
            }))
            .unwrap()
        };
        cidrs.iter().map(pool).collect()
    }

    fn want_in(
        namespace: Option<&Namespace>,
        extra: Value,
        args: &str,
        pools: &Snapshot<IpPool>,
    ) -> Result<Want, Error> {
        let mut config = json!({"cniVersion": "1.1.0", "name": "net"});
        config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let config = NetworkConfig::parse(config.to_string().as_bytes()).unwrap();
        let environment: Environment =
            [("CNI_CONTAINERID", "c"), ("CNI_IFNAME", "eth0"), ("CNI_ARGS", args)].into_iter().collect();
        let target = environment.target(Command::Add).unwrap();
        let key = AttachmentKey { network: "net".into(), container: "c".into(), interface: "eth0".into() };
        wanted(&key, &target, &config, pools, namespace)
    }

    fn want(extra: Value, args: &str, pools: &Snapshot<IpPool>) -> Result<Want, Error> {
        want_in(None, extra, args, pools)
    }

    fn namespace() -> Namespace {
        let annotations = json!({"cni.projectcalico.org/ipv6pools": "[\"of-namespace\"]"});
        let metadata = json!({"name": "n", "labels": {"team": "a"}, "annotations": annotations});
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    #[test]
    fn a_pod_gets_the_families_that_have_a_pool_in_use_unless_told_otherwise() {
        let (v4, v6) = (("10.244.0.0/16", false), ("fd00::/48", false));
        let none = json!({});
        let table = [
            (vec![v4, v6], none.clone(), WantFamilies::DUAL),
            (vec![v4], none.clone(), WantFamilies::V4),
            (vec![v6], none.clone(), WantFamilies::V6),
            (vec![v4, ("fd00::/48", true)], none.clone(), WantFamilies::V4),
            (vec![], none, WantFamilies::V4),
            (vec![v4, v6], json!({"ipam": {"assign_ipv6": false}}), WantFamilies::V4),
            (vec![v4, v6], json!({"ipam": {"assign_ipv4": false}}), WantFamilies::V6),
        ];
        for (cidrs, extra, families) in table {
            let want = want(extra.clone(), "", &pools(&cidrs)).unwrap();
            assert_eq!(want.families, families, "{cidrs:?} {extra}");
            assert_eq!((want.requested, want.pools), (vec![], None));
        }
    }

    #[test]
    fn the_first_place_that_asks_for_an_address_wins() {
        let annotation = json!({"io.kubernetes.cri.pod-annotations": {"cni.projectcalico.org/ipAddrs": "[\"10.0.0.1\"]"},
                                "ips": ["10.0.0.2/32"]});
        let args = json!({"cni": {"ips": ["10.0.0.3"]}});
        let table = [
            (json!({"runtimeConfig": annotation, "args": args}), "10.0.0.1"),
            (json!({"runtimeConfig": {"ips": ["10.0.0.2/32"]}, "args": args}), "10.0.0.2"),
            (json!({"args": args}), "10.0.0.3"),
            (json!({}), "10.0.0.4"),
        ];
        for (extra, wanted) in table {
            let want = want(extra, "IP=10.0.0.4", &pools(&[])).unwrap();
            assert_eq!(want.requested, [wanted.parse::<IpAddr>().unwrap()]);
        }
    }

    #[test]
    fn wishes_that_cannot_be_are_told_with_their_place() {
        let table = [
            (json!({"runtimeConfig": {"ips": ["10.0.0.x"]}}), "runtimeConfig.ips"),
            (json!({"args": {"cni": {"ips": ["10.0.0.1", "10.0.0.2"]}}}), "more than one IPv4"),
            (
                json!({"runtimeConfig": {"io.kubernetes.cri.pod-annotations": {"caracal.dev/ipv4pools": "a"}}}),
                "caracal.dev/ipv4pools",
            ),
        ];
        for (extra, says) in table {
            let error = want(extra, "", &pools(&[])).unwrap_err();
            assert_eq!(error.code, Code::InvalidConfiguration);
            assert!(error.msg.contains(says), "{}", error.msg);
        }
    }

    #[test]
    fn pools_of_the_pods_annotation_come_before_the_configured_ones() {
        let ipam = json!({"ipv4_pools": ["configured"], "ipv6_pools": ["six"]});
        let annotations = json!({"caracal.dev/ipv4pools": "[\"asked\"]"});
        let extra =
            json!({"ipam": ipam, "runtimeConfig": {"io.kubernetes.cri.pod-annotations": annotations}});
        assert_eq!(want(extra, "", &pools(&[])).unwrap().pools.unwrap(), ["asked", "six"]);
        let extra = json!({"ipam": ipam});
        assert_eq!(want(extra, "", &pools(&[])).unwrap().pools.unwrap(), ["configured", "six"]);
    }
    #[test]
    fn a_namespace_chooses_pools_where_its_pod_does_not() {
        let namespace = namespace();
        let pools = pools(&[]);
        let configured = json!({"ipam": {"ipv4_pools": ["four"], "ipv6_pools": ["six"]}});
        let of_namespace = want_in(Some(&namespace), configured, "", &pools).unwrap();
        assert_eq!(of_namespace.pools.unwrap(), ["four", "of-namespace"]);
        assert_eq!(of_namespace.attributes.namespace_labels["team"], "a");
        let annotations = json!({"caracal.dev/ipv6pools": "[\"of-pod\"]"});
        let extra = json!({"runtimeConfig": {"io.kubernetes.cri.pod-annotations": annotations}});
        let of_pod = want_in(Some(&namespace), extra, "", &pools).unwrap();
        assert_eq!(of_pod.pools.unwrap(), ["of-pod"]);
    }
}
