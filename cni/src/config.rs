//! The network configuration: the JSON that the runtime writes to the plugin's standard input.
//!
//! Keys that caracal does not know are left alone: runtimes and tools add their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::environment::is_identifier;
use crate::error::{Code, Error};
use crate::result::Success;
use crate::version::Version;

/// Where the agent listens, unless the configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/caracal/cni.sock";

/// A network configuration that has been checked.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkConfig {
    /// The version in which results and errors are written.
    pub version: Version,
    /// The name of the network.
    pub name: String,
    /// The agent's socket.
    pub socket: PathBuf,
    /// The MTU of pods' interfaces in bytes, if it is set by hand.
    pub mtu: Option<u32>,
    /// What the plugin was started as.
    pub role: Role,
    /// How addresses are given.
    pub ipam: IpamConfig,
    /// The other IPAM plugin that gives the addresses, if it is not caracal that does.
    pub delegate: Option<String>,
    /// Whether the pod's annotations about bandwidth are to be carried out, although no runtime passes them on as a capability.
    pub bandwidth: bool,
    /// What pods may ask for beyond the usual.
    pub features: FeatureControl,
    /// What the runtime adds for this call.
    pub runtime: RuntimeConfig,
    /// Addresses wanted by `args.cni.ips`.
    pub args_ips: Vec<String>,
    /// Name servers to hand on: the runtime's, else the network's.
    pub dns: Option<Value>,
    /// What ran before in the chain, or at ADD for a later call.
    pub previous: Option<Success>,
    /// The attachments that GC must leave.
    pub valid_attachments: Vec<ValidAttachment>,
}

/// What the plugin was started as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// To make the interface of a container.
    Main,
    /// To give addresses for an interface that another plugin makes: `ipam.type` is caracal, `type` is not.
    Ipam,
}

/// The names under which the plugin is installed, or built.
const NAMES: [&str; 2] = ["caracal", "caracal-cni"];

/// The part `ipam` of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IpamConfig {
    /// Who gives addresses: caracal, if it is absent.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Whether pods get IPv4 addresses; by default if there is an IPv4 pool.
    pub assign_ipv4: Option<bool>,
    /// Whether pods get IPv6 addresses; by default if there is an IPv6 pool.
    pub assign_ipv6: Option<bool>,
    /// Names or CIDRs of the IPv4 pools to use.
    pub ipv4_pools: Vec<String>,
    /// Names or CIDRs of the IPv6 pools to use.
    pub ipv6_pools: Vec<String>,
}

/// What pods may ask for by annotations that could harm others: nothing, unless an administrator says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct FeatureControl {
    /// Addresses that lead to the pod wherever it runs (`floatingIPs`).
    pub floating_ips: bool,
    /// Prefixes in whose name the pod may speak (`allowedSourcePrefixes`).
    pub allowed_source_prefixes: bool,
}

/// What the runtime adds for capabilities that the configuration asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RuntimeConfig {
    /// Addresses wanted, with or without a prefix length.
    pub ips: Vec<String>,
    /// The hardware address wanted.
    pub mac: Option<String>,
    /// How much may pass.
    pub bandwidth: Option<Bandwidth>,
    /// Name servers for the pod.
    pub dns: NameServers,
    /// The pod's annotations, as containerd passes them.
    #[serde(rename = "io.kubernetes.cri.pod-annotations")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// Name servers, as runtimes pass them on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NameServers {
    /// Their addresses.
    pub servers: Vec<String>,
    /// Domains in which names are looked for.
    pub searches: Vec<String>,
    /// Options of the resolver.
    pub options: Vec<String>,
}

impl NameServers {
    /// As results tell them; none if there is nothing to tell.
    fn told(&self) -> Option<Value> {
        let any = !(self.servers.is_empty() && self.searches.is_empty() && self.options.is_empty());
        any.then(|| json!({"nameservers": self.servers, "search": self.searches, "options": self.options}))
    }
}

/// How much may pass: rates in bits a second, bursts in bits. Zero is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Bandwidth {
    /// Towards the pod.
    pub ingress_rate: u64,
    /// Towards the pod, at once.
    pub ingress_burst: u64,
    /// From the pod.
    pub egress_rate: u64,
    /// From the pod, at once.
    pub egress_burst: u64,
}

