//! One value of a Secret, by name and key.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The password of a BGP session (TCP-MD5, RFC 2385).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BgpPassword {
    /// Where it is kept.
    pub secret_key_ref: SecretKeyRef,
}

/// One value of a Secret in the namespace of the agents.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Which of its values.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}
