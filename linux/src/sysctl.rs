//! Kernel settings under `/proc/sys`, by path with slashes: `net/ipv4/conf/eth0/forwarding`.
//!
//! Slashes and not dots, because device names may have dots. What is under `net/` belongs to the network namespace of the
//! calling thread, whichever mount of `/proc` it is read through; see [`crate::namespace::Namespace::run`].

use std::fs;
use std::io;

/// Why a setting could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path leads elsewhere.
    #[error("`{0}` is no path below /proc/sys: write it as in net/ipv4/ip_forward")]
    BadPath(String),
    /// The kernel said no.
    #[error("{doing} /proc/sys/{path}: {source}{}", hint(.source))]
    Kernel {
        /// What was tried.
        doing: String,
        /// The setting.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    /// Whether there is no such setting: its device is gone, or the kernel lacks the feature.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Kernel { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => " (the device is gone, or the kernel lacks the feature)",
        io::ErrorKind::ReadOnlyFilesystem => " (mount /proc/sys writable, or run privileged)",
        io::ErrorKind::PermissionDenied => " (it takes root in the namespace's own user namespace)",
        _ => "",
    }
}

fn full(path: &str) -> Result<String, Error> {
    let odd = path.is_empty() || path.split('/').any(|part| part.is_empty() || part == "." || part == "..");
    if odd { Err(Error::BadPath(path.to_owned())) } else { Ok(format!("/proc/sys/{path}")) }
}

/// Reads a setting, without the line's end.
pub fn read(path: &str) -> Result<String, Error> {
    match fs::read_to_string(full(path)?) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(source) => Err(Error::Kernel { doing: "reading".to_owned(), path: path.to_owned(), source }),
    }
}

/// Writes a setting, unless it has that value already: so a `/proc/sys` that is mounted read-only is no hindrance where
/// everything is right.
pub fn write(path: &str, value: &str) -> Result<(), Error> {
    if read(path).is_ok_and(|current| current == value) {
        return Ok(());
    }
    fs::write(full(path)?, value).map_err(|source| Error::Kernel {
        doing: format!("writing `{value}` to"),
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::Namespace;

    #[test]
    fn a_setting_is_written_in_the_namespace_of_the_thread_and_nowhere_else() {
        let path = "net/ipv4/conf/lo/proxy_arp";
        let outside = read(path).unwrap();
        let namespace = Namespace::create().expect("this test makes a network namespace: run it as root");
        let inside = namespace.run(|| {
            write(path, "1").unwrap();
            write(path, "1").unwrap();
            read(path).unwrap()
        });
        assert_eq!(inside.unwrap(), "1");
        assert_eq!(namespace.run(|| read(path).unwrap()).unwrap(), "1");
        assert_eq!(read(path).unwrap(), outside);
    }

    #[test]
    fn a_missing_setting_is_told_apart() {
        let error = read("net/ipv4/conf/no-such-device/forwarding").unwrap_err();
        assert!(error.is_missing(), "{error}");
        assert!(error.to_string().contains("/proc/sys/net/ipv4/conf/no-such-device/forwarding"), "{error}");
    }

    #[test]
    fn paths_stay_below_proc_sys() {
        for bad in ["", "/etc/passwd", "net/../../etc/passwd", "net//ipv4", "."] {
            assert!(matches!(write(bad, "1"), Err(Error::BadPath(_))), "{bad:?} was taken");
        }
    }
}
