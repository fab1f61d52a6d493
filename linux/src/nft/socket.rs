//! A netlink socket to netfilter, and its messages as bytes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use netlink_packet_core::NetlinkBuffer;
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::netlink::channel::Channel;
use crate::nft::attributes;

/// Tables of every family.
pub(super) const ANY: u8 = 0;
/// The family of tables that see both IPv4 and IPv6.
pub(super) const INET: u8 = 1;
/// NFNL_SUBSYS_NFTABLES.
const SUBSYSTEM: u16 = 10;
/// Room for a transaction with all that a big cluster has.
const BUFFER: usize = 16 << 20;
/// How long a list may take to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// The length of a message's own header.
const HEADER: usize = 16;
/// The group that hears of changes of nftables.
const GROUP: u32 = 1 << 6;

pub(super) const FLAG_REQUEST: u16 = 1;
pub(super) const FLAG_ACK: u16 = 4;
const FLAG_DUMP: u16 = 0x300;
pub(super) const FLAG_CREATE: u16 = 0x400;
/// NLM_F_DUMP_INTR: what is listed was changed meanwhile.
const FLAG_INTERRUPTED: u16 = 0x10;
const FLAG_CAPPED: u16 = 0x100;
const FLAG_TLVS: u16 = 0x200;

/// A message that came.
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) port: u32,
    pub(super) body: &'a [u8],
}

impl Message<'_> {
    /// Which message of nftables it is, and its attributes.
    pub(super) fn of_nftables(&self) -> Option<(u16, &[u8])> {
        (self.kind >> 8 == SUBSYSTEM).then(|| (self.kind & 0xff, self.body.get(4..).unwrap_or_default()))
    }

    /// The family of tables it is about.
    pub(super) fn family(&self) -> u8 {
        self.body.first().copied().unwrap_or_default()
    }

    /// An answer: none if it is no answer, else the error's number (0: done) and the kernel's words.
    pub(super) fn answer(&self) -> Option<(i32, Option<String>)> {
        const ERROR: u16 = 2;
        if self.kind != ERROR {
            return None;
        }
        let errno = i32::from_ne_bytes(self.body.get(..4)?.try_into().ok()?).saturating_abs();
        let request = self.body.get(4..)?;
        let text = (self.flags & FLAG_TLVS != 0).then(|| {
            let length = u32::from_ne_bytes(request.get(..4)?.try_into().ok()?);
            let length = if self.flags & FLAG_CAPPED == 0 { length } else { 16 };
            let attributes = request.get(usize::try_from(length).ok()?.next_multiple_of(4)..)?;
            attributes::find(attributes, 1).map(attributes::text)
        });
        Some((errno, text.flatten()))
    }

    /// Whether it ends a list.
    fn ends_a_list(&self) -> bool {
        self.kind == 3
    }
}

/// A bound socket.
pub(super) struct Socket {
    channel: Channel,
}

impl Socket {
    /// Opens a socket in the namespace of the calling thread; with `listening` it hears of changes.
    pub(super) fn open(listening: bool) -> io::Result<Self> {
        let groups = if listening { GROUP } else { 0 };
        Ok(Self { channel: Channel::open(NETLINK_NETFILTER, groups, BUFFER)? })
    }

    /// The kernel's name for this socket: what it changes is announced under it.
    pub(super) fn port(&self) -> u32 {
        self.channel.port()
    }

    pub(super) fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.channel.send(datagram)
    }

    /// Takes one datagram, and gives its messages to `each`; false if none came until then.
    pub(super) fn receive(&mut self, until: Instant, mut each: impl FnMut(Message<'_>)) -> io::Result<bool> {
        self.channel.receive(until, |bytes| {
            if let Ok(header) = NetlinkBuffer::new_checked(bytes) {
                each(Message {
                    kind: header.message_type(),
                    flags: header.flags(),
                    sequence: header.sequence_number(),
                    port: header.port_number(),
                    body: bytes.get(HEADER..).unwrap_or_default(),
                });
            }
        })
    }
}

impl Socket {
    /// Gives each message of a list to `each`: family, kind and attributes.
    ///
    /// # Errors
    /// The kernel's, [`io::ErrorKind::Interrupted`] when what is listed was changed meanwhile, or that no answer came.
    pub(super) fn list(
        &mut self,
        sequence: &mut u32,
        (family, kind, attributes): (u8, u16, &[u8]),
        mut each: impl FnMut(u8, u16, &[u8]),
    ) -> io::Result<()> {
        *sequence = sequence.wrapping_add(1);
        let asked = *sequence;
        let mut datagram = Vec::new();
        message(&mut datagram, kind, family, FLAG_REQUEST | FLAG_DUMP, asked, attributes);
        self.send(&datagram)?;
        let deadline = Instant::now() + PATIENCE;
        let (mut ended, mut failed, mut interrupted) = (false, None, false);
        while !ended {
            let came = self.receive(deadline, |message| {
                if message.sequence != asked {
                    return;
                }
                interrupted |= message.flags & FLAG_INTERRUPTED != 0;
                if let Some((errno, _)) = message.answer() {
                    failed = Some(errno);
                    ended = true;
                }
                ended |= message.ends_a_list();
                if let Some((kind, attributes)) = message.of_nftables() {
                    each(message.family(), kind, attributes);
                }
            })?;
            if !came {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        match failed {
            Some(errno) if errno != 0 => Err(io::Error::from_raw_os_error(errno)),
            _ if interrupted => Err(io::ErrorKind::Interrupted.into()),
            _ => Ok(()),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

/// Appends a message of nftables.
pub(super) fn message(
    datagram: &mut Vec<u8>,
    kind: u16,
    family: u8,
    flags: u16,
    sequence: u32,
    attributes: &[u8],
) {
    append(datagram, SUBSYSTEM << 8 | kind, flags, sequence, [family, 0, 0, 0], attributes);
}

/// Appends the message that begins (`true`) or ends a transaction.
pub(super) fn bracket(datagram: &mut Vec<u8>, begins: bool, sequence: u32) {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    append(datagram, if begins { 0x10 } else { 0x11 }, FLAG_REQUEST, sequence, [0, 0, high, low], &[]);
}

fn append(datagram: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, generic: [u8; 4], attributes: &[u8]) {
    let length = u32::try_from(20 + attributes.len()).unwrap_or(u32::MAX);
    datagram.extend(length.to_ne_bytes());
    datagram.extend(kind.to_ne_bytes());
    datagram.extend(flags.to_ne_bytes());
    datagram.extend(sequence.to_ne_bytes());
    datagram.extend([0; 4]);
    datagram.extend(generic);
    datagram.extend(attributes);
    datagram.resize(datagram.len().next_multiple_of(4), 0);
}
