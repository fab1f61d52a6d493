//! Pools as the machine needs them, and which of them serve an ask.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use caracal_api::block_cidr::masked;
use caracal_api::ip_pool::ALLOCATABLE;
use caracal_api::{AllowedUse, AssignmentMode, BlockCidr, IpPool, IpamConfigSpec, Selector};

use crate::want::{Attributes, Family, Purpose};

/// The label that names a namespace, on every namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// One pool, parsed.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Object name.
    pub name: String,
    /// Object UID.
    pub uid: String,
    /// Its range.
    pub network: IpNetwork,
    /// Prefix length of its blocks.
    pub block_prefix: u8,
    /// Blocks claimed by anyone, as the controller counted last.
    pub blocks: Option<u64>,
    node_selector: Result<Selector, String>,
    namespace_selector: Result<Option<Selector>, String>,
    manual: bool,
    uses: [bool; 2],
    closed: Option<PoolUnfit>,
    deleting: bool,
    allocatable: bool,
}

/// Why a pool does not serve an ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolUnfit {
    /// `disabled: true`.
    Disabled,
    /// It is being deleted.
    Deleting,
    /// The controller found something against it.
    NotAllocatable(String),
    /// The controller has not checked this generation yet.
    Unchecked,
    /// Its node selector does not choose this node.
    Node(String),
    /// Its namespace selector does not choose the namespace.
    Namespace(String),
    /// A selector cannot be read.
    Selector(String),
    /// Its `allowedUses` do not include this.
    Use(Purpose),
    /// It is used only when named.
    Manual,
}

impl PoolUnfit {
    /// A word for conditions, JSON and metric labels.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Disabled => "Disabled",
            Self::Deleting => "Deleting",
            Self::NotAllocatable(_) => "NotAllocatable",
            Self::Unchecked => "Unchecked",
            Self::Node(_) => "NodeNotSelected",
            Self::Namespace(_) => "NamespaceNotSelected",
            Self::Selector(_) => "BadSelector",
            Self::Use(_) => "UseNotAllowed",
            Self::Manual => "Manual",
        }
    }
}

impl fmt::Display for PoolUnfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disabled => f.write_str("it is disabled"),
            Self::Deleting => f.write_str("it is being deleted"),
            Self::NotAllocatable(why) => write!(f, "the controller found it not allocatable: {why}"),
            Self::Unchecked => f.write_str(
                "the controller has not marked it Allocatable yet (is caracal-controller running and in touch with \
                 the API server?)",
            ),
            Self::Node(selector) => write!(f, "its nodeSelector '{selector}' does not choose this node"),
            Self::Namespace(selector) => write!(f, "its namespaceSelector '{selector}' does not choose the namespace"),
            Self::Selector(error) => f.write_str(error),
            Self::Use(Purpose::Workload) => f.write_str("its allowedUses do not include Workload"),
            Self::Use(Purpose::Tunnel) => f.write_str("its allowedUses do not include Tunnel"),
            Self::Manual => f.write_str("its assignmentMode is Manual and the pod does not name it"),
        }
    }
}

impl Pool {
    /// Reads a pool object; `None` if its CIDR is none (the schema of stored objects excludes that).
    pub fn read(object: &IpPool) -> Option<Self> {
        let spec = &object.spec;
        let network = masked(spec.network()?);
        let selector = |text: &str| text.parse::<Selector>().map_err(|e| e.to_string());
        let namespace_selector = if spec.namespace_selector.trim().is_empty() {
            Ok(None)
        } else {
            selector(&spec.namespace_selector).map(Some)
        };
        let found_against = object.status.iter().flat_map(|s| &s.conditions).find(|c| {
            c.type_ == ALLOCATABLE
                && c.status == "False"
                && c.observed_generation == object.metadata.generation
        });
        let deleting = object.metadata.deletion_timestamp.is_some();
        let closed = if spec.disabled {
            Some(PoolUnfit::Disabled)
        } else if deleting {
            Some(PoolUnfit::Deleting)
        } else {
            found_against.map(|c| PoolUnfit::NotAllocatable(format!("{} ({})", c.message, c.reason)))
        };
        Some(Self {
            name: object.metadata.name.clone().unwrap_or_default(),
            uid: object.metadata.uid.clone().unwrap_or_default(),
            network,
            block_prefix: spec.block_prefix(),
            blocks: object.status.as_ref().and_then(|s| s.blocks).and_then(|n| u64::try_from(n).ok()),
            node_selector: selector(&spec.node_selector),
            namespace_selector,
            manual: spec.assignment_mode == AssignmentMode::Manual,
            uses: [spec.allows(AllowedUse::Workload), spec.allows(AllowedUse::Tunnel)],
            closed,
            deleting,
            allocatable: object.is_allocatable(),
        })
    }

    /// The pool's family.
    pub fn family(&self) -> Family {
        Family::of_network(self.network)
    }

    /// How many blocks the pool holds.
    pub fn block_count(&self) -> u128 {
        1_u128
            .checked_shl(u32::from(self.block_prefix.saturating_sub(self.network.prefix())))
            .unwrap_or(u128::MAX)
    }

