//! Names that plugin and agent must agree on: of the host's end of a pod's veth, and of the attachment it belongs to.
//!
//! The host's name follows from the pod, not from the container, so that a pod's next sandbox takes over a device that its
//! last one left behind. Whose device it is *now* stands in its alias: a late DEL of the old sandbox compares it first.

use std::fmt;
use std::str::FromStr;

use caracal_linux::object::link::IfName;
use sha1::{Digest, Sha1};

use crate::environment::{Pod, Target, is_identifier};

/// How the host's end of every pod's veth begins.
pub const HOST_PREFIX: &str = "cali";

/// The interface that is a pod's first one: its host name is that of Calico.
const FIRST: &str = "eth0";

/// How an alias of ours begins.
const ALIAS: &str = "caracal:";

/// The name of the host's end: `cali` and 11 hex digits of the SHA-1 of `namespace.pod`, or of the container's id where
/// there is no pod. Further interfaces of a pod add `/` and their name, which no pod's name can hold.
pub fn host_interface(target: &Target) -> IfName {
    let mut whose = match &target.args.pod {
        Some(Pod { namespace, name, .. }) => format!("{namespace}.{name}"),
        None => target.container.clone(),
    };
    if target.interface.as_str() != FIRST {
        whose.push('/');
        whose.push_str(target.interface.as_str());
    }
    let hex: String = Sha1::digest(whose.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    // 4 and 11 characters of the plainest kind always make a device's name.
    IfName::new(&format!("{HOST_PREFIX}{}", &hex[..11])).unwrap_or(IfName::LOOPBACK)
}

/// One attachment as it is written into the alias of its device: `caracal:network/container/interface`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alias {
    /// The name of the network.
    pub network: String,
    /// The id of the container.
    pub container: String,
    /// The interface inside the container.
    pub interface: IfName,
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALIAS}{}/{}/{}", self.network, self.container, self.interface)
    }
}

/// An alias that caracal has not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no alias of an attachment: `caracal:network/container/interface` is wanted")]
pub struct ForeignAlias(String);

impl FromStr for Alias {
    type Err = ForeignAlias;

    fn from_str(text: &str) -> Result<Self, ForeignAlias> {
        let foreign = || ForeignAlias(text.to_owned());
        let mut parts = text.strip_prefix(ALIAS).ok_or_else(foreign)?.split('/');
        let (network, container, interface) = (parts.next(), parts.next(), parts.next());
        match (network, container, interface, parts.next()) {
            (Some(network), Some(container), Some(interface), None)
                if is_identifier(network) && is_identifier(container) =>
            {
                let interface = IfName::new(interface).map_err(|_| foreign())?;
                Ok(Self { network: network.to_owned(), container: container.to_owned(), interface })
            }
            _ => Err(foreign()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Args;

    fn target(pod: Option<(&str, &str)>, container: &str, interface: &str) -> Target {
        let pod =
            pod.map(|(namespace, name)| Pod { namespace: namespace.into(), name: name.into(), uid: None });
        Target {
            container: container.into(),
            interface: IfName::new(interface).unwrap(),
            netns: None,
            args: Args { pod, ip: None },
        }
    }

    #[test]
    fn the_first_interface_is_named_as_calico_names_it() {
        // printf default.nginx | sha1sum
        let name = host_interface(&target(Some(("default", "nginx")), "c1", "eth0"));
        assert_eq!(name.as_str(), "calic440f455693");
    }

    #[test]
    fn the_host_name_follows_the_pod_and_not_the_sandbox() {
        let name = |pod, container: &str, interface: &str| host_interface(&target(pod, container, interface));
        let pod = Some(("ns", "a"));
        assert_eq!(name(pod, "c1", "eth0"), name(pod, "c2", "eth0"));
        assert_ne!(name(pod, "c1", "eth0"), name(Some(("ns", "b")), "c1", "eth0"));
        assert_ne!(name(pod, "c1", "eth0"), name(pod, "c1", "net1"));
        assert_ne!(name(None, "c1", "eth0"), name(None, "c2", "eth0"));
        assert_eq!(name(None, "c1", "eth0").as_str().len(), 15);
    }

    #[test]
    fn an_alias_reads_what_it_writes_and_others_are_left_alone() {
        let alias = Alias {
            network: "k8s.net".into(),
            container: "c-1".into(),
            interface: IfName::new("eth0").unwrap(),
        };
        assert_eq!(alias.to_string(), "caracal:k8s.net/c-1/eth0");
        assert_eq!(alias.to_string().parse(), Ok(alias));
        for foreign in ["", "caracal:", "caracal:a/b", "caracal:a/b/c/d", "other:a/b/eth0", "caracal:/b/eth0"]
        {
            assert!(foreign.parse::<Alias>().is_err(), "{foreign}");
        }
    }
}
