//! A blocking netlink socket of any protocol, its messages as bytes: many in one datagram either way, which the async
//! libraries cannot.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use netlink_packet_core::NetlinkBuffer;
use netlink_sys::SocketAddr;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use tracing::{debug, warn};

/// The longest datagram the kernel sends: lists come in pieces of at most 32 KiB, a single link with many virtual functions
/// can be longer.
const DATAGRAM: usize = 256 << 10;

/// A bound, blocking netlink socket.
pub(crate) struct Channel {
    inner: netlink_sys::Socket,
    port: u32,
    buffer: Vec<u8>,
    roomy: bool,
}

impl Channel {
    /// Opens a socket of a protocol (`NETLINK_…`) in the namespace of the calling thread that hears these multicast groups (a
    /// mask), with buffers of this many bytes if the kernel grants them.
    pub(crate) fn open(protocol: isize, groups: u32, buffer: usize) -> io::Result<Self> {
        let mut inner = netlink_sys::Socket::new(protocol)?;
        inner.set_ext_ack(true)?;
        inner.set_cap_ack(true)?;
        inner.set_netlink_get_strict_chk(true)?;
        let roomy = widen(&inner, buffer);
        inner.bind(&SocketAddr::new(0, groups))?;
        let mut address = SocketAddr::new(0, 0);
        inner.get_address(&mut address)?;
        Ok(Self { inner, port: address.port_number(), buffer: Vec::with_capacity(DATAGRAM), roomy })
    }

    /// The kernel's name for this socket: what it does is announced under it.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// Whether the big buffers were granted.
    pub(crate) fn roomy(&self) -> bool {
        self.roomy
    }

    /// Sends one datagram to the kernel.
    pub(crate) fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.inner.send_to(datagram, &SocketAddr::new(0, 0), 0).map(drop)
    }

    /// Takes one datagram and gives its messages, headers included, to `each`; false if none came until then.
    pub(crate) fn receive(&mut self, until: Instant, mut each: impl FnMut(&[u8])) -> io::Result<bool> {
        loop {
            self.buffer.clear();
            match self.inner.recv(&mut self.buffer, libc::MSG_DONTWAIT | libc::MSG_TRUNC) {
                Ok(length) if length > self.buffer.len() => {
                    warn!(length, "a netlink datagram was longer than the buffer and is dropped");
                    return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
                }
                Ok(_) => {
                    messages(&self.buffer, &mut each);
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if !self.wait(until)? {
                return Ok(false);
            }
        }
    }

    fn wait(&self, until: Instant) -> io::Result<bool> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            // Rounded up, so as not to spin through the last millisecond.
            let left = if left.is_zero() { left } else { left + std::time::Duration::from_millis(1) };
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.inner.as_fd(), PollFlags::POLLIN)], left) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

/// Asks for big buffers: past the system's limit where that is allowed, up to the limit where not.
fn widen(socket: &netlink_sys::Socket, bytes: usize) -> bool {
    let forced = setsockopt(socket, sockopt::RcvBufForce, &bytes)
        .and_then(|()| setsockopt(socket, sockopt::SndBufForce, &bytes));
    let Err(refused) = forced else { return true };
    let limited = setsockopt(socket, sockopt::RcvBuf, &bytes)
        .and_then(|()| setsockopt(socket, sockopt::SndBuf, &bytes));
    debug!(%refused, ?limited, "big netlink buffers were refused: sending smaller batches");
    false
}

/// Gives each message of a datagram to `each`.
pub(crate) fn messages(mut datagram: &[u8], each: &mut impl FnMut(&[u8])) {
    while let Ok(buffer) = NetlinkBuffer::new_checked(datagram) {
        let length = usize::try_from(buffer.length()).unwrap_or(usize::MAX).min(datagram.len());
        each(&datagram[..length]);
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}
