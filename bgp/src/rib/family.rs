//! The address families of the RIB, and what a table needs to know of one.
//!
//! Every table is generic over [`Af`], so that IPv4 and IPv6 cannot drift apart: there is one text for both, and a
//! key is a small `Copy` value of the family's own size instead of an enum that always pays for the larger.

use std::fmt;

use crate::config::Family;
use crate::wire::nlri::{Ipv4Prefix, Ipv6Prefix, Prefix};

/// An address family.
pub trait Af: Copy + fmt::Debug + Default + Send + Sync + 'static {
    /// The key of its tables: a masked prefix.
    type Prefix: Prefix;

    /// The family as sessions negotiate it.
    const FAMILY: Family = <Self::Prefix as Prefix>::FAMILY;
}

/// IPv4 unicast.
#[derive(Clone, Copy, Debug, Default)]
pub struct V4;

/// IPv6 unicast.
#[derive(Clone, Copy, Debug, Default)]
pub struct V6;

impl Af for V4 {
    type Prefix = Ipv4Prefix;
}

impl Af for V6 {
    type Prefix = Ipv6Prefix;
}
