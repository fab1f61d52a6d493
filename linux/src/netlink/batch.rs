//! Many requests in one datagram.
//!
//! Each message has its own sequence number and only the last asks for an acknowledgement. The kernel works through the
//! datagram before `sendmsg` returns; a message that fails is answered by an error with its number, one that succeeds by
//! silence, so that when the last is answered all is known. One failing message does not stop the others.

use std::io;
use std::time::{Duration, Instant};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;

use crate::netlink::error::{Error, Refused};
use crate::netlink::socket::Socket;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes for answers: enough for errors to all of a batch.
const BUFFER: usize = 8 << 20;
/// Messages in a datagram: more gain nothing.
const MOST: usize = 256;
/// The same where the buffers are small: errors to all of them still fit the default receive buffer.
const MOST_CRAMPED: usize = 64;
/// Bytes in a datagram, after which the next is begun.
const MOST_BYTES: usize = 64 << 10;
/// How often a list is read again when it changed meanwhile.
const DUMP_TRIES: usize = 5;

/// A change to be made.
pub(crate) struct Request {
    pub(crate) message: RouteNetlinkMessage,
    /// `NLM_F_CREATE` and the like.
    pub(crate) flags: u16,
}

/// Why a change of a batch was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The kernel refused.
    Refused(Refused),
    /// The answer was lost or late: it may have been made or not.
    NoAnswer,
}

/// The socket that changes and lists.
pub(crate) struct Writer {
    socket: Socket,
    sequence: u32,
}

