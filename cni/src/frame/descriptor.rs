//! Passing an open descriptor over a unix socket (SCM_RIGHTS).
//!
//! `unsafe` is needed for one step: the kernel hands over a bare number, and only here is it known that nobody else owns it.
#![allow(unsafe_code, reason = "turning descriptors received from the kernel into owned ones")]

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};

/// Sends as many of the bytes as go, at least one, with the descriptor.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<usize> {
    let passed: Vec<i32> = descriptor.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&passed)];
    let control: &[ControlMessage<'_>] = if passed.is_empty() { &[] } else { &rights };
    // Without NOSIGNAL an agent that has just closed would end the plugin by SIGPIPE.
    let flags = MsgFlags::MSG_NOSIGNAL;
    loop {
        match sendmsg::<UnixAddr>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, flags, None) {
            Ok(count) => return Ok(count),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives some bytes, and the first descriptor that came with them. Any further ones are closed.
pub(super) fn receive(socket: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut control = nix::cmsg_space!([i32; 4]);
    let mut buffers = [IoSliceMut::new(into)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut buffers, Some(&mut control), flags)?;
    let mut received = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = part {
            // SAFETY: the kernel has just opened these numbers for this process with this message, and nothing else in
            // the process has learned of them: they are owned here alone.
            received.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
        }
    }
    Ok((message.bytes, received.into_iter().next()))
}
