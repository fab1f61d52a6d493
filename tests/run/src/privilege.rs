//! Namespaces and packages need root; say so before anything takes time.

use std::os::unix::fs::MetadataExt;

use anyhow::{Context, bail};

/// Refuses in one line when not started as root.
pub(crate) fn require(what: &str) -> anyhow::Result<()> {
    // The kernel gives a process's folder in /proc to its effective user.
    let user = std::fs::metadata("/proc/self").context("reading /proc/self: is /proc mounted?")?.uid();
    if user != 0 {
        bail!(
            "{what} makes network namespaces and must be started as root (now: uid {user}): use a root shell"
        );
    }
    Ok(())
}
