//! How much may pass to and from a pod: asked for by the capability `bandwidth`, which runtimes make of the pod's annotations
//! `kubernetes.io/ingress-bandwidth` and `egress-bandwidth`, or, where the configuration says `"bandwidth": true`, by these
//! annotations themselves; and before these by `ingressBandwidth`, `ingressBurst`, `egressBandwidth` and `egressBurst` under
//! `caracal.dev/` or Calico's prefix for QoS. What else Calico knows there is not carried out, and the pod is told so.
//!
//! It is for nodes without the stock plugin `bandwidth`; in a chain with that one the capability belongs to it alone. Towards the
//! pod the host's end of the veth is limited, from it the pod's end: whoever may change that could as well change its
//! addresses, and a packet that waits there holds back its sender, which one dropped on the host does not.

use std::collections::BTreeMap;

use caracal_cni::config::{Bandwidth, NetworkConfig};
use caracal_cni::{Code, Error};
use caracal_linux::netlink::shape::Shape;

use crate::desired::pod::Shapes;

/// Rates that Kubernetes takes, in bits a second.
const RATES: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000_000_000;
/// The smallest burst in bytes: the largest packet that a device hands on as one.
const SMALLEST_BURST: u64 = 128 << 10;
/// Where no burst is asked for, it is what passes in the 50th part of a second.
const BURSTS_A_SECOND: u64 = 50;

/// Where a pod's own wishes are looked for, in this order.
const OWN: [&str; 2] = ["caracal.dev", "qos.projectcalico.org"];
/// What they are.
const OWN_NAMES: [&str; 4] = ["ingressBandwidth", "ingressBurst", "egressBandwidth", "egressBurst"];

/// What is asked for.
pub(super) fn wanted(config: &NetworkConfig) -> Result<Shapes, Error> {
    let asked = match (&config.runtime.bandwidth, &config.runtime.annotations) {
        (Some(asked), _) => *asked,
        (None, Some(annotations)) if config.bandwidth => Bandwidth {
            ingress_rate: annotated(annotations, "kubernetes.io/ingress-bandwidth")?,
            egress_rate: annotated(annotations, "kubernetes.io/egress-bandwidth")?,
            ..Bandwidth::default()
        },
        (None, _) => Bandwidth::default(),
    };
    let own = |name| own(config, name);
    let asked = Bandwidth {
        ingress_burst: burst(&own, "ingress", asked.ingress_burst)?,
        ingress_rate: own("ingressBandwidth")?.unwrap_or(asked.ingress_rate),
        egress_burst: burst(&own, "egress", asked.egress_burst)?,
        egress_rate: own("egressBandwidth")?.unwrap_or(asked.egress_rate),
    };
    Ok(Shapes {
        towards: shape(asked.ingress_rate, asked.ingress_burst),
        from: shape(asked.egress_rate, asked.egress_burst),
    })
}

/// What the pod asks for of which nothing becomes.
pub(super) fn passed_over(config: &NetworkConfig) -> Vec<&str> {
    let annotations = config.runtime.annotations.iter().flatten().map(|(key, _)| key.as_str());
    let known = |name: &str| OWN_NAMES.contains(&name);
    let unknown = |key: &&str| {
        key.strip_prefix(OWN[1]).and_then(|rest| rest.strip_prefix('/')).is_some_and(|name| !known(name))
    };
    annotations.filter(unknown).collect()
}

/// A number that the pod's own annotation gives, if there is one.
fn own(config: &NetworkConfig, name: &str) -> Result<Option<u64>, Error> {
    let Some(annotations) = &config.runtime.annotations else { return Ok(None) };
    let key = OWN.iter().map(|prefix| format!("{prefix}/{name}")).find(|key| annotations.contains_key(key));
    key.map(|key| annotated(annotations, &key)).transpose()
}

