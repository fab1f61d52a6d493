//! Where a collector listens.

use std::fmt;
use std::str::FromStr;

/// A host, by name or address, and a port: `collector.example:5000`, `192.0.2.1:1790`, `[2001:db8::1]:5000`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort(String);

/// What is no [`HostPort`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no host with a port: write for example collector.example:5000 or [2001:db8::1]:5000")]
pub struct IllegalHostPort(pub String);

impl FromStr for HostPort {
    type Err = IllegalHostPort;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.rsplit_once(':').filter(|(host, port)| {
            // An IPv6 address stands in brackets, as elsewhere before a port.
            let bracketed = host.starts_with('[') && host.ends_with(']');
            let named = !host.is_empty() && !host.contains([':', '[', ']', ' ']);
            (bracketed || named) && port.parse::<u16>().is_ok_and(|port| port != 0)
        });
        parts.map(|_| HostPort(text.to_owned())).ok_or_else(|| IllegalHostPort(text.to_owned()))
    }
}

impl AsRef<str> for HostPort {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_a_host_with_a_port() {
        for good in ["collector.example:5000", "192.0.2.1:1790", "[2001:db8::1]:5000"] {
            assert_eq!(good.parse::<HostPort>().unwrap().as_ref(), good);
        }
        for bad in ["192.0.2.1", ":5000", "2001:db8::1", "2001:db8::1:5000", "a:0", "a:70000", "a b:5000", ""]
        {
            let refused = bad.parse::<HostPort>().unwrap_err();
            assert!(refused.to_string().contains("is no host with a port"), "{bad}");
        }
    }
}
