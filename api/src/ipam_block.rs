//! `IPAMBlock`: the one truth of a block: who owns it, and which of its addresses are in use.
//!
//! Creating the object is the lock on its CIDR, since its name is the CIDR. Its owner writes it later and in batches: what
//! was granted is in the owner's journal first. Where it is shared, other nodes ask for addresses and give them back in it;
//! the owner alone decides.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One block of addresses: its owner and its allocations.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "caracal.dev",
    version = "v1",
    kind = "IPAMBlock",
    root = "IpamBlock",
    plural = "ipamblocks",
    singular = "ipamblock",
    shortname = "ipb",
    category = "caracal",
    derive = "PartialEq",
    selectable = ".spec.owner.name",
    doc = "One block of addresses: its owner and its allocations.",
    printcolumn(name = "CIDR", type_ = "string", json_path = ".spec.cidr"),
    printcolumn(name = "Owner", type_ = "string", json_path = ".spec.owner.name"),
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.owner.kind", priority = "1"),
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.pool", priority = "1")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.cidr == oldSelf.cidr").message("cidr cannot be changed: the object's name is made from it"),
    validation = Rule::new("isCIDR(self.cidr) && cidr(self.cidr) == cidr(self.cidr).masked()").message("cidr must be a network in CIDR form without host bits")
)]
pub struct IpamBlockSpec {
    /// The block, such as `10.244.0.0/26`.
    #[schemars(length(min = 4, max = 48))]
    pub cidr: String,
    /// Who gives out its addresses.
    pub owner: BlockOwner,
    /// The pool in whose range the block lies.
    #[schemars(length(max = 253))]
    pub pool: String,
    /// The UID of that pool.
    #[serde(rename = "poolUID")]
    #[schemars(length(max = 64))]
    pub pool_uid: String,
    /// Whether other nodes may ask for addresses here. Set and cleared by the owner only, who answers them.
    #[serde(default)]
    pub lends: bool,
    /// Of owners whose agent is of before `lends`: other nodes may take addresses here without asking. Present agents clear it.
    #[serde(default)]
    pub shared: bool,
    /// Rises with each write of the owner; what others write leaves it as it is. So a state that a backup brought back is told
    /// from what the owner says now. 0: written by an agent that knows no revisions.
    #[serde(default)]
    pub revision: u64,
    /// Ordinal (decimal, from 0) to allocation, in the compact form of [`AllocationRecord`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend(
        "maxProperties" = 256,
        "x-kubernetes-map-type" = "atomic",
        "additionalProperties" = {"type": "string", "maxLength": 1024}
    ))]
    pub allocations: BTreeMap<String, String>,
}

/// Who owns a block. A node is more than its name: one replaced under the same name is another owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockOwner {
    /// Node, or the load-balancer allocator.
    pub kind: OwnerKind,
    /// Node name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// UID of the Node object.
    #[serde(rename = "nodeUID", default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub node_uid: String,
    /// The machine's id (`/etc/machine-id`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub machine_id: String,
    /// Random token of the claim, kept in the owner's journal: proves that a `create` whose reply was lost is ours.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub claim_token: String,
}

/// Kinds of block owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum OwnerKind {
    /// A node's agent.
    Node,
    /// The allocator of load-balancer addresses.
    LoadBalancer,
}

/// What an allocated ordinal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AllocationKind {
    /// A pod's address.
    Workload,
    /// A tunnel device's address.
    Tunnel,
    /// Nobody's for now: cooling down when published; with a borrower, given back by him.
    Held,
    /// Another node asks for it for a pod; the owner has not answered.
    AskedWorkload,
    /// Another node asks for it for a tunnel device; the owner has not answered.
    AskedTunnel,
}

impl AllocationKind {
    /// Whether somebody has the address.
    pub fn is_taken(self) -> bool {
        matches!(self, Self::Workload | Self::Tunnel)
    }
}

/// One allocation as a compact string: `kind/sequence/handle/namespace/pod`, and for a borrowed one `/node/nodeUID/journal` more.
///
/// The parts cannot hold a `/` (Kubernetes names and container ids do not), so splitting is unambiguous.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AllocationRecord {
    /// What the address is for.
    pub kind: AllocationKind,
    /// The block's sequence number at the time of allocation: a late release cannot free a reused address.
    pub sequence: u64,
    /// Who holds it: `network.containerID.interface`, or the handle of a tunnel.
    pub handle: String,
    /// Namespace of the pod; empty otherwise.
    pub namespace: String,
    /// Name of the pod; empty otherwise.
    pub pod: String,
    /// The node that borrowed it; `None`: it is the owner's.
    pub borrower: Option<Borrower>,
}

impl AllocationRecord {
    /// Of an address that nobody holds, and that is not given out for now.
    pub fn held() -> Self {
        Self {
            kind: AllocationKind::Held,
            sequence: 0,
            handle: String::new(),
            namespace: String::new(),
            pod: String::new(),
            borrower: None,
        }
    }