/// A burst belongs to the rate beside which it was given.
fn burst(
    own: &impl Fn(&'static str) -> Result<Option<u64>, Error>,
    direction: &str,
    passed: u64,
) -> Result<u64, Error> {
    let [rate, burst] = if direction == "ingress" {
        ["ingressBandwidth", "ingressBurst"]
    } else {
        ["egressBandwidth", "egressBurst"]
    };
    let otherwise = if own(rate)?.is_some() { 0 } else { passed };
    Ok(own(burst)?.unwrap_or(otherwise))
}

fn shape(rate: u64, burst: u64) -> Option<Shape> {
    let bytes = rate / 8;
    // Runtimes that know no burst write the largest number of 32 bits.
    let asked = (burst != 0 && burst < u64::from(u32::MAX)).then_some(burst / 8);
    let burst = asked.unwrap_or(bytes / BURSTS_A_SECOND).max(SMALLEST_BURST);
    (bytes > 0).then(|| Shape { rate: bytes, burst: u32::try_from(burst).unwrap_or(u32::MAX) })
}

fn annotated(annotations: &BTreeMap<String, String>, key: &str) -> Result<u64, Error> {
    let Some(text) = annotations.get(key) else { return Ok(0) };
    quantity(text).filter(|rate| RATES.contains(rate)).ok_or_else(|| {
        let msg = format!(
            "the pod's annotation {key} is `{text}`: bits a second from 1k to 1P are wanted, as in 10M or 512Ki"
        );
        Error::new(Code::InvalidConfiguration, msg)
    })
}

/// A quantity as Kubernetes writes it, as far as whole numbers go.
fn quantity(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 11] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("Pi", 1 << 50),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("P", 1_000_000_000_000_000),
        ("", 1),
    ];
    let (unit, factor) = UNITS.into_iter().find(|(unit, _)| text.ends_with(unit))?;
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    number.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn shapes(extra: Value) -> Result<Shapes, Error> {
        let mut config = json!({"cniVersion": "1.0.0", "name": "n"});
        config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        wanted(&NetworkConfig::parse(config.to_string().as_bytes()).unwrap())
    }

    #[test]
    fn quantities_are_those_of_kubernetes() {
        let table = [
            ("10M", Some(10_000_000)),
            ("1k", Some(1000)),
            ("512Ki", Some(524_288)),
            ("1P", Some(1_000_000_000_000_000)),
            ("8000", Some(8000)),
            ("", None),
            ("10m", None),
            ("-1M", None),
            ("99999999999P", None),
        ];
        for (text, wanted) in table {
            assert_eq!(quantity(text), wanted, "{text}");
        }
    }

    #[test]
    fn the_capability_counts_and_an_unknown_burst_follows_from_the_rate() {
        let asked = json!({"runtimeConfig": {"bandwidth": {"ingressRate": 80_000_000, "ingressBurst": 4_294_967_295_u32,
                                                           "egressRate": 8_000_000_000_u64, "egressBurst": 16_000_000}}});
        let found = shapes(asked).unwrap();
        assert_eq!(found.towards, Some(Shape { rate: 10_000_000, burst: 200_000 }));
        assert_eq!(found.from, Some(Shape { rate: 1_000_000_000, burst: 2_000_000 }));
        assert_eq!(shapes(json!({})).unwrap(), Shapes::default());
    }

    #[test]
    fn own_annotations_come_first_and_a_burst_goes_with_its_rate() {
        let annotations = json!({"qos.projectcalico.org/ingressBandwidth": "8M", "caracal.dev/egressBandwidth": "16M",
                                 "qos.projectcalico.org/egressBurst": "4M", "qos.projectcalico.org/ingressPacketRate": "1k"});
        let passed = json!({"ingressRate": 1000, "ingressBurst": 16_000_000, "egressRate": 1000});
        let runtime =
            json!({"runtimeConfig": {"io.kubernetes.cri.pod-annotations": annotations, "bandwidth": passed}});
        let found = shapes(runtime.clone()).unwrap();
        assert_eq!(found.towards, Some(Shape { rate: 1_000_000, burst: 128 << 10 }));
        assert_eq!(found.from, Some(Shape { rate: 2_000_000, burst: 500_000 }));
        let mut config = json!({"cniVersion": "1.0.0", "name": "n"});
        config["runtimeConfig"] = runtime["runtimeConfig"].clone();
        let config = NetworkConfig::parse(config.to_string().as_bytes()).unwrap();
        assert_eq!(passed_over(&config), ["qos.projectcalico.org/ingressPacketRate"]);
    }

    #[test]
    fn annotations_count_only_where_the_configuration_says_so() {
        let annotations =
            json!({"io.kubernetes.cri.pod-annotations": {"kubernetes.io/egress-bandwidth": "8M"}});
        assert_eq!(shapes(json!({"runtimeConfig": annotations})).unwrap(), Shapes::default());
        let found = shapes(json!({"runtimeConfig": annotations, "bandwidth": true})).unwrap();
        assert_eq!((found.towards, found.from.map(|shape| shape.rate)), (None, Some(1_000_000)));
        let bad = json!({"io.kubernetes.cri.pod-annotations": {"kubernetes.io/ingress-bandwidth": "fast"}});
        let error = shapes(json!({"runtimeConfig": bad, "bandwidth": true})).unwrap_err();
        assert!(error.msg.contains("fast") && error.msg.contains("10M"), "{error}");
    }
}
