//! What no crate offers: keys for TCP-MD5 (RFC 2385), the least TTL of what is taken (RFC 5082), whether the other end of
//! a connection has closed it, and a thread's place in the queue for a processor.
//!
//! This is the only unsafe code of the speaker: system calls are told the addresses and the sizes of values that outlive
//! them.

#![allow(unsafe_code, reason = "these are C calls")]

use std::ffi::{c_int, c_void};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::socklen_t;

use crate::config::Password;

/// `tcpm_prefixlen` is to be looked at.
const FLAG_PREFIX: u8 = 1;

/// The kernel's `struct tcp_md5sig`: only segments to and from this address are signed.
#[repr(C)]
struct Md5Key {
    /// A `sockaddr_storage`: the family, the port (not looked at), the address.
    address: [u8; 128],
    flags: u8,
    prefix: u8,
    length: u16,
    interface: i32,
    key: [u8; Password::LONGEST],
}

/// Signs what is sent to `peer` and takes from it only what is signed, or no longer with `None`. `prefix` makes it a
/// whole network of peers.
pub fn set_md5(
    socket: BorrowedFd<'_>,
    peer: IpAddr,
    prefix: Option<u8>,
    key: Option<&Password>,
) -> io::Result<()> {
    let octets = key.map_or(&[][..], Password::octets);
    let mut value = Md5Key {
        address: address(peer),
        flags: prefix.map_or(0, |_| FLAG_PREFIX),
        prefix: prefix.unwrap_or(0),
        length: octets.len() as u16,
        interface: 0,
        key: [0; Password::LONGEST],
    };
    for (place, octet) in value.key.iter_mut().zip(octets) {
        *place = *octet;
    }
    // The plain option knows no prefixes; it is there on older kernels, too.
    let option = if prefix.is_some() { libc::TCP_MD5SIG_EXT } else { libc::TCP_MD5SIG };
    match set(socket, libc::IPPROTO_TCP, option, &value) {
        // There is no key to be removed.
        Err(error) if key.is_none() && error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}

/// Takes from the other end only what has at least this TTL, or hop limit, left.
pub fn set_least_ttl(socket: BorrowedFd<'_>, peer: IpAddr, least: u8) -> io::Result<()> {
    let value = c_int::from(least);
    match peer {
        IpAddr::V4(_) => set(socket, libc::IPPROTO_IP, libc::IP_MINTTL, &value),
        IpAddr::V6(_) => set(socket, libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT, &value),
    }
}

/// `TCP_ESTABLISHED`: both ends are open.
const STATE_ESTABLISHED: u8 = 1;

/// Whether a connection that was established is so no longer, whatever of it has been read: the other end has closed or
/// reset it.
pub fn is_closed_there(socket: BorrowedFd<'_>) -> io::Result<bool> {
    // The state is the first octet; the kernel gives as much of the value as is asked for.
    let mut state = 0_u8;
    let mut length = size_of::<u8>() as socklen_t;
    // SAFETY: both addresses are those of live values, and the kernel writes no more than the length says.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            std::ptr::from_mut(&mut state).cast::<c_void>(),
            std::ptr::from_mut(&mut length),
        )
    };
    if done == 0 { Ok(state != STATE_ESTABLISHED) } else { Err(io::Error::last_os_error()) }
}

/// The address as a `sockaddr_in` or `sockaddr_in6` at the head of a `sockaddr_storage`.
fn address(peer: IpAddr) -> [u8; 128] {
    let mut storage = [0; 128];
    let mut put = |at: usize, octets: &[u8]| {
        storage.iter_mut().skip(at).zip(octets).for_each(|(place, octet)| *place = *octet);
    };
    match peer {
        IpAddr::V4(address) => {
            put(0, &(libc::AF_INET as u16).to_ne_bytes());
            put(4, &address.octets());
        }
        IpAddr::V6(address) => {
            put(0, &(libc::AF_INET6 as u16).to_ne_bytes());
            put(8, &address.octets());
        }
    }
    storage
}

/// Which place a thread has in the queue for a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precedence {
    /// Before every thread that is not of real time (SCHED_FIFO).
    RealTime,
    /// Before most (a negative nice value).
    Favoured,
    /// Like any other: the rest is not allowed.
    Ordinary,
}

/// The least of the priorities of real time: before all ordinary threads, and behind whatever else is of real time.
const REAL_TIME_PRIORITY: c_int = 1;
const NICE: c_int = -15;

/// Gives the calling thread the best place it is allowed.
pub fn take_precedence() -> Precedence {
    // The C library of some systems refuses the first of these without asking the kernel: it is asked directly.
    // SAFETY: the kernel reads one int at the address, which is that of a live one; 0 is the calling thread.
    let real_time = unsafe {
        libc::syscall(
            libc::SYS_sched_setscheduler,
            0,
            libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK,
            std::ptr::from_ref(&REAL_TIME_PRIORITY),
        )
    };
    if real_time == 0 {
        return Precedence::RealTime;
    }
    // SAFETY: numbers only; 0 is the calling thread.
    let nice = unsafe { libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, NICE) };
    if nice == 0 { Precedence::Favoured } else { Precedence::Ordinary }
}

fn set<T>(socket: BorrowedFd<'_>, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    // SAFETY: `value` is a live reference to a plain C value of the size that is named; the kernel only reads it.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast::<c_void>(),
            size_of::<T>() as socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
