//! A lab's name: an abstract socket that its outer process listens on. Taken by one only, found by others, gone with
//! its process.

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::SandboxError;

/// A running lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The outer process.
    pub outer: i32,
    /// Process 1 of the sandbox, by its number outside.
    pub inner: i32,
}

fn address(name: &str) -> Result<SocketAddr, SandboxError> {
    SocketAddr::from_abstract_name(format!("caracal-lab/{name}"))
        .map_err(|source| SandboxError::io(format!("making an address of the name `{name}`"), source))
}

/// Takes a name, for as long as the listener lives.
pub(super) fn take(name: &str) -> Result<UnixListener, SandboxError> {
    match UnixListener::bind_addr(&address(name)?) {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let pid = holder(name)?.unwrap_or_default();
            Err(SandboxError::Busy { name: name.to_owned(), pid })
        }
        Err(source) => Err(SandboxError::io(format!("taking the name `{name}`"), source)),
    }
}

/// The process that listens under a name: the kernel knows, nobody has to answer.
fn holder(name: &str) -> Result<Option<i32>, SandboxError> {
    let stream = match UnixStream::connect_addr(&address(name)?) {
        Ok(stream) => stream,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(None),
        Err(source) => return Err(SandboxError::io(format!("looking for the lab `{name}`"), source)),
    };
    let credentials = getsockopt(&stream, PeerCredentials)
        .map_err(|errno| SandboxError::io(format!("asking who is the lab `{name}`"), errno))?;
    Ok(Some(credentials.pid()))
}

/// Finds a running lab by its name.
pub fn find(name: &str) -> Result<Found, SandboxError> {
    let none = || SandboxError::NoLab(name.to_owned());
    let outer = holder(name)?.ok_or_else(none)?;
    let inner = child_of(outer).ok_or_else(none)?;
    Ok(Found { outer, inner })
}

/// The first child of a process.
fn child_of(parent: i32) -> Option<i32> {
    let entries = std::fs::read_dir("/proc").ok()?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name before the last parenthesis may hold anything; after it come state and parent.
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        after.split_whitespace().nth(1).and_then(|number| number.parse().ok()) == Some(parent)
    })
    .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_once_and_free_again_afterwards() {
        let name = format!("test-{}", std::process::id());
        let first = take(&name).unwrap();
        let second = take(&name).unwrap_err();
        assert!(
            matches!(&second, SandboxError::Busy { pid, .. } if *pid == std::process::id().cast_signed())
        );
        drop(first);
        take(&name).unwrap();
    }

    #[test]
    fn an_unknown_lab_is_told_with_the_remedy() {
        let error = find("nobody-has-this-name").unwrap_err();
        assert!(error.to_string().contains("cargo lab"), "{error}");
    }
}
