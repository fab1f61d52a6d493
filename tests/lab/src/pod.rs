//! A pod: a network namespace that the plugin wired.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;
use ipnetwork::IpNetwork;
use serde_json::Value;

use crate::netns::Netns;
use crate::runtime::Attachment;

/// A wired pod.
#[derive(Debug)]
pub struct Pod {
    pub(crate) node: String,
    pub(crate) netns: Netns,
    pub(crate) attachment: Attachment,
    pub(crate) result: Value,
    addresses: Vec<IpAddr>,
    add_took: Duration,
}

impl Pod {
    pub(crate) fn new(
        node: &str,
        netns: Netns,
        attachment: Attachment,
        result: Value,
        add_took: Duration,
    ) -> anyhow::Result<Self> {
        let addresses = addresses(&result).with_context(|| format!("reading the result of ADD: {result}"))?;
        Ok(Self { node: node.to_owned(), netns, attachment, result, addresses, add_took })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.attachment.pod
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.attachment.namespace
    }

    /// The node it is on.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Its network namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Its addresses, in the order of the plugin's answer.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Its address of one family.
    pub fn address(&self, v6: bool) -> anyhow::Result<IpAddr> {
        let found = self.addresses.iter().find(|address| address.is_ipv6() == v6).copied();
        found.with_context(|| {
            format!("pod {} has no IPv{} address: {:?}", self.name(), if v6 { 6 } else { 4 }, self.addresses)
        })
    }

    /// The plugin's answer to ADD.
    pub fn result(&self) -> &Value {
        &self.result
    }

    /// How long the plugin's ADD took, as a runtime sees it: process and all.
    pub fn add_took(&self) -> Duration {
        self.add_took
    }

    /// What the plugin was asked about.
    pub fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// The device on the node's side, as the plugin's answer names it: the interface without a sandbox.
    pub fn host_device(&self) -> anyhow::Result<&str> {
        let interfaces = self.result.get("interfaces").and_then(Value::as_array);
        let outside =
            |one: &&Value| one.get("sandbox").and_then(Value::as_str).unwrap_or_default().is_empty();
        let found = interfaces.and_then(|all| all.iter().find(outside));
        found
            .and_then(|one| one.get("name"))
            .and_then(Value::as_str)
            .with_context(|| format!("the answer to ADD names no interface on the host: {}", self.result))
    }
}

fn addresses(result: &Value) -> anyhow::Result<Vec<IpAddr>> {
    let ips = result.get("ips").and_then(Value::as_array).context("it has no `ips`")?;
    let networks = ips.iter().map(|ip| {
        let text = ip.get("address").and_then(Value::as_str).context("an entry of `ips` has no `address`")?;
        text.parse::<IpNetwork>()
            .map(|network| network.ip())
            .with_context(|| format!("`{text}` is no address"))
    });
    networks.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_are_read_from_the_result() {
        let result = json!({"ips": [{"address": "10.244.0.3/32"}, {"address": "fd00:244::3/128"}]});
        let read = addresses(&result).unwrap();
        assert_eq!(read, ["10.244.0.3".parse::<IpAddr>().unwrap(), "fd00:244::3".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn a_result_without_addresses_is_refused() {
        assert!(addresses(&json!({"interfaces": []})).is_err());
        assert!(addresses(&json!({"ips": [{"address": "ten"}]})).is_err());
    }
}
