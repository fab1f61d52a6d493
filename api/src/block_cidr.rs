//! The CIDR of one block of addresses, and the object name made from it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

/// Most addresses a block may hold: its ordinals must fit the bounded map of an `IPAMBlock`.
pub const MAX_BLOCK_ADDRESSES: u32 = 256;

/// A block's CIDR: masked, and between 1 and 256 addresses (/24–/32, /120–/128).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockCidr(IpNetwork);

/// Why a text or network is no block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockCidrError {
    /// Not a CIDR at all.
    #[error("block CIDR '{0}' is not a network in CIDR form, such as 10.244.0.0/26")]
    NotACidr(String),
    /// Bits are set beyond the prefix.
    #[error("block CIDR {found} has host bits set; its network is {masked}")]
    HostBits {
        /// As given.
        found: IpNetwork,
        /// The same with the host bits cleared.
        masked: IpNetwork,
    },
    /// Larger than [`MAX_BLOCK_ADDRESSES`].
    #[error("block CIDR {0} holds more than 256 addresses; the shortest prefixes are /24 and /120")]
    TooLarge(IpNetwork),
}

/// The network with its host bits cleared.
pub fn masked(network: IpNetwork) -> IpNetwork {
    match network {
        IpNetwork::V4(n) => Ipv4Network::new(n.network(), n.prefix()).map_or(network, IpNetwork::V4),
        IpNetwork::V6(n) => Ipv6Network::new(n.network(), n.prefix()).map_or(network, IpNetwork::V6),
    }
}

impl BlockCidr {
    /// Checks that a network is masked and of a block's size.
    ///
    /// # Errors
    /// [`BlockCidrError`] says which of the two it is not.
    pub fn new(network: IpNetwork) -> Result<Self, BlockCidrError> {
        let clean = masked(network);
        if clean != network {
            return Err(BlockCidrError::HostBits { found: network, masked: clean });
        }
        let bits = if network.is_ipv4() { 32 } else { 128 };
        if bits - network.prefix() > 8 {
            return Err(BlockCidrError::TooLarge(network));
        }
        Ok(Self(network))
    }

    /// The CIDR as a network.
    pub fn network(self) -> IpNetwork {
        self.0
    }

    /// Whether this is an IPv4 block.
    pub fn is_ipv4(self) -> bool {
        self.0.is_ipv4()
    }

    /// How many addresses the block holds (1 to 256).
    pub fn size(self) -> u32 {
        let bits = if self.0.is_ipv4() { 32 } else { 128 };
        1 << (bits - self.0.prefix())
    }

    /// The address of an ordinal (0-based), if it lies inside.
    pub fn address(self, ordinal: u32) -> Option<IpAddr> {
        if ordinal >= self.size() {
            return None;
        }
        Some(match self.0.network() {
            IpAddr::V4(base) => IpAddr::V4((u32::from(base) | ordinal).into()),
            IpAddr::V6(base) => IpAddr::V6((u128::from(base) | u128::from(ordinal)).into()),
        })
    }

    /// The ordinal of an address, if it lies inside.
    pub fn ordinal(self, address: IpAddr) -> Option<u32> {
        if !self.0.contains(address) {
            return None;
        }
        let low = match address {
            IpAddr::V4(a) => u32::from(a),
            IpAddr::V6(a) => (u128::from(a) & 0xffff_ffff) as u32,
        };
        Some(low & (self.size() - 1))
    }

    /// The name of the `IPAMBlock` object: the CIDR with `.`, `:` and `/` as `-` (`10-244-0-0-26`). A leading `-`, as
    /// `::/122` would give, is filled with a `0`, since object names begin with a letter or digit.
    pub fn object_name(self) -> String {
        let name: String =
            self.to_string().chars().map(|c| if matches!(c, '.' | ':' | '/') { '-' } else { c }).collect();
        if name.starts_with('-') { format!("0{name}") } else { name }
    }

    /// The block that an object name stands for; `None` if no block has that name.
    pub fn from_object_name(name: &str) -> Option<Self> {
        let (network, prefix) = name.rsplit_once('-')?;
        let prefix = prefix.parse().ok()?;
        let address = [network.replace('-', "."), network.replace('-', ":")];
        let address: IpAddr = address.iter().find_map(|text| text.parse().ok())?;
        let block = Self::new(IpNetwork::new(address, prefix).ok()?).ok()?;
        (block.object_name() == name).then_some(block)
    }
}

impl FromStr for BlockCidr {
    type Err = BlockCidrError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.contains('/') {
            return Err(BlockCidrError::NotACidr(text.to_owned()));
        }
        let network = text.parse().map_err(|_| BlockCidrError::NotACidr(text.to_owned()))?;
        Self::new(network)
    }
}

impl fmt::Display for BlockCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for BlockCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_people_know() {
        let name = |text: &str| {
            let block = text.parse::<BlockCidr>().unwrap();
            assert_eq!(BlockCidr::from_object_name(&block.object_name()), Some(block));
            block.object_name()
        };
        assert_eq!(name("10.244.0.0/26"), "10-244-0-0-26");
        assert_eq!(name("fd00:244::40/122"), "fd00-244--40-122");
        assert_eq!(name("::/122"), "0---122");
    }

    #[test]
    fn ordinals_and_addresses_are_inverse_in_both_families() {
        for text in ["10.244.1.64/26", "fd00:244::40/122", "10.0.0.1/32", "10.0.0.0/24"] {
            let block: BlockCidr = text.parse().unwrap();
            for ordinal in 0..block.size() {
                let address = block.address(ordinal).unwrap();
                assert_eq!(block.ordinal(address), Some(ordinal), "{text} {address}");
            }
            assert_eq!(block.address(block.size()), None);
        }
        let block: BlockCidr = "10.244.1.64/26".parse().unwrap();
        assert_eq!(block.ordinal("10.244.1.128".parse().unwrap()), None);
        assert_eq!(block.ordinal("fd00::1".parse().unwrap()), None);
    }

    #[test]
    fn what_is_no_block_is_refused_with_the_reason() {
        assert!(matches!("10.244.0.1/26".parse::<BlockCidr>(), Err(BlockCidrError::HostBits { .. })));
        assert!(matches!("10.244.0.0/23".parse::<BlockCidr>(), Err(BlockCidrError::TooLarge(_))));
        assert!(matches!("10.244.0.0".parse::<BlockCidr>(), Err(BlockCidrError::NotACidr(_))));
        assert!(matches!("pods".parse::<BlockCidr>(), Err(BlockCidrError::NotACidr(_))));
    }
}
