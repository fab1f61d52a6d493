//! Values of `[[bmp]]`.

use caracal_bgp::bmp::message::View;

use super::value::{FromText, word};

/// A host, by name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort(pub(crate) String);

impl FromText for HostPort {
    fn from_text(text: &str) -> Result<Self, String> {
        let parts = text.rsplit_once(':').filter(|(host, port)| {
            // An IPv6 address stands in brackets, as elsewhere before a port.
            let bracketed = host.starts_with('[') && host.ends_with(']');
            let named = !host.is_empty() && !host.contains([':', '[', ']', ' ']);
            (bracketed || named) && port.parse::<u16>().is_ok_and(|port| port != 0)
        });
        parts.map(|_| HostPort(text.to_owned())).ok_or_else(|| {
            format!("`{text}` is no host with a port: write for example collector.example:5000 or [2001:db8::1]:5000")
        })
    }
}

impl FromText for View {
    fn from_text(text: &str) -> Result<Self, String> {
        word(text, &[("pre-policy", View::PrePolicy), ("post-policy", View::PostPolicy)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_a_host_with_a_port() {
        for good in ["collector.example:5000", "192.0.2.1:1790", "[2001:db8::1]:5000"] {
            assert_eq!(HostPort::from_text(good), Ok(HostPort(good.to_owned())));
        }
        for bad in ["192.0.2.1", ":5000", "2001:db8::1", "2001:db8::1:5000", "a:0", "a:70000", "a b:5000", ""]
        {
            assert!(HostPort::from_text(bad).unwrap_err().contains("is no host with a port"), "{bad}");
        }
    }
}
