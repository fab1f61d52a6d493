//! Which machine this is, and which of its boots.

use std::fs;
use std::path::Path;

/// The id of this boot: everything that lived in the kernel ended with the one before.
pub fn boot_id() -> Option<String> {
    read(Path::new("/proc/sys/kernel/random/boot_id"))
}

/// The id of this machine (`machine-id(5)`), if it has one.
pub fn machine_id() -> Option<String> {
    read(Path::new("/etc/machine-id"))
}

fn read(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?.trim().to_owned();
    (!text.is_empty() && text != "uninitialized").then_some(text)
}

/// A random name of 128 bits.
pub(super) fn token() -> String {
    format!("{:032x}", rand::random::<u128>())
}