/// One attachment that the runtime still knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct ValidAttachment {
    /// Its container.
    #[serde(rename = "containerID")]
    pub container: String,
    /// Its interface.
    #[serde(rename = "ifname")]
    pub interface: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    name: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    bandwidth: bool,
    #[serde(default, rename = "feature_control")]
    features: FeatureControl,
    socket: Option<PathBuf>,
    mtu: Option<u32>,
    #[serde(default)]
    ipam: IpamConfig,
    #[serde(default)]
    runtime_config: Option<RuntimeConfig>,
    #[serde(default)]
    args: Option<RawArgs>,
    dns: Option<Value>,
    prev_result: Option<Value>,
    #[serde(rename = "cni.dev/valid-attachments")]
    valid_attachments: Option<Vec<ValidAttachment>>,
    #[serde(rename = "cni.dev/attachments")]
    legacy_attachments: Option<Vec<ValidAttachment>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawArgs {
    cni: RawCniArgs,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawCniArgs {
    ips: Vec<String>,
}

impl NetworkConfig {
    /// The version that a configuration asks for, as far as one can be made out: for writing errors about the rest of it.
    pub fn version_of(stdin: &[u8]) -> Version {
        #[derive(Deserialize)]
        struct Only {
            #[serde(rename = "cniVersion")]
            version: String,
        }
        let asked = serde_json::from_slice::<Only>(stdin).ok().and_then(|only| only.version.parse().ok());
        asked.unwrap_or(Version::NEWEST)
    }

    /// Reads and checks what came on standard input.
    pub fn parse(stdin: &[u8]) -> Result<Self, Error> {
        let value: Value = serde_json::from_slice(stdin).map_err(|error| {
            Error::new(
                Code::Decoding,
                format!("the network configuration on standard input is no JSON: {error}"),
            )
        })?;
        let version = match value.get("cniVersion") {
            None => "",
            Some(Value::String(text)) => text.as_str(),
            Some(other) => return Err(invalid(format!("cniVersion must be a text, found {other}"))),
        };
        let version: Version = version.parse()?;
        let raw: Raw = serde_json::from_value(value).map_err(|error| invalid(error.to_string()))?;
        if !is_identifier(&raw.name) {
            return Err(invalid(format!(
                "`{}` is no name of a network: letters, digits, `.`, `_` and `-`, a letter or digit first",
                raw.name
            )));
        }
        let own = |name: &String| NAMES.contains(&name.as_str());
        let (role, delegate) = match (&raw.kind, &raw.ipam.kind) {
            (Some(main), Some(ipam)) if own(ipam) && !own(main) => (Role::Ipam, None),
            (_, Some(ipam)) if !own(ipam) => (Role::Main, Some(plugin_name(ipam)?)),
            (_, Some(_) | None) => (Role::Main, None),
        };
        let previous = match raw.prev_result {
            None | Some(Value::Null) => None,
            Some(value) => Some(Success::parse(value)?),
        };
        let runtime = raw.runtime_config.unwrap_or_default();
        let dns = raw.dns.filter(|dns| dns.as_object().is_some_and(|dns| !dns.is_empty()));
        Ok(Self {
            version,
            name: raw.name,
            socket: raw.socket.unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET)),
            mtu: raw.mtu.filter(|mtu| *mtu != 0),
            role,
            ipam: raw.ipam,
            delegate,
            bandwidth: raw.bandwidth,
            features: raw.features,
            dns: runtime.dns.told().or(dns),
            runtime,
            args_ips: raw.args.unwrap_or_default().cni.ips,
            previous,
            valid_attachments: raw.valid_attachments.or(raw.legacy_attachments).unwrap_or_default(),
        })
    }

    /// The file whose age tells whether the agent is well: it lies beside the socket.
    pub fn heartbeat(&self) -> PathBuf {
        self.folder().join("heartbeat")
    }

    /// The folder of the agent's socket.
    pub fn folder(&self) -> &Path {
        self.socket.parent().unwrap_or(Path::new("/"))
    }
}

/// The name of a plugin, as a file in one of the folders of plugins.
fn plugin_name(name: &str) -> Result<String, Error> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(invalid(format!("ipam.type is `{name}`, which names no plugin")));
    }
    Ok(name.to_owned())
}

