//! A speaker of the test's own, over plain TCP: it sends what no daemon would. It shares no code with the product.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};

pub(crate) const OPEN: u8 = 1;
pub(crate) const UPDATE: u8 = 2;
pub(crate) const NOTIFICATION: u8 = 3;
pub(crate) const KEEPALIVE: u8 = 4;
pub(crate) const ROUTE_REFRESH: u8 = 5;

/// The capability of messages of up to 65535 octets (RFC 8654).
pub(crate) const EXTENDED_MESSAGES: &[u8] = &[6, 0];

/// The capability of refreshes with a beginning and an end (RFC 7313).
pub(crate) const ENHANCED_REFRESH: &[u8] = &[70, 0];

/// How long the other side may take for its part of the opening.
const PATIENCE: Duration = Duration::from_secs(20);

/// An established session.
pub(crate) struct Raw {
    local: IpAddr,
    asn: u32,
    internal: bool,
    writer: OwnedWriteHalf,
    reader: Option<OwnedReadHalf>,
    heard: Arc<Mutex<Vec<Message>>>,
}

/// A message by its type and body.
pub(crate) type Message = (u8, Vec<u8>);

impl Raw {
    /// Dials from `local`, with an AS of its own or the other's, and opens with hold time 0: it never has to speak.
    pub(crate) async fn open(local: &str, remote: &str, asn: u32, their_asn: u32) -> anyhow::Result<Raw> {
        Self::open_with(local, remote, asn, their_asn, &[]).await
    }

    /// The same with more capabilities, each as its bytes.
    pub(crate) async fn open_with(
        local: &str,
        remote: &str,
        asn: u32,
        their_asn: u32,
        more: &[&[u8]],
    ) -> anyhow::Result<Raw> {
        let ip: IpAddr = local.parse().context("its own address")?;
        let socket = TcpSocket::new_v4().context("making a socket")?;
        socket.bind(SocketAddr::new(ip, 0)).with_context(|| format!("binding {local}"))?;
        // Small, so that a reader that stops is felt soon.
        socket.set_recv_buffer_size(4096).context("setting its buffer")?;
        let remote = SocketAddr::new(remote.parse().context("the other's address")?, 179);
        let mut stream = socket.connect(remote).await.with_context(|| format!("dialling {remote}"))?;
        stream.set_nodelay(true).context("setting no delay")?;
        let opening = async {
            write(&mut stream, OPEN, &open_body(ip, asn, &more.concat())).await?;
            let (kind, body) = read(&mut stream).await?;
            ensure!(kind == OPEN, "OPEN expected, not type {kind} with {body:x?}");
            write(&mut stream, KEEPALIVE, &[]).await?;
            let (kind, body) = read(&mut stream).await?;
            ensure!(kind == KEEPALIVE, "KEEPALIVE expected, not type {kind} with {body:x?}");
            anyhow::Ok(())
        };
        tokio::time::timeout(PATIENCE, opening).await.context("the opening took too long").flatten()?;
        let (reader, writer) = stream.into_split();
        let internal = asn == their_asn;
        Ok(Raw { local: ip, asn, internal, writer, reader: Some(reader), heard: Arc::default() })
    }

    /// Reads from now on; until then the other side's words stay in the socket.
    pub(crate) fn listen(&mut self) {
        let Some(mut reader) = self.reader.take() else { return };
        let heard = Arc::clone(&self.heard);
        tokio::spawn(async move {
            while let Ok(message) = read(&mut reader).await {
                heard.lock().unwrap().push(message);
            }
        });
    }

    /// What has come since it listens.
    pub(crate) fn heard(&self) -> Vec<Message> {
        self.heard.lock().unwrap().clone()
    }

    /// Sends one message.
    pub(crate) async fn send(&mut self, kind: u8, body: &[u8]) -> anyhow::Result<()> {
        write(&mut self.writer, kind, body).await
    }

    /// Announces an IPv4 prefix with attributes as they are.
    pub(crate) async fn announce(
        &mut self,
        attributes: &[u8],
        prefix: [u8; 4],
        length: u8,
    ) -> anyhow::Result<()> {
        self.send(UPDATE, &update(attributes, &nlri(prefix, length))).await
    }

