//! A machine's name: an abstract socket on which its runner takes further commands. Taken by one only, found by
//! others, gone with its process.

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use crate::Failure;

/// The name of a machine's abstract socket begins with this; `/proc/net/unix` shows an `@` before it.
pub const PREFIX: &str = "caracal-vm/";

fn address(name: &str) -> Result<SocketAddr, Failure> {
    SocketAddr::from_abstract_name(format!("{PREFIX}{name}"))
        .map_err(Failure::io(format!("making an address of the name `{name}`")))
}

/// Takes a name for as long as the listener lives.
pub fn take(name: &str) -> Result<UnixListener, Failure> {
    match UnixListener::bind_addr(&address(name)?) {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Err(Failure::Busy(name.to_owned())),
        Err(error) => Err(Failure::io(format!("taking the name `{name}`"))(error)),
    }
}

/// A line to the runner of a machine.
pub fn call(name: &str) -> Result<UnixStream, Failure> {
    match UnixStream::connect_addr(&address(name)?) {
        Ok(stream) => Ok(stream),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            Err(Failure::NoMachine(name.to_owned()))
        }
        Err(error) => Err(Failure::io(format!("calling the virtual machine `{name}`"))(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_once_found_meanwhile_and_free_afterwards() {
        let name = format!("test-{}", std::process::id());
        let first = take(&name).unwrap();
        assert!(matches!(take(&name), Err(Failure::Busy(_))));
        call(&name).unwrap();
        drop(first);
        assert!(matches!(call(&name), Err(Failure::NoMachine(_))));
    }
}
