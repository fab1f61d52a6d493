//! The network configuration: the JSON that the runtime writes to the plugin's standard input.
//!
//! Keys that caracal does not know are left alone: runtimes and tools add their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

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
    /// How addresses are given.
    pub ipam: IpamConfig,
    /// What the runtime adds for this call.
    pub runtime: RuntimeConfig,
    /// Addresses wanted by `args.cni.ips`.
    pub args_ips: Vec<String>,
    /// Name servers to hand on.
    pub dns: Option<Value>,
    /// What ran before in the chain, or at ADD for a later call.
    pub previous: Option<Success>,
    /// The attachments that GC must leave.
    pub valid_attachments: Vec<ValidAttachment>,
}

/// The part `ipam` of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IpamConfig {
    /// Only `caracal`, or absent.
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

/// What the runtime adds for capabilities that the configuration asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RuntimeConfig {
    /// Addresses wanted, with or without a prefix length.
    pub ips: Vec<String>,
    /// The hardware address wanted.
    pub mac: Option<String>,
    /// The pod's annotations, as containerd passes them.
    #[serde(rename = "io.kubernetes.cri.pod-annotations")]
    pub annotations: Option<BTreeMap<String, String>>,
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
        if let Some(kind) = raw.ipam.kind.as_deref().filter(|kind| *kind != "caracal") {
            let msg = format!(
                "ipam.type is `{kind}` in the network {}: only `caracal`, or leaving it out, is supported",
                raw.name
            );
            return Err(Error::new(Code::UnsupportedField, msg));
        }
        let previous = match raw.prev_result {
            None | Some(Value::Null) => None,
            Some(value) => Some(Success::parse(value)?),
        };
        Ok(Self {
            version,
            name: raw.name,
            socket: raw.socket.unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET)),
            mtu: raw.mtu.filter(|mtu| *mtu != 0),
            ipam: raw.ipam,
            runtime: raw.runtime_config.unwrap_or_default(),
            args_ips: raw.args.unwrap_or_default().cni.ips,
            dns: raw.dns.filter(|dns| dns.as_object().is_some_and(|dns| !dns.is_empty())),
            previous,
            valid_attachments: raw.valid_attachments.or(raw.legacy_attachments).unwrap_or_default(),
        })
    }

    /// The file whose age tells whether the agent is well: it lies beside the socket.
    pub fn heartbeat(&self) -> PathBuf {
        self.socket.parent().unwrap_or(Path::new("/")).join("heartbeat")
    }
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
                json!({"cniVersion": "1.0.0", "name": "a", "ipam": {"type": "host-local"}}),
                Code::UnsupportedField,
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
