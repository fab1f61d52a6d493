//! The load generator: many BGP peers in one thread, and what they hear.
//!
//! It is made to be faster than what it drives: messages are encoded before the clock starts and written in large
//! pieces; what comes is parsed just far enough to know which prefixes came and went. One thread, so that it needs one
//! CPU and takes none of the subject's.

pub(crate) mod family;
pub(crate) mod heard;
pub(crate) mod message;
pub(crate) mod session;
pub(crate) mod table;