impl Writer {
    /// Opens the socket in the namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Self> {
        Self::with_buffer(BUFFER)
    }

    /// The same with a buffer of this many bytes for answers.
    pub(crate) fn with_buffer(bytes: usize) -> io::Result<Self> {
        Ok(Self { socket: Socket::open(0, bytes)?, sequence: 0 })
    }

    /// The kernel's name for the socket: changes made by it are announced under it.
    pub(crate) fn port(&self) -> u32 {
        self.socket.port()
    }

    fn next(&mut self) -> u32 {
        // Zero is left out: the kernel uses it for what nobody asked for.
        self.sequence = self.sequence.checked_add(1).unwrap_or(1);
        self.sequence
    }

    /// Makes the changes in their order and says of each what came of it.
    pub(crate) fn perform(&mut self, requests: Vec<Request>) -> io::Result<Vec<Result<(), Failure>>> {
        let most = if self.socket.roomy() { MOST } else { MOST_CRAMPED };
        let mut results = Vec::with_capacity(requests.len());
        let mut requests = requests.into_iter().peekable();
        let mut datagram = Vec::new();
        while requests.peek().is_some() {
            datagram.clear();
            let (mut first, mut last, mut count) = (None, 0, 0);
            while count < most
                && datagram.len() < MOST_BYTES
                && let Some(request) = requests.next()
            {
                let sequence = self.next();
                first.get_or_insert(sequence);
                last = datagram.len();
                encode(&mut datagram, sequence, request);
                count += 1;
            }
            let Some(first) = first else { break };
            ask_for_ack(&mut datagram[last..]);
            results.extend(self.exchange(&datagram, first, count)?);
        }
        Ok(results)
    }

    fn exchange(
        &mut self,
        datagram: &[u8],
        first: u32,
        count: usize,
    ) -> io::Result<Vec<Result<(), Failure>>> {
        self.socket.send(datagram)?;
        let deadline = Instant::now() + PATIENCE;
        let mut results = vec![Ok(()); count];
        let mut answered = false;
        while !answered {
            let received = self.socket.receive(deadline, |message| {
                let NetlinkPayload::Error(error) = &message.payload else { return };
                let at =
                    usize::try_from(message.header.sequence_number.wrapping_sub(first)).unwrap_or(usize::MAX);
                // Anything else answers a batch that was given up.
                let Some(result) = results.get_mut(at) else { return };
                if let Some(refused) = Refused::from_message(message.header.flags, error) {
                    *result = Err(Failure::Refused(refused));
                }
                answered |= at + 1 == count;
            });
            match received {
                Ok(true) => {}
                Ok(false) => return Ok(unknown(results)),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(unknown(results)),
                Err(error) => return Err(error),
            }
        }
        Ok(results)
    }

    /// Asks for one object.
    pub(crate) fn get<T>(
        &mut self,
        doing: &str,
        query: RouteNetlinkMessage,
        read: impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let failed = |source| Error::Socket { doing: doing.to_owned(), source };
        let sequence = self.next();
        let mut datagram = Vec::new();
        // Acknowledged, so that there is an answer whatever is found.
        encode(&mut datagram, sequence, Request { message: query, flags: NLM_F_ACK });
        self.socket.send(&datagram).map_err(failed)?;
        let (mut object, mut end) = (None, None);
        while end.is_none() {
            let received = self.socket.receive(Instant::now() + PATIENCE, |message| {
                if message.header.sequence_number != sequence {
                    return;
                }
                match message.payload {
                    NetlinkPayload::InnerMessage(found) => object = read(found),
                    NetlinkPayload::Error(error) => {
                        end = Some(Refused::from_message(message.header.flags, &error).map_or(Ok(()), Err));
                    }
                    _ => {}
                }
            });
            match received {
                Ok(true) => {}
                Ok(false) => return Err(Error::TimedOut { doing: doing.to_owned(), waited: PATIENCE }),
                Err(error) => return Err(failed(error)),
            }
        }
        match end {
            Some(Err(refused)) => Err(Error::Refused { doing: doing.to_owned(), refused }),
            Some(Ok(())) | None => Ok(object),
        }
    }

    /// Asks for a list, and again if it changed while it was read.
    pub(crate) fn list<T>(
        &mut self,
        doing: &str,
        query: &RouteNetlinkMessage,
        read: impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        for _ in 0..DUMP_TRIES {
            if let Some(list) = self.list_once(doing, query.clone(), &read)? {
                return Ok(list);
            }
        }
        Err(Error::Interrupted { doing: doing.to_owned() })
    }

    fn list_once<T>(
        &mut self,
        doing: &str,
        query: RouteNetlinkMessage,
        read: &impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Error> {
        let failed = |source| Error::Socket { doing: doing.to_owned(), source };
        let sequence = self.next();
        let mut datagram = Vec::new();
        encode(&mut datagram, sequence, Request { message: query, flags: NLM_F_DUMP });
        self.socket.send(&datagram).map_err(failed)?;
        let (mut list, mut steady, mut end) = (Vec::new(), true, None);
        while end.is_none() {
            // Each piece is given its time: a long list may take longer than one of them.
            let received = self.socket.receive(Instant::now() + PATIENCE, |message| {
                if message.header.sequence_number != sequence {
                    return;
                }
                steady &= message.header.flags & NLM_F_DUMP_INTR == 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(object) => list.extend(read(object)),
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        end = Some(Err(Refused { errno: done.code.saturating_abs(), text: None }));
                    }
                    NetlinkPayload::Done(_) => end = Some(Ok(())),
                    NetlinkPayload::Error(error) => {
                        end = Refused::from_message(message.header.flags, &error).map(Err);
                    }
                    _ => {}
                }
            });
            match received {
                Ok(true) => {}
                Ok(false) => return Err(Error::TimedOut { doing: doing.to_owned(), waited: PATIENCE }),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    return Err(Error::Overrun { doing: doing.to_owned() });
                }
                Err(error) => return Err(failed(error)),
            }
        }
        match end {
            Some(Err(refused)) => Err(Error::Refused { doing: doing.to_owned(), refused }),
            Some(Ok(())) | None => Ok(steady.then_some(list)),
        }
    }
}

/// What has no error yet may have one that got lost.
fn unknown(results: Vec<Result<(), Failure>>) -> Vec<Result<(), Failure>> {
    results.into_iter().map(|result| result.and(Err(Failure::NoAnswer))).collect()
}

fn encode(datagram: &mut Vec<u8>, sequence: u32, request: Request) {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | request.flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request.message));
    message.finalize();
    let (start, length) = (datagram.len(), message.buffer_len());
    datagram.resize(start + length.next_multiple_of(4), 0);
    message.serialize(&mut datagram[start..start + length]);
}

/// Sets `NLM_F_ACK` in the header of this message.
fn ask_for_ack(message: &mut [u8]) {
    let mut header = NetlinkBuffer::new(message);
    let flags = header.flags() | NLM_F_ACK;
    header.set_flags(flags);
}
