//! What can go wrong between us and the kernel.

use std::io;
use std::time::Duration;

use netlink_packet_core::ErrorMessage;

use crate::namespace;
use crate::netlink::ext_ack;
use crate::object::link::IfName;

/// Why something asked of the kernel was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error("{doing}: the kernel refused: {}", .refused.words())]
    Refused {
        /// What was being done, to what.
        doing: String,
        /// What the kernel said.
        refused: Refused,
    },
    /// There is no such device.
    #[error("{doing}: there is no device {device} in this namespace")]
    NoDevice {
        /// What was being done, to what.
        doing: String,
        /// The missing device.
        device: IfName,
    },
    /// The kernel did not answer in time.
    #[error("{doing}: no answer from the kernel within {} ms; it may be done or not", .waited.as_millis())]
    TimedOut {
        /// What was being done, to what.
        doing: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The socket's buffer overflowed, so that answers are lost.
    #[error(
        "{doing}: answers of the kernel were lost, since the socket's buffer overflowed; it may be done or not"
    )]
    Overrun {
        /// What was being done, to what.
        doing: String,
    },
    /// The list kept changing while it was being read.
    #[error("{doing}: the list changed each time while it was being read; try again later")]
    Interrupted {
        /// What was being done, to what.
        doing: String,
    },
    /// The socket failed, or could not be opened.
    #[error("{doing}: the netlink socket failed: {source}")]
    Socket {
        /// What was being done, to what.
        doing: String,
        /// Why.
        source: io::Error,
    },
    /// A namespace could not be used.
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
}

/// The kernel's refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The error number, positive.
    pub errno: i32,
    /// The kernel's own explanation, if it gave one.
    pub text: Option<String>,
}

impl Refused {
    /// Reads an error; none if it is an acknowledgement.
    pub(crate) fn from_message(flags: u16, error: &ErrorMessage) -> Option<Self> {
        let errno = error.code?.get().saturating_abs();
        Some(Self { errno, text: ext_ack::text(flags, error) })
    }

    /// In words for people: the kernel's explanation where there is one, and the error's name.
    pub fn words(&self) -> String {
        let error = nix::errno::Errno::from_raw(self.errno);
        match &self.text {
            Some(text) => format!("{text} ({error})"),
            None => error.to_string(),
        }
    }
}

impl Error {
    /// The error number, if the kernel refused.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { refused, .. } => Some(refused.errno),
            Self::NoDevice { .. }
            | Self::TimedOut { .. }
            | Self::Overrun { .. }
            | Self::Interrupted { .. }
            | Self::Socket { .. }
            | Self::Namespace(_) => None,
        }
    }

    /// Whether what was asked about does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NoDevice { .. })
            || matches!(self.errno(), Some(libc::ENODEV | libc::ENOENT | libc::ESRCH | libc::EADDRNOTAVAIL))
    }

    /// Whether what was to be made exists already.
    pub fn already_exists(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }
}