    /// Good attributes: ORIGIN, AS_PATH, NEXT_HOP, and LOCAL_PREF inside an AS.
    pub(crate) fn good(&self) -> Vec<Attribute> {
        let mut path = Vec::new();
        if !self.internal {
            path.extend([2, 1]);
            path.extend(self.asn.to_be_bytes());
        }
        let IpAddr::V4(own) = self.local else { unreachable!("it dials over IPv4") };
        let mut all = vec![
            Attribute::new(0x40, 1, &[0]),
            Attribute::new(0x40, 2, &path),
            Attribute::new(0x40, 3, &own.octets()),
        ];
        if self.internal {
            all.push(Attribute::new(0x40, 5, &100_u32.to_be_bytes()));
        }
        all
    }
}

/// One path attribute.
#[derive(Debug, Clone)]
pub(crate) struct Attribute {
    pub(crate) flags: u8,
    pub(crate) code: u8,
    pub(crate) value: Vec<u8>,
}

impl Attribute {
    pub(crate) fn new(flags: u8, code: u8, value: &[u8]) -> Self {
        Self { flags, code, value: value.to_vec() }
    }
}

/// The attributes as bytes.
pub(crate) fn encode(attributes: &[Attribute]) -> Vec<u8> {
    let mut out = Vec::new();
    for Attribute { flags, code, value } in attributes {
        if let Ok(length) = u8::try_from(value.len()) {
            out.extend([*flags, *code, length]);
        } else {
            out.extend([flags | 0x10, *code]);
            out.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        }
        out.extend(value);
    }
    out
}

/// The body of an UPDATE that withdraws nothing.
pub(crate) fn update(attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 0];
    body.extend(u16::try_from(attributes.len()).unwrap().to_be_bytes());
    body.extend(attributes);
    body.extend(nlri);
    body
}

/// The attributes of an UPDATE's body, each with its flags, code and value.
pub(crate) fn attributes_of(body: &[u8]) -> Vec<Attribute> {
    let number = |at: usize| usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
    let start = 2 + number(0);
    let mut rest = &body[start + 2..start + 2 + number(start)];
    let mut all = Vec::new();
    while let [flags, code, more @ ..] = rest {
        let (length, value) = if flags & 0x10 == 0 {
            (usize::from(more[0]), &more[1..])
        } else {
            (usize::from(u16::from_be_bytes([more[0], more[1]])), &more[2..])
        };
        all.push(Attribute::new(*flags, *code, &value[..length]));
        rest = &value[length..];
    }
    all
}

/// A prefix on the wire.
pub(crate) fn nlri(prefix: [u8; 4], length: u8) -> Vec<u8> {
    let mut out = vec![length];
    out.extend(&prefix[..usize::from(length.div_ceil(8))]);
    out
}

/// Version 4, AS_TRANS, hold time 0, its address as identifier; IPv4 and IPv6 unicast, refresh, four-octet AS.
fn open_body(ip: IpAddr, asn: u32, more: &[u8]) -> Vec<u8> {
    let IpAddr::V4(id) = ip else { unreachable!("it dials over IPv4") };
    let mut capabilities = vec![1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1, 2, 0, 65, 4];
    capabilities.extend(asn.to_be_bytes());
    capabilities.extend(more);
    let mut body = vec![4];
    body.extend(u16::try_from(asn).unwrap_or(23456).to_be_bytes());
    body.extend([0, 0]);
    body.extend(id.octets());
    let length = u8::try_from(capabilities.len()).unwrap();
    body.extend([length + 2, 2, length]);
    body.extend(capabilities);
    body
}

async fn write(stream: &mut (impl AsyncWriteExt + Unpin), kind: u8, body: &[u8]) -> anyhow::Result<()> {
    let mut message = vec![0xff; 16];
    message.extend(u16::try_from(19 + body.len()).context("a message too long")?.to_be_bytes());
    message.push(kind);
    message.extend(body);
    stream.write_all(&message).await.context("writing a message")
}

async fn read(stream: &mut (impl AsyncReadExt + Unpin)) -> anyhow::Result<Message> {
    let mut header = [0; 19];
    stream.read_exact(&mut header).await.context("reading a header")?;
    let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
    let Some(length) = length.checked_sub(19) else { bail!("a message of {length} octets") };
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.context("reading a body")?;
    Ok((header[18], body))
}

/// A connection that is opened and never says anything.
pub(crate) async fn silent(local: &str, remote: &str) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4().context("making a socket")?;
    socket.bind(SocketAddr::new(local.parse()?, 0)).with_context(|| format!("binding {local}"))?;
    let remote = SocketAddr::new(remote.parse()?, 179);
    socket.connect(remote).await.with_context(|| format!("dialling {remote}"))
}
