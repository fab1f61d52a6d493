//! Addresses that another IPAM plugin has given: our plugin has asked it, and passes its result on.
//!
//! They are routed like our own, as /32 and /128 behind the pod's device, whatever prefix the other plugin names: there is no
//! common link on which neighbours could be found. Nothing of them enters our allocator. Announcing their range is the
//! business of whoever gave it to the node.

use caracal_cni::config::NetworkConfig;
use caracal_cni::result::Success;
use caracal_cni::{Code, Error};
use ipnetwork::IpNetwork;
use serde_json::Value;

use crate::attachments::Address;

/// What was given.
#[derive(Debug)]
pub(super) struct Given {
    /// One address a family at most.
    pub(super) addresses: Vec<Address>,
    /// Name servers.
    pub(super) dns: Option<Value>,
}

/// Reads the result of the plugin that the configuration names, if it names one.
pub(super) fn given(config: &NetworkConfig, result: Option<Value>) -> Result<Option<Given>, Error> {
    let Some(name) = &config.delegate else { return Ok(None) };
    let invalid =
        |code, why: String| Error::new(code, format!("the result of the IPAM plugin {name}: {why}"));
    let result = result.ok_or_else(|| {
        invalid(
            Code::Internal,
            "our own plugin passed none; it is older than the agent: install it anew".to_owned(),
        )
    })?;
    let result = Success::parse(result).map_err(|error| invalid(Code::Decoding, error.msg))?;
    let mut ips: Vec<_> = result.ips.iter().map(|ip| ip.address.ip()).collect();
    ips.sort();
    for v4 in [true, false] {
        let of_family: Vec<String> =
            ips.iter().filter(|ip| ip.is_ipv4() == v4).map(ToString::to_string).collect();
        if of_family.len() > 1 {
            let why = format!("more than one address of a family ({})", of_family.join(", "));
            return Err(invalid(Code::UnsupportedField, why));
        }
    }
    if ips.is_empty() {
        return Err(invalid(Code::InvalidConfiguration, "it gives no address".to_owned()));
    }
    let dns = result.dns.filter(|dns| dns.as_object().is_some_and(|dns| !dns.is_empty()));
    let addresses = ips.into_iter().map(|ip| Address::Foreign(IpNetwork::from(ip))).collect();
    Ok(Some(Given { addresses, dns }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(ipam: &str) -> NetworkConfig {
        let text = json!({"cniVersion": "1.0.0", "name": "n", "type": "caracal", "ipam": {"type": ipam}});
        NetworkConfig::parse(text.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn what_another_plugin_gives_becomes_single_addresses() {
        let result = json!({"cniVersion": "1.0.0", "dns": {"nameservers": ["10.0.0.2"]},
                            "ips": [{"address": "fd00:1::5/64"}, {"address": "10.1.0.5/24", "gateway": "10.1.0.1"}]});
        let given = given(&config("host-local"), Some(result)).unwrap().unwrap();
        let wanted = ["10.1.0.5/32", "fd00:1::5/128"].map(|text| Address::Foreign(text.parse().unwrap()));
        assert_eq!(given.addresses, wanted);
        assert_eq!(given.dns.unwrap()["nameservers"][0], "10.0.0.2");
    }

    #[test]
    fn what_cannot_be_done_is_told_with_the_plugins_name() {
        let two = json!({"ips": [{"address": "10.1.0.5/24"}, {"address": "10.1.0.6/24"}]});
        for result in [None, Some(json!({"ips": 1})), Some(json!({})), Some(two)] {
            let error = given(&config("host-local"), result).unwrap_err();
            assert!(error.msg.contains("host-local"), "{error}");
        }
        assert!(given(&config("caracal"), None).unwrap().is_none());
    }
}