fn invalid(why: String) -> Error {
    Error::new(Code::InvalidConfiguration, format!("the network configuration is invalid: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(value: Value) -> Result<NetworkConfig, Error> {
        NetworkConfig::parse(value.to_string().as_bytes())
    }

    #[test]
    fn a_plain_configuration_gets_the_defaults() {
        let config = parse(json!({"cniVersion": "1.0.0", "name": "net", "type": "caracal-cni"})).unwrap();
        assert_eq!((config.version, config.name.as_str()), (Version::V1_0_0, "net"));
        assert_eq!(config.socket, Path::new(DEFAULT_SOCKET));
        assert_eq!(config.heartbeat(), Path::new("/run/caracal/heartbeat"));
        assert_eq!(config.previous, None);
        assert!(config.valid_attachments.is_empty() && config.runtime.ips.is_empty());
    }

    #[test]
    fn everything_a_runtime_adds_is_read() {
        let config = parse(json!({
            "cniVersion": "1.1.0", "name": "net", "type": "caracal-cni", "socket": "/tmp/a/cni.sock", "mtu": 1400,
            "capabilities": {"ips": true}, "unknown": {"a": 1},
            "ipam": {"type": "caracal", "assign_ipv6": false, "ipv4_pools": ["a"]},
            "runtimeConfig": {"ips": ["10.0.0.5/32"], "mac": "02:00:00:00:00:01", "portMappings": [],
                              "io.kubernetes.cri.pod-annotations": {"k": "v"}},
            "args": {"cni": {"ips": ["10.0.0.6"], "labels": []}},
            "dns": {"nameservers": ["10.96.0.10"]},
            "prevResult": {"cniVersion": "1.1.0", "interfaces": [{"name": "lo", "sandbox": "/x"}]},
            "cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}],
        }))
        .unwrap();
        assert_eq!(config.heartbeat(), Path::new("/tmp/a/heartbeat"));
        assert_eq!(config.mtu, Some(1400));
        assert_eq!(config.ipam.assign_ipv6, Some(false));
        assert_eq!(config.runtime.ips, ["10.0.0.5/32"]);
        assert_eq!(config.runtime.annotations.unwrap()["k"], "v");
        assert_eq!(config.args_ips, ["10.0.0.6"]);
        assert_eq!(config.previous.unwrap().interfaces[0].name, "lo");
        let valid = ValidAttachment { container: "c1".into(), interface: "eth0".into() };
        assert_eq!(config.valid_attachments, [valid]);
        assert_eq!(config.dns, Some(json!({"nameservers": ["10.96.0.10"]})));
    }

    #[test]
    fn the_runtimes_name_servers_come_before_the_networks() {
        let config = parse(json!({
            "cniVersion": "1.1.0", "name": "net", "dns": {"nameservers": ["10.96.0.10"]},
            "runtimeConfig": {"dns": {"servers": ["10.0.0.2"], "searches": ["a.example"], "options": ["ndots:5"]}},
        }))
        .unwrap();
        let told = json!({"nameservers": ["10.0.0.2"], "search": ["a.example"], "options": ["ndots:5"]});
        assert_eq!(config.dns, Some(told));
    }

    #[test]
    fn who_gives_addresses_to_whom_follows_from_both_types() {
        let table = [
            (json!({"type": "caracal"}), Role::Main, None),
            (json!({"type": "renamed"}), Role::Main, None),
            (json!({"type": "caracal", "ipam": {"type": "caracal"}}), Role::Main, None),
            (json!({"type": "ptp", "ipam": {"type": "caracal"}}), Role::Ipam, None),
            (json!({"type": "caracal", "ipam": {"type": "host-local"}}), Role::Main, Some("host-local")),
        ];
        for (mut value, role, delegate) in table {
            value["cniVersion"] = "1.0.0".into();
            value["name"] = "n".into();
            let config = parse(value.clone()).unwrap();
            assert_eq!((config.role, config.delegate.as_deref()), (role, delegate), "{value}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_code() {
        let table = [
            (json!({"cniVersion": "1.0.0"}), Code::InvalidConfiguration),
            (json!({"cniVersion": "1.0.0", "name": "-a"}), Code::InvalidConfiguration),
            (json!({"cniVersion": "1.0.0", "name": "a", "mtu": "x"}), Code::InvalidConfiguration),
            (json!({"cniVersion": 1, "name": "a"}), Code::InvalidConfiguration),
            (json!({"name": "a"}), Code::IncompatibleVersion),
            (json!({"cniVersion": "0.2.0", "name": "a"}), Code::IncompatibleVersion),
            (
                json!({"cniVersion": "1.0.0", "name": "a", "ipam": {"type": "../evil"}}),
                Code::InvalidConfiguration,
            ),
            (json!({"cniVersion": "1.0.0", "name": "a", "prevResult": {"ips": 3}}), Code::Decoding),
        ];
        for (value, code) in table {
            assert_eq!(parse(value.clone()).unwrap_err().code, code, "{value}");
        }
        assert_eq!(NetworkConfig::parse(b"not json").unwrap_err().code, Code::Decoding);
        assert_eq!(NetworkConfig::parse(b"").unwrap_err().code, Code::Decoding);
    }

    #[test]
    fn errors_are_written_in_the_asked_version_even_if_the_rest_is_broken() {
        assert_eq!(NetworkConfig::version_of(br#"{"cniVersion": "0.4.0", "name": 7}"#), Version::V0_4_0);
        assert_eq!(NetworkConfig::version_of(br#"{"cniVersion": "9.0.0"}"#), Version::NEWEST);
        assert_eq!(NetworkConfig::version_of(b"{"), Version::NEWEST);
    }
}