    /// Whether a block can be this pool's: it lies inside and has its size, and the pool stays.
    pub(crate) fn takes(&self, block: BlockCidr) -> bool {
        let block = block.network();
        !self.deleting
            && self.family() == Family::of_network(block)
            && self.block_prefix == block.prefix()
            && self.network.contains(block.ip())
    }

    /// What is against granting from an owned block of this pool, whoever asks.
    pub(crate) fn closed(&self) -> Option<&PoolUnfit> {
        self.closed.as_ref()
    }

    /// What is against claiming a block of this pool: as for granting, and the controller must have checked this very
    /// generation for overlaps, since creating a block locks a name and not a range.
    pub(crate) fn unclaimable(&self) -> Option<PoolUnfit> {
        match &self.closed {
            Some(why) => Some(why.clone()),
            None if self.allocatable => None,
            None => Some(PoolUnfit::Unchecked),
        }
    }

    /// What is against this node having blocks here; unknown labels (no Node seen yet) hold nothing against it.
    pub(crate) fn rejects_node(&self, labels: Option<&BTreeMap<String, String>>) -> Option<PoolUnfit> {
        match &self.node_selector {
            Err(error) => Some(PoolUnfit::Selector(error.clone())),
            Ok(selector) => match labels {
                Some(labels) if !selector.matches(labels) => Some(PoolUnfit::Node(selector.to_string())),
                Some(_) | None => None,
            },
        }
    }

    /// What is against this use.
    pub(crate) fn rejects_use(&self, purpose: Purpose) -> Option<PoolUnfit> {
        let allowed = match purpose {
            Purpose::Workload => self.uses[0],
            Purpose::Tunnel => self.uses[1],
        };
        (!allowed).then_some(PoolUnfit::Use(purpose))
    }

    /// What is against using this pool for someone who did not name it.
    pub(crate) fn rejects_unnamed(&self, attributes: &Attributes) -> Option<PoolUnfit> {
        if self.manual {
            return Some(PoolUnfit::Manual);
        }
        match (&self.namespace_selector, attributes.kind) {
            (Ok(None), _) | (Ok(Some(_)), Purpose::Tunnel) => None,
            (Ok(Some(selector)), Purpose::Workload) => {
                let mut labels = attributes.namespace_labels.clone();
                labels.insert(NAMESPACE_NAME.to_owned(), attributes.namespace.clone());
                (!selector.matches(&labels)).then(|| PoolUnfit::Namespace(selector.to_string()))
            }
            (Err(error), _) => Some(PoolUnfit::Selector(error.clone())),
        }
    }

    /// Whether pods of any namespace are served without naming the pool.
    pub(crate) fn is_general(&self) -> bool {
        !self.manual && matches!(self.namespace_selector, Ok(None)) && self.uses[0]
    }

    /// Whether a user means this pool by a name or CIDR.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name == name || name.parse::<IpNetwork>().is_ok_and(|n| masked(n) == self.network)
    }
}

/// All pools, and how blocks are claimed.
#[derive(Clone, Debug, Default)]
pub struct Pools {
    pools: BTreeMap<String, Pool>,
    config: IpamConfigSpec,
    reserved: Vec<IpNetwork>,
}

impl Pools {
    /// Reads the objects. `reserved` are ranges from which nothing new is granted.
    pub fn read<'a>(
        objects: impl IntoIterator<Item = &'a IpPool>,
        config: IpamConfigSpec,
        reserved: Vec<IpNetwork>,
    ) -> Self {
        let pools = objects.into_iter().filter_map(Pool::read).map(|p| (p.name.clone(), p)).collect();
        Self { pools, config, reserved }
    }

    /// The same pools, as if the controller had just checked them.
    #[cfg(test)]
    pub(crate) fn all_allocatable(mut self) -> Self {
        self.pools.values_mut().for_each(|p| p.allocatable = true);
        self
    }

    /// The pool of a name.
    pub fn get(&self, name: &str) -> Option<&Pool> {
        self.pools.get(name)
    }

    /// All pools in order of name.
    pub fn iter(&self) -> impl Iterator<Item = &Pool> {
        self.pools.values()
    }

    /// How blocks are claimed.
    pub fn config(&self) -> &IpamConfigSpec {
        &self.config
    }

    /// Whether an address is reserved.
    pub(crate) fn is_reserved(&self, address: IpAddr) -> bool {
        self.reserved.iter().any(|r| r.contains(address))
    }

    /// The pool that contains an address. Of two (one is being split) the one that is in use.
    pub(crate) fn containing(&self, address: IpAddr) -> Option<&Pool> {
        self.iter().filter(|p| p.network.contains(address)).min_by_key(|p| p.closed.is_some())
    }

    /// The pool that a block has come into: the one it was cut from is gone or going, and another one takes it.
    pub(crate) fn new_home(&self, name: &str, uid: &str, block: BlockCidr) -> Option<&Pool> {
        let stays = self.get(name).is_some_and(|pool| pool.uid == uid && !pool.deleting);
        let others = || self.iter().filter(|pool| pool.takes(block));
        if stays { None } else { others().min_by_key(|pool| pool.closed.is_some()) }
    }
}
