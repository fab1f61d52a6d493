//! Who has started this: packages need root, and so do some of the suites; say so before anything takes time.

use std::os::unix::fs::MetadataExt;

use anyhow::{Context, bail};

/// Refuses in one line when not started as root.
pub(crate) fn require(what: &str) -> anyhow::Result<()> {
    let user = user()?;
    if user != 0 {
        bail!(
            "{what} tests labs of every user and must be started as root (now: uid {user}): use a root shell; \
             `cargo verify --quick` and `cargo lab` do without"
        );
    }
    Ok(())
}

/// The effective user: the kernel gives a process's folder in /proc to it.
pub(crate) fn user() -> anyhow::Result<u32> {
    Ok(std::fs::metadata("/proc/self").context("reading /proc/self: is /proc mounted?")?.uid())
}
