//! Echo requests (RFC 792, RFC 4443 §4.1) to many targets at once, from one namespace: one packet a target, never a
//! second one. A process a ping would take longer than the network does, and `ping` hides nothing that is hidden here.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{SockaddrStorage, recvfrom};
use socket2::{Domain, Protocol, Socket, Type};

use crate::netns::Netns;

/// How long an answer may take, counted from the last packet sent.
const PATIENCE: Duration = Duration::from_secs(1);
/// Packets sent before answers are read, so that no buffer overflows.
const AT_ONCE: usize = 32;
/// Our own mark, after ICMP's header.
const MARK: &[u8; 8] = b"caracal?";

/// What became of one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Answered, after so long.
    Answered(Duration),
    /// Not answered in time, or refused, in words.
    Lost(String),
}

/// Sends one packet to each target and waits for the answers.
pub async fn burst(from: &Netns, targets: Vec<IpAddr>) -> anyhow::Result<Vec<Fate>> {
    from.on_a_thread(move || send_all(&targets)).await
}

fn send_all(targets: &[IpAddr]) -> anyhow::Result<Vec<Fate>> {
    let mut burst = Burst::new(targets.len())?;
    for (index, target) in targets.iter().enumerate() {
        burst.send(index, *target)?;
        if index % AT_ONCE == AT_ONCE - 1 {
            burst.read_until(Instant::now() + Duration::from_millis(1))?;
        }
    }
    burst.read_until(Instant::now() + PATIENCE)?;
    let lost = || Fate::Lost(format!("no answer within {} s", PATIENCE.as_secs()));
    Ok(burst.fates.into_iter().map(|fate| fate.unwrap_or_else(lost)).collect())
}

struct Burst {
    v4: Socket,
    v6: Socket,
    sent: HashMap<u16, Instant>,
    fates: Vec<Option<Fate>>,
}

impl Burst {
    fn new(count: usize) -> anyhow::Result<Self> {
        let open = |domain, protocol| -> io::Result<Socket> {
            let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let opening = "opening a socket for echo requests";
        let v4 = open(Domain::IPV4, Protocol::ICMPV4).context(opening)?;
        let v6 = open(Domain::IPV6, Protocol::ICMPV6).context(opening)?;
        Ok(Self { v4, v6, sent: HashMap::new(), fates: vec![None; count] })
    }

    fn send(&mut self, index: usize, target: IpAddr) -> anyhow::Result<()> {
        let number = u16::try_from(index).context("more targets than numbers of echo requests")?;
        let packet = request(number, target.is_ipv6());
        let socket = if target.is_ipv6() { &self.v6 } else { &self.v4 };
        self.sent.insert(number, Instant::now());
        if let Err(error) = socket.send_to(&packet, &SocketAddr::new(target, 0).into()) {
            self.fates[index] = Some(Fate::Lost(error.to_string()));
        }
        Ok(())
    }

    /// Reads what has come until every packet has its fate, at most until `end`.
    fn read_until(&mut self, end: Instant) -> anyhow::Result<()> {
        loop {
            self.read(false)?;
            self.read(true)?;
            let waiting = self.sent.keys().any(|number| self.fates[usize::from(*number)].is_none());
            let rest = end.saturating_duration_since(Instant::now());
            if !waiting || rest.is_zero() {
                return Ok(());
            }
            self.wait(rest)?;
        }
    }

    fn wait(&self, rest: Duration) -> anyhow::Result<()> {
        let mut look = [&self.v4, &self.v6].map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
        // Rounded up: a wait of nothing would spin.
        let timeout = PollTimeout::try_from(rest + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut look, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno).context("waiting for echo replies"),
        }
    }

