//! The kernel's objects as plain values: what is wanted and what is seen have the same type, so that they can be compared.
//!
//! Every value read from the kernel is brought to one normal form on the way in, and every wanted value by
//! [`route::Route::normalised`] and [`route::RouteKey::normalised`]: the kernel completes what it is given (a metric of 1024
//! for IPv6, no scope there, a weight of one), and without this the same route would look different going in and coming out.

pub mod address;
pub mod forwarding;
pub mod link;
pub mod neighbour;
pub mod route;
pub mod setting;
pub mod tunnel;
