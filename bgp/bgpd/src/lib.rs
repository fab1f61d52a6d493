//! `caracal-bgpd`: the BGP speaker of `caracal-bgp` as a daemon of its own, for routers and for tests.
//!
//! It is a thin shell. [`mod@file`] reads the configuration and says what is wrong with it by line and field;
//! [`settings`] turns it into what the speaker understands; `caracal_bgp_underlay` fills in the own addresses that the
//! file leaves to the machine; [`reload`] carries a new file out by its difference to the present one; [`fib`] brings best
//! routes into the kernel; [`restart`] says what the run before left there; [`socket`] answers `caracalctl`; `pulse`
//! notices when the process is not run in time; [`daemon`] starts and ends all of them.
//!
//! The file is described in `docs/bgpd.md`.

pub mod daemon;
pub mod fib;
pub mod file;
mod pulse;
pub mod reload;
pub mod restart;
pub mod settings;
pub mod socket;