    fn read(&mut self, v6: bool) -> anyhow::Result<()> {
        let mut buffer = [0; 2048];
        loop {
            let socket = if v6 { &self.v6 } else { &self.v4 };
            let (length, from) = match recvfrom::<SockaddrStorage>(socket.as_raw_fd(), &mut buffer) {
                Ok(found) => found,
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno).context("reading echo replies"),
            };
            let packet = &buffer[..length];
            let now = Instant::now();
            let Some((number, word)) = reading(packet, v6) else { continue };
            let (Some(sent), Some(fate)) = (self.sent.get(&number), self.fates.get_mut(usize::from(number)))
            else {
                continue;
            };
            let from = from.map_or_else(String::new, |from| address(&from));
            if fate.is_none() {
                *fate = Some(match word {
                    Word::Reply => Fate::Answered(now.duration_since(*sent)),
                    Word::Refused(why) => Fate::Lost(format!("{from} says: {why}")),
                });
            }
        }
    }
}

fn address(from: &SockaddrStorage) -> String {
    let v4 = from.as_sockaddr_in().map(|v4| v4.ip().to_string());
    v4.or_else(|| from.as_sockaddr_in6().map(|v6| v6.ip().to_string())).unwrap_or_default()
}

/// What a packet says about one of ours.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    Reply,
    Refused(String),
}

fn request(number: u16, v6: bool) -> Vec<u8> {
    let mut packet = vec![if v6 { 128 } else { 8 }, 0, 0, 0, 0xca, 0xca];
    packet.extend(number.to_be_bytes());
    packet.extend(MARK);
    if !v6 {
        // The kernel fills in ICMPv6's checksum, which covers addresses too.
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

/// Reads a packet: the number of our request, and what is said of it. A raw IPv4 socket gives the IP header too.
fn reading(packet: &[u8], v6: bool) -> Option<(u16, Word)> {
    let icmp = if v6 { packet } else { packet.get(header(packet)?..)? };
    let (kind, code) = (*icmp.first()?, *icmp.get(1)?);
    let ours = |icmp: &[u8]| {
        let mark = icmp.get(4..6)? == [0xca, 0xca] && icmp.get(8..16).is_none_or(|mark| mark == MARK);
        mark.then(|| Some(u16::from_be_bytes([*icmp.get(6)?, *icmp.get(7)?])))?
    };
    let inner = || icmp.get(8..).and_then(|ip| ip.get(if v6 { 40 } else { header(ip)? }..));
    match (v6, kind) {
        (false, 0) | (true, 129) => Some((ours(icmp)?, Word::Reply)),
        (false, 3) | (true, 1) => {
            Some((ours(inner()?)?, Word::Refused(format!("destination unreachable (code {code})"))))
        }
        (false, 11) | (true, 3) => Some((ours(inner()?)?, Word::Refused("time exceeded".into()))),
        (true, 2) => Some((ours(inner()?)?, Word::Refused("packet too big".into()))),
        _ => None,
    }
}

/// The length of an IPv4 header.
fn header(packet: &[u8]) -> Option<usize> {
    packet.first().map(|first| usize::from(first & 0xf) * 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_ipv4(icmp: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 20];
        packet[0] = 0x45;
        packet.extend(icmp);
        packet
    }

    #[test]
    fn a_reply_is_told_by_its_number() {
        let mut reply = request(7, false);
        reply[0] = 0;
        assert_eq!(reading(&in_ipv4(&reply), false), Some((7, Word::Reply)));
        let mut reply = request(300, true);
        reply[0] = 129;
        assert_eq!(reading(&reply, true), Some((300, Word::Reply)));
    }

    #[test]
    fn a_refusal_names_the_request_it_quotes() {
        let mut refusal = vec![3, 1, 0, 0, 0, 0, 0, 0];
        refusal.extend(in_ipv4(&request(5, false)));
        let word = Word::Refused("destination unreachable (code 1)".into());
        assert_eq!(reading(&in_ipv4(&refusal), false), Some((5, word)));
    }

    #[test]
    fn requests_of_others_and_our_own_are_no_replies() {
        assert_eq!(reading(&in_ipv4(&request(1, false)), false), None);
        let mut other = request(1, false);
        (other[0], other[4]) = (0, 0);
        assert_eq!(reading(&in_ipv4(&other), false), None);
        assert_eq!(reading(&[0x45], false), None);
    }

    #[test]
    fn the_checksum_makes_the_sum_zero() {
        assert_eq!(checksum(&request(1234, false)), 0);
    }
}
