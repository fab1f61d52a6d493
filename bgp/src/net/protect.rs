//! What keeps strangers out of a session: signed segments (TCP-MD5, RFC 2385) and the TTL check (GTSM, RFC 5082).
//!
//! It fails closed. A peer with a password is dialled and listened for only by sockets that have its key; where a key
//! cannot be set nobody is let in under the peer's address. TCP-AO (RFC 5925) is not offered: the kernels this runs on
//! do not have it.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::os::fd::BorrowedFd;

use super::sys;
use crate::config::Password;

/// Whom a key is for: one address, or with a length a whole network.
pub type Whom = (IpAddr, Option<u8>);
/// The keys of a listening socket.
pub type Keys = BTreeMap<Whom, Password>;

/// A protection that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ProtectError {
    /// A key could not be set.
    #[error("setting the TCP-MD5 key of {peer}: {source}: {}", hint(source))]
    Key {
        /// Whose key.
        peer: IpAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The TTL check could not be set.
    #[error("asking for a TTL of at least {least} from {peer} (RFC 5082): {source}: turn TTL security off")]
    Ttl {
        /// From whom.
        peer: IpAddr,
        /// Which.
        least: u8,
        /// What the system said.
        source: io::Error,
    },
}

impl ProtectError {
    /// A stable word.
    pub fn code(&self) -> &'static str {
        match self {
            ProtectError::Key { .. } => "NoMd5Key",
            ProtectError::Ttl { .. } => "NoTtlSecurity",
        }
    }
}

/// What to do about it.
fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOMEM | libc::ENOBUFS) => {
            "the keys of one socket have outgrown net.core.optmem_max: raise it (each takes some 200 octets)"
        }
        Some(libc::ENOPROTOOPT | libc::EOPNOTSUPP) => {
            "this kernel was built without CONFIG_TCP_MD5SIG: use another kernel or no password"
        }
        _ => "the peer stays down, for its password would not be asked for",
    }
}

/// Gives a socket, before it dials or listens, the key of a peer; with `None` takes it away.
pub(super) fn sign(socket: BorrowedFd<'_>, whom: Whom, key: Option<&Password>) -> Result<(), ProtectError> {
    let (peer, prefix) = whom;
    sys::set_md5(socket, peer, prefix, key).map_err(|source| ProtectError::Key { peer, source })
}

/// Takes only what comes from at most `hops` hops away: who sends with a TTL of 255 cannot be imitated from farther.
pub(super) fn check_ttl(socket: BorrowedFd<'_>, peer: IpAddr, hops: NonZeroU8) -> Result<(), ProtectError> {
    let least = u8::MAX - (hops.get() - 1);
    sys::set_least_ttl(socket, peer, least).map_err(|source| ProtectError::Ttl { peer, least, source })
}
