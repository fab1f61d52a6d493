//! What ADD answers: interfaces, addresses, routes.
//!
//! One shape inside, written in the version that was asked for: 0.3 and 0.4 name the family of each address, 1.1 adds MTUs.
//! Others in the chain rely on details. The bandwidth plugin wants the host's end among the interfaces, with an empty
//! sandbox; portmap takes the first address of each family whose interface is the container's, by index; container runtimes
//! refuse an index that is out of range.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::{Code, Error};
use crate::version::Version;

/// The result of ADD, also as `prevResult` of later calls.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Success {
    /// All devices made or changed: the host's end first.
    #[serde(deserialize_with = "absent_or")]
    pub interfaces: Vec<Interface>,
    /// The addresses given.
    #[serde(deserialize_with = "absent_or")]
    pub ips: Vec<Ip>,
    /// The routes made in the container.
    #[serde(deserialize_with = "absent_or")]
    pub routes: Vec<Route>,
    /// Name servers, as they stand in the configuration.
    pub dns: Option<Value>,
}

/// A device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its Ethernet address.
    pub mac: Option<String>,
    /// Its MTU in bytes; written from 1.1 on.
    pub mtu: Option<u32>,
    /// The path of its namespace; none for the host's.
    pub sandbox: Option<String>,
    /// What others in the chain said of it besides.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// An address.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Ip {
    /// With its prefix length; host bits are kept.
    pub address: IpNetwork,
    /// Where the container sends what is not local.
    pub gateway: Option<IpAddr>,
    /// Which of [`Success::interfaces`] holds it.
    pub interface: Option<usize>,
    /// What others in the chain said of it besides.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Route {
    /// Where to.
    pub dst: IpNetwork,
    /// By which gateway; none if directly.
    pub gw: Option<IpAddr>,
    /// What others in the chain said of it besides.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Success {
    /// Reads a result of any version that is spoken.
    pub fn parse(value: Value) -> Result<Self, Error> {
        serde_json::from_value(value).map_err(|error| {
            Error::new(Code::Decoding, format!("the result in prevResult cannot be read: {error}"))
        })
    }

    /// Puts what was made before in the chain in front, and moves the indexes of our own interfaces accordingly.
    #[must_use]
    pub fn after(mut self, previous: Option<Success>) -> Self {
        let Some(mut all) = previous else { return self };
        let shift = all.interfaces.len();
        for ip in &mut self.ips {
            ip.interface = ip.interface.map(|index| index + shift);
        }
        all.interfaces.append(&mut self.interfaces);
        all.ips.append(&mut self.ips);
        all.routes.append(&mut self.routes);
        all.dns = self.dns.or(all.dns);
        all
    }

    /// The JSON to print.
    pub fn to_json(&self, version: Version) -> Value {
        let mut object = Map::new();
        object.insert("cniVersion".to_owned(), version.as_str().into());
        let interfaces: Vec<Value> = self.interfaces.iter().map(|i| i.to_json(version)).collect();
        let ips: Vec<Value> = self.ips.iter().map(|ip| ip.to_json(version)).collect();
        let routes: Vec<Value> = self.routes.iter().map(Route::to_json).collect();
        for (key, list) in [("interfaces", interfaces), ("ips", ips), ("routes", routes)] {
            if !list.is_empty() {
                object.insert(key.to_owned(), Value::Array(list));
            }
        }
        object.insert("dns".to_owned(), self.dns.clone().unwrap_or_else(|| json!({})));
        Value::Object(object)
    }
}

impl Interface {
    fn to_json(&self, version: Version) -> Value {
        let mut object = self.other.clone();
        object.insert("name".to_owned(), self.name.as_str().into());
        if let Some(mac) = &self.mac {
            object.insert("mac".to_owned(), mac.as_str().into());
        }
        if let Some(mtu) = self.mtu.filter(|_| version.has_gc_and_status()) {
            object.insert("mtu".to_owned(), mtu.into());
        }
        if let Some(sandbox) = self.sandbox.as_deref().filter(|sandbox| !sandbox.is_empty()) {
            object.insert("sandbox".to_owned(), sandbox.into());
        }
        Value::Object(object)
    }
}

impl Ip {
    fn to_json(&self, version: Version) -> Value {
        let mut object = self.other.clone();
        object.remove("version");
        if version.names_families() {
            let family = if self.address.is_ipv4() { "4" } else { "6" };
            object.insert("version".to_owned(), family.into());
        }
        object.insert("address".to_owned(), self.address.to_string().into());
        if let Some(gateway) = self.gateway {
            object.insert("gateway".to_owned(), gateway.to_string().into());
        }
        if let Some(interface) = self.interface {
            object.insert("interface".to_owned(), interface.into());
        }
        Value::Object(object)
    }
}

