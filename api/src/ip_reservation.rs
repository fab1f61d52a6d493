//! `IPReservation`: addresses that are never given out.

use ipnetwork::IpNetwork;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::block_cidr::masked;

/// Addresses that are never given out, though they lie inside pools.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[kube(
    group = "caracal.dev",
    version = "v1",
    kind = "IPReservation",
    root = "IpReservation",
    plural = "ipreservations",
    singular = "ipreservation",
    shortname = "ipr",
    category = "caracal",
    derive = "PartialEq",
    doc = "Addresses that are never given out, though they lie inside pools.",
    printcolumn(name = "CIDRs", type_ = "string", json_path = ".spec.reservedCIDRs")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.reservedCIDRs.all(c, isCIDR(c) || isIP(c))").message("reservedCIDRs must be networks such as 10.244.0.0/30, or addresses")
)]
pub struct IpReservationSpec {
    /// Networks or single addresses. Addresses in use stay in use; they are not given out again.
    #[serde(default, rename = "reservedCIDRs")]
    #[schemars(length(max = 256), inner(length(min = 2, max = 48)))]
    pub reserved_cidrs: Vec<String>,
}

impl IpReservationSpec {
    /// The networks, those that can be read (the schema refuses others).
    pub fn networks(&self) -> impl Iterator<Item = IpNetwork> {
        self.reserved_cidrs.iter().filter_map(|text| text.parse().ok()).map(masked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_addresses_are_networks_of_one() {
        let cidrs = ["10.244.0.7/30", "fd00::1", "nonsense"].map(str::to_owned).into();
        let found: Vec<String> =
            IpReservationSpec { reserved_cidrs: cidrs }.networks().map(|n| n.to_string()).collect();
        assert_eq!(found, ["10.244.0.4/30", "fd00::1/128"]);
    }
}
