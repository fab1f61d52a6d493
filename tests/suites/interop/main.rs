//! caracal-bgpd against other implementations of BGP, each from its Debian package, in namespaces.
//!
//! A case is one feature with one daemon: routers are hosts on one segment, with configuration made here; what each of
//! them knows is asked by its own command line. [`claims`] lists what is claimed, and `docs/interop.md` is made of the
//! same list.

#![allow(clippy::unwrap_used, reason = "what a test prepares is known to be well formed")]

mod bfd;
mod bird;
mod bmp;
mod claims;
mod daemon;
mod exabgp;
mod frr;
mod gobgp;
mod link_local;
mod long_lived;
mod malformed;
mod many;
mod openbgpd;
mod options;
mod page;
mod passwords;
mod peer;
mod ranges;
mod raw;
mod restart;
mod scenario;
mod segment;
mod unnumbered;
mod us;

use std::process::ExitCode;

/// How many cases run at once: they mostly wait.
const AT_ONCE: usize = 4;

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--write-page") {
        return page::write();
    }
    let cases: Vec<_> = claims::all().into_iter().map(|claim| claim.case).collect();
    caracal_suites::main_at_once(&cases, AT_ONCE)
}
