//! Why a wanted object is not there.

use crate::object::link::IfName;

/// Why a wanted object is not in the kernel, or an unwanted one still is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The key is taken by an object that is not ours.
    #[error(
        "the kernel has one already, made by {with}, which is left alone; remove that one, or make it not overlap"
    )]
    Conflict {
        /// Who made the other.
        with: String,
    },
    /// Another hand keeps changing it.
    #[error(
        "another program changed or removed it {times} times within 10 s; left alone for {pause_s} s; find and stop that program"
    )]
    Contended {
        /// How often it did.
        times: usize,
        /// For how long it is left alone, in seconds.
        pause_s: u64,
    },
    /// The kernel says that there is one already, and it is not known yet whose.
    #[error("the kernel has one already")]
    Exists,
    /// It was to be replaced and was not there any more.
    #[error("it was gone before it could be replaced")]
    Vanished,
    /// The device does not exist (yet).
    #[error("device {0} does not exist; it will be done when the device appears")]
    LinkMissing(IfName),
    /// The device is down.
    #[error("device {0} is down; it will be done when the device comes up")]
    LinkDown(IfName),
    /// The kernel said no.
    #[error("the kernel refused: {message}; it will be tried again")]
    Kernel {
        /// The error number.
        errno: i32,
        /// What the kernel says about it.
        message: String,
    },
    /// The kernel gave no answer in time.
    #[error("the kernel gave no answer in time; it will be looked at again")]
    NoAnswer,
    /// This table does not keep such objects.
    #[error("{0}")]
    Unsupported(String),
}

impl Refusal {
    /// The reason as one word.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "Conflict",
            Self::Contended { .. } => "Contended",
            Self::Exists => "Exists",
            Self::Vanished => "Vanished",
            Self::LinkMissing(_) => "LinkMissing",
            Self::LinkDown(_) => "LinkDown",
            Self::Kernel { .. } => "KernelRefused",
            Self::NoAnswer => "NoAnswer",
            Self::Unsupported(_) => "Unsupported",
        }
    }
}