    /// The same address, asked of the block's owner.
    #[must_use]
    pub fn asked(self) -> Self {
        let kind = match self.kind {
            AllocationKind::Workload => AllocationKind::AskedWorkload,
            AllocationKind::Tunnel => AllocationKind::AskedTunnel,
            kind => kind,
        };
        Self { kind, ..self }
    }

    /// The same address, as its owner gives it to whoever asks.
    #[must_use]
    pub fn granted(self) -> Self {
        let kind = match self.kind {
            AllocationKind::AskedWorkload => AllocationKind::Workload,
            AllocationKind::AskedTunnel => AllocationKind::Tunnel,
            kind => kind,
        };
        Self { kind, ..self }
    }

    /// The same address, given back by whoever had it or asked for it.
    #[must_use]
    pub fn returned(self) -> Self {
        Self { kind: AllocationKind::Held, ..self }
    }
}

/// A node that holds an address of another node's block.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Borrower {
    /// Node name.
    pub node: String,
    /// UID of the Node object.
    pub node_uid: String,
    /// Names the journal that knows who holds the address: another machine that took the node's name has another one.
    pub journal: String,
}

/// Why a compact allocation string could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "allocation '{text}' is not of the form kind/sequence/handle/namespace/pod[/node/nodeUID/journal]: {what}"
)]
pub struct AllocationRecordError {
    /// The text as found.
    pub text: String,
    /// Which part is wrong.
    pub what: &'static str,
}

impl fmt::Display for AllocationRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            AllocationKind::Workload => "w",
            AllocationKind::Tunnel => "t",
            AllocationKind::Held => "h",
            AllocationKind::AskedWorkload => "aw",
            AllocationKind::AskedTunnel => "at",
        };
        write!(f, "{kind}/{}/{}/{}/{}", self.sequence, self.handle, self.namespace, self.pod)?;
        match &self.borrower {
            Some(Borrower { node, node_uid, journal }) => write!(f, "/{node}/{node_uid}/{journal}"),
            None => Ok(()),
        }
    }
}

impl FromStr for AllocationRecord {
    type Err = AllocationRecordError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |what| AllocationRecordError { text: text.to_owned(), what };
        let parts: Vec<&str> = text.split('/').collect();
        let (kind, sequence, handle, namespace, pod, borrower) = match parts[..] {
            [kind, sequence, handle, namespace, pod] => (kind, sequence, handle, namespace, pod, None),
            [kind, sequence, handle, namespace, pod, node, node_uid, journal] => {
                let borrower =
                    Borrower { node: node.into(), node_uid: node_uid.into(), journal: journal.into() };
                (kind, sequence, handle, namespace, pod, Some(borrower))
            }
            _ => return Err(wrong("it does not have five or eight parts")),
        };
        let kind = match kind {
            "w" => AllocationKind::Workload,
            "t" => AllocationKind::Tunnel,
            "h" => AllocationKind::Held,
            "aw" => AllocationKind::AskedWorkload,
            "at" => AllocationKind::AskedTunnel,
            _ => return Err(wrong("the kind is not w, t, h, aw or at")),
        };
        let sequence = sequence.parse().map_err(|_| wrong("the sequence is not a number"))?;
        Ok(Self {
            kind,
            sequence,
            handle: handle.into(),
            namespace: namespace.into(),
            pod: pod.into(),
            borrower,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_survives_its_compact_form() {
        for record in [
            AllocationRecord {
                kind: AllocationKind::Workload,
                sequence: 7,
                handle: "caracal.3f2a.eth0".into(),
                namespace: "default".into(),
                pod: "web-0".into(),
                borrower: None,
            },
            AllocationRecord {
                kind: AllocationKind::Tunnel,
                sequence: u64::MAX,
                handle: "tunnel-ipip-n1".into(),
                namespace: String::new(),
                pod: String::new(),
                borrower: Some(Borrower { node: "n2".into(), node_uid: "u2".into(), journal: "j".into() }),
            },
        ] {
            assert_eq!(record.to_string().parse::<AllocationRecord>().unwrap(), record);
        }
    }

    #[test]
    fn what_is_asked_granted_and_given_back_names_the_same_loan() {
        let granted: AllocationRecord = "w/7/net.c.eth0/ns/pod/n2/u2/j".parse().unwrap();
        let asked = granted.clone().asked();
        assert_eq!(asked.to_string(), "aw/7/net.c.eth0/ns/pod/n2/u2/j");
        assert!(!asked.kind.is_taken() && granted.kind.is_taken());
        assert_eq!(asked.to_string().parse::<AllocationRecord>().unwrap().granted(), granted);
        assert_eq!(asked.returned(), granted.clone().returned());
        assert_eq!(granted.returned().to_string(), "h/7/net.c.eth0/ns/pod/n2/u2/j");
    }

    #[test]
    fn a_damaged_allocation_names_what_is_wrong() {
        let what = |text: &str| text.parse::<AllocationRecord>().unwrap_err().what;
        assert_eq!(what("w/1/h/ns"), "it does not have five or eight parts");
        assert_eq!(what("x/1/h/ns/p"), "the kind is not w, t, h, aw or at");
        assert_eq!(what("w/one/h/ns/p"), "the sequence is not a number");
    }
}
