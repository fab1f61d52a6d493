//! What the kernel is asked not to tell: changes of routes and neighbours that we have made ourselves.
//!
//! Their outcome is known from their answers. A program of the classic packet filter (linux/filter.h) drops them before they are
//! queued, so that writing many routes neither wakes the listener for each nor fills its buffer.

use std::io;
use std::os::fd::AsFd;

use socket2::{SockFilter, SockRef};

/// `nlmsg_type` and `nlmsg_pid` of struct nlmsghdr, `ndm_family` of struct ndmsg behind it.
const TYPE: u32 = 4;
const PORT: u32 = 12;
const FAMILY: u32 = 16;

const NEW_ROUTE: u16 = 24;
const DEL_ROUTE: u16 = 25;
const NEW_NEIGHBOUR: u16 = 28;
const DEL_NEIGHBOUR: u16 = 29;
/// AF_BRIDGE: forwarding entries of bridges and VXLAN devices, which are heard whoever made them.
const BRIDGE: u32 = 7;

/// Instructions: load a word, a half or a byte, jump if equal, give a result.
const WORD: u16 = 0x20;
const HALF: u16 = 0x28;
const BYTE: u16 = 0x30;
const EQUAL: u16 = 0x15;
const RESULT: u16 = 0x06;

/// Lets this socket hear no route or neighbour that the socket with this port has changed.
pub(super) fn deaf_to(socket: &impl AsFd, port: u32) -> io::Result<()> {
    // A filter loads numbers as from a wire, and netlink writes them as the machine has them.
    let port = u32::from_be_bytes(port.to_ne_bytes());
    let kind = |number: u16| u32::from(u16::from_be_bytes(number.to_ne_bytes()));
    let step = SockFilter::new;
    SockRef::from(socket).attach_filter(&[
        step(WORD, 0, 0, PORT),
        step(EQUAL, 0, 7, port),
        step(HALF, 0, 0, TYPE),
        step(EQUAL, 6, 0, kind(NEW_ROUTE)),
        step(EQUAL, 5, 0, kind(DEL_ROUTE)),
        step(EQUAL, 1, 0, kind(NEW_NEIGHBOUR)),
        step(EQUAL, 0, 2, kind(DEL_NEIGHBOUR)),
        step(BYTE, 0, 0, FAMILY),
        step(EQUAL, 0, 1, BRIDGE),
        step(RESULT, 0, 0, u32::MAX),
        step(RESULT, 0, 0, 0),
    ])
}
