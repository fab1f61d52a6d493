//! Routes as `ip -j route` tells them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::Context;
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

/// One route of a kernel's table. What `ip` leaves out has `ip`'s default.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Route {
    /// `default`, an address, or a prefix, as printed.
    pub dst: String,
    /// `unicast`, `blackhole`, …; `ip` leaves out unicast.
    #[serde(rename = "type", default = "unicast")]
    pub kind: String,
    /// The next hop.
    #[serde(default)]
    pub gateway: Option<IpAddr>,
    /// The device.
    #[serde(default)]
    pub dev: Option<String>,
    /// The number or name of who made it.
    #[serde(default)]
    pub protocol: Option<String>,
    /// `link`, or nothing for global.
    #[serde(default)]
    pub scope: Option<String>,
    /// The preferred source address.
    #[serde(default)]
    pub prefsrc: Option<IpAddr>,
    /// The priority; lower wins.
    #[serde(default)]
    pub metric: Option<u32>,
    /// `onlink`, `dead`, `linkdown`, …
    #[serde(default)]
    pub flags: Vec<String>,
    /// Several next hops.
    #[serde(default)]
    pub nexthops: Vec<BTreeMap<String, serde_json::Value>>,
}

fn unicast() -> String {
    "unicast".into()
}

impl Route {
    /// The destination as a network; `default` and one that cannot be read give none.
    pub fn destination(&self) -> Option<IpNetwork> {
        self.dst.parse().ok()
    }

    /// The route in `ip route`'s words, for tables and messages.
    pub fn words(&self) -> String {
        let mut words = Vec::new();
        if self.kind != "unicast" {
            words.push(self.kind.clone());
        }
        words.push(self.dst.clone());
        for (label, value) in [
            ("via", self.gateway.map(|gateway| gateway.to_string())),
            ("dev", self.dev.clone()),
            ("proto", self.protocol.clone()),
            ("scope", self.scope.clone()),
        ] {
            if let Some(value) = value {
                words.push(format!("{label} {value}"));
            }
        }
        words.join(" ")
    }
}

/// Reads the output of `ip -j route`.
pub fn read(json: &str) -> anyhow::Result<Vec<Route>> {
    if json.trim().is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(json).context("reading the output of `ip -j route`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_as_ip_prints_them() {
        let json = r#"[
            {"dst":"default","gateway":"172.30.0.1","dev":"eth0","flags":[]},
            {"type":"blackhole","dst":"10.244.1.0/26","protocol":"67","flags":[]},
            {"dst":"10.244.1.1","dev":"cali0123456789a","protocol":"67","scope":"link","flags":[]}]"#;
        let routes = read(json).unwrap();
        assert_eq!(routes[0].destination(), None);
        assert_eq!(routes[1].words(), "blackhole 10.244.1.0/26 proto 67");
        assert_eq!(routes[2].destination().unwrap().to_string(), "10.244.1.1/32");
        assert_eq!(routes[2].words(), "10.244.1.1 dev cali0123456789a proto 67 scope link");
    }

    #[test]
    fn no_output_is_no_routes() {
        assert!(read("").unwrap().is_empty());
    }
}
