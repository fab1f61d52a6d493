//! Passwords of sessions (TCP-MD5, RFC 2385), from the Secrets that resources name.
//!
//! A session whose password cannot be had is not opened: without it the peer would not answer, or, worse, anybody could.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use caracal_api::secret_key_ref::SecretKeyRef;
use caracal_api::{BgpConfiguration, BgpPeer};
use caracal_bgp::config::Password;

use crate::cluster::Snapshot;

/// The values of one Secret.
type Values = BTreeMap<String, Vec<u8>>;

/// The Secrets that are named, as far as they were read.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// Where they are.
    pub namespace: String,
    /// By name; `None`: there is no such Secret. One that is missing here was not read yet.
    pub read: BTreeMap<String, Option<Values>>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets")
            .field("namespace", &self.namespace)
            .field("read", &self.read.keys())
            .finish()
    }
}

impl Secrets {
    /// A password, or why it cannot be had.
    pub fn password(&self, place: &SecretKeyRef) -> Result<Password, String> {
        let SecretKeyRef { name, key } = place;
        let secret = format!("Secret {}/{name}", self.namespace);
        let values = match self.read.get(name) {
            Some(Some(values)) => values,
            Some(None) => {
                return Err(format!("its password is in {secret}, which does not exist: create it"));
            }
            None => {
                return Err(format!(
                    "its password is in {secret}, which has not been read yet; if this stays so, see whether the agent \
                     may read it"
                ));
            }
        };
        let Some(value) = values.get(key) else {
            return Err(format!("its password is key '{key}' of {secret}, which has no such key: add it"));
        };
        Password::try_from(value.as_slice()).map_err(|error| format!("key '{key}' of {secret}: {error}"))
    }
}

/// The names of the Secrets that hold passwords.
pub fn named(peers: &Snapshot<BgpPeer>, configurations: &Snapshot<BgpConfiguration>) -> BTreeSet<String> {
    let of_peers = peers.values().filter_map(|peer| peer.spec.password.as_ref());
    let of_mesh = configurations.values().filter_map(|one| one.spec.node_mesh_password.as_ref());
    of_peers.chain(of_mesh).map(|password| password.secret_key_ref.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_cannot_be_had_says_what_is_missing() {
        let long = "x".repeat(81);
        let values: Values = [("key", "secret"), ("long", long.as_str())]
            .map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()))
            .into();
        let secrets = Secrets {
            namespace: "caracal-system".into(),
            read: [("bgp".to_owned(), Some(values)), ("gone".to_owned(), None)].into(),
        };
        let ask = |name: &str, key: &str| {
            let place = SecretKeyRef { name: name.into(), key: key.into() };
            secrets.password(&place).map(|password| password.octets().to_vec())
        };
        assert_eq!(ask("bgp", "key"), Ok(b"secret".to_vec()));
        for (name, key, words) in [
            ("gone", "key", "caracal-system/gone, which does not exist"),
            ("other", "key", "has not been read yet"),
            ("bgp", "other", "has no such key"),
            ("bgp", "long", "this one has 81"),
        ] {
            let said = ask(name, key).unwrap_err();
            assert!(said.contains(words), "{said}");
        }
        assert!(!format!("{secrets:?}").contains("secret\""), "{secrets:?}");
    }
}
