//! Packets on a device, by tcpdump: what checks the product must not share its code.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use caracal_lab::netns::Netns;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

/// IP protocol numbers.
pub(crate) const ICMP: u8 = 1;
pub(crate) const IPIP: u8 = 4;

const PATIENCE: Duration = Duration::from_secs(30);

/// An IPv4 packet, and what it carries if that is one too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) protocol: u8,
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) inner: Option<Box<Packet>>,
}

/// A running capture.
#[derive(Debug)]
pub(crate) struct Capture {
    child: Child,
}

impl Capture {
    /// Begins; returns when every packet from now on is seen. Immediate mode: else the kernel keeps packets for a while,
    /// and those are lost at the end.
    pub(crate) async fn start(netns: &Netns, device: &str) -> anyhow::Result<Self> {
        let mut child = netns
            .command("tcpdump")
            .args(["-Z", "root", "-i", device, "--immediate-mode", "-U", "-w", "-", "icmp or ip proto 4"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting tcpdump")?;
        let mut words = BufReader::new(child.stderr.take().context("tcpdump has no stderr")?);
        let mut line = String::new();
        let listening = async {
            while words.read_line(&mut line).await? > 0 {
                if line.contains("listening on") {
                    return anyhow::Ok(());
                }
            }
            bail!("tcpdump ended: {line}")
        };
        tokio::time::timeout(PATIENCE, listening).await.context("tcpdump does not begin")??;
        // Read to its end, or tcpdump dies of its last words.
        tokio::spawn(async move { while words.read_line(&mut line).await.is_ok_and(|length| length > 0) {} });
        Ok(Self { child })
    }

    /// Ends; what was seen.
    pub(crate) async fn stop(self) -> anyhow::Result<Vec<Packet>> {
        let pid = self.child.id().context("tcpdump ended too early")?;
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGINT).context("stopping tcpdump")?;
        let output = tokio::time::timeout(PATIENCE, self.child.wait_with_output())
            .await
            .context("tcpdump does not stop")??;
        read(&output.stdout)
    }
}

/// Reads a pcap file of Ethernet frames: a header of 24 bytes; then for each packet 16 bytes, of which the third four
/// are its length.
fn read(file: &[u8]) -> anyhow::Result<Vec<Packet>> {
    let (header, mut rest) = file.split_at_checked(24).context("the capture has no header")?;
    ensure!(
        header[..4] == [0xd4, 0xc3, 0xb2, 0xa1],
        "the capture is no pcap file of this machine's byte order"
    );
    let mut packets = Vec::new();
    while let Some((record, after)) = rest.split_at_checked(16) {
        let length = u32::from_le_bytes([record[8], record[9], record[10], record[11]]) as usize;
        let (frame, after) = after.split_at_checked(length).context("the capture ends in a packet")?;
        packets.extend(frame.get(14..).filter(|_| frame[12..14] == [8, 0]).and_then(packet));
        rest = after;
    }
    Ok(packets)
}

fn packet(bytes: &[u8]) -> Option<Packet> {
    let first = *bytes.first()?;
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?));
    if first >> 4 != 4 {
        return None;
    }
    let protocol = *bytes.get(9)?;
    let payload = bytes.get(usize::from(first & 15) * 4..)?;
    let inner = if protocol == IPIP { packet(payload).map(Box::new) } else { None };
    Some(Packet { protocol, source: address(12)?, destination: address(16)?, inner })
}