impl Route {
    fn to_json(&self) -> Value {
        let mut object = self.other.clone();
        object.insert("dst".to_owned(), self.dst.to_string().into());
        if let Some(gateway) = self.gw {
            object.insert("gw".to_owned(), gateway.to_string().into());
        }
        Value::Object(object)
    }
}

/// Some runtimes write `null` for an empty list.
fn absent_or<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Success {
        let interface = |name: &str, sandbox: Option<&str>| Interface {
            name: name.to_owned(),
            mac: Some("ee:ee:ee:ee:ee:ee".to_owned()),
            mtu: Some(1450),
            sandbox: sandbox.map(str::to_owned),
            other: Map::new(),
        };
        let ip = |address: &str, gateway: &str| Ip {
            address: address.parse().unwrap(),
            gateway: Some(gateway.parse().unwrap()),
            interface: Some(1),
            other: Map::new(),
        };
        let route = |dst: &str, gw: &str| Route {
            dst: dst.parse().unwrap(),
            gw: Some(gw.parse().unwrap()),
            other: Map::new(),
        };
        Success {
            interfaces: vec![interface("cali0", None), interface("eth0", Some("/run/netns/a"))],
            ips: vec![ip("10.244.0.5/32", "169.254.1.1"), ip("fd00:244::5/128", "fe80::1")],
            routes: vec![route("0.0.0.0/0", "169.254.1.1"), route("::/0", "fe80::1")],
            dns: None,
        }
    }

    #[test]
    fn each_version_gets_its_shape() {
        for version in Version::ALL {
            let found = pod().to_json(version);
            let (old, new) = (version < Version::V1_0_0, version >= Version::V1_1_0);
            let ip = |family: &str, address: &str, gateway: &str| {
                let mut ip = json!({"address": address, "gateway": gateway, "interface": 1});
                if old {
                    ip["version"] = family.into();
                }
                ip
            };
            let interface = |name: &str, sandbox: Option<&str>| {
                let mut interface = json!({"name": name, "mac": "ee:ee:ee:ee:ee:ee"});
                if let Some(sandbox) = sandbox {
                    interface["sandbox"] = sandbox.into();
                }
                if new {
                    interface["mtu"] = 1450.into();
                }
                interface
            };
            let wanted = json!({
                "cniVersion": version.as_str(),
                "interfaces": [interface("cali0", None), interface("eth0", Some("/run/netns/a"))],
                "ips": [ip("4", "10.244.0.5/32", "169.254.1.1"), ip("6", "fd00:244::5/128", "fe80::1")],
                "routes": [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}, {"dst": "::/0", "gw": "fe80::1"}],
                "dns": {},
            });
            assert_eq!(found, wanted, "{version}");
        }
    }

    #[test]
    fn a_result_comes_back_as_prev_result_in_every_version() {
        for version in Version::ALL {
            let back = Success::parse(pod().to_json(version)).unwrap();
            let places = |success: &Success| success.ips.iter().map(|ip| ip.address).collect::<Vec<_>>();
            assert_eq!((places(&back), &back.routes), (places(&pod()), &pod().routes), "{version}");
            assert_eq!(back.to_json(version), pod().to_json(version));
            assert_eq!(back.interfaces.len(), 2);
        }
        let nulls = json!({"interfaces": null, "ips": null, "routes": null});
        assert_eq!(Success::parse(nulls).unwrap(), Success::default());
    }

    #[test]
    fn what_others_said_is_passed_on_though_it_is_not_known() {
        let said = json!({
            "cniVersion": "1.1.0", "dns": {"nameservers": ["10.0.0.2"]},
            "interfaces": [{"name": "vf0", "pciID": "0000:3b:02.0", "socketPath": "/run/x", "mtu": 9000}],
            "ips": [{"address": "10.0.0.3/24", "interface": 0, "later": true}],
            "routes": [{"dst": "10.1.0.0/16", "mtu": 1400, "table": 100, "scope": 253}],
        });
        assert_eq!(Success::parse(said.clone()).unwrap().to_json(Version::V1_1_0), said);
    }

    #[test]
    fn what_came_before_in_the_chain_stays_and_indexes_move() {
        let lo = Interface { name: "lo".into(), ..Interface::default() };
        let before = Success { interfaces: vec![lo.clone()], ..Success::default() };
        let all = pod().after(Some(before));
        assert_eq!(all.interfaces[0], lo);
        for ip in &all.ips {
            assert_eq!(all.interfaces[ip.interface.unwrap()].name, "eth0");
        }
        assert_eq!(pod().after(None), pod());
    }
}
