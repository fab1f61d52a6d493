//! One peer of the subject: it dials until it is let in, says what it has to say, and listens.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at, sleep, timeout};

use super::heard::Heard;
use super::message::{self, HEADER, KEEPALIVE, NOTIFICATION, OPEN, UPDATE};
use crate::load::Client;

/// Between two dials.
const AGAIN: Duration = Duration::from_millis(100);
/// Longest time for the network's part of a dial. A daemon that leaves connections in a short queue is dialled again
/// soon: how long TCP waits between its own tries is not what is measured.
const DIAL: Duration = Duration::from_secs(1);
/// Longest time for one opening, before another dial: a daemon may have a connection wait.
const OPENING: Duration = Duration::from_secs(20);
/// A third of the hold time is 60 s.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(30);
/// What is read at once.
const PIECE: usize = 256 * 1024;

/// What a peer is told to say. Dropping it ends the session.
#[derive(Debug, Clone)]
pub(crate) struct Mouth(mpsc::Sender<Rc<Vec<u8>>>);

impl Mouth {
    /// Says these messages.
    pub(crate) async fn say(&self, messages: Rc<Vec<u8>>) -> anyhow::Result<()> {
        self.0.send(messages).await.ok().context("the session has ended")
    }
}

/// Dials until there is a session. What it hears goes to `heard`; the mouth says what it is given.
pub(crate) async fn establish(
    client: &Client,
    server: SocketAddr,
    heard: Rc<Heard>,
) -> anyhow::Result<Mouth> {
    let stream = loop {
        let socket = bound(client).with_context(|| format!("taking the address {}", client.address))?;
        match timeout(OPENING, opened(socket, client, server)).await {
            Ok(Ok(stream)) => break stream,
            Ok(Err(_)) | Err(_) => sleep(AGAIN).await,
        }
    };
    let (reader, writer) = stream.into_split();
    let (mouth, words) = mpsc::channel(4);
    let who = client.address;
    tokio::task::spawn_local(async move {
        if let Err(error) = listen(reader, &heard).await {
            eprintln!("peer {who} hears no more: {error:#}");
        }
    });
    tokio::task::spawn_local(async move {
        if let Err(error) = speak(writer, words).await {
            eprintln!("peer {who} says no more: {error:#}");
        }
    });
    Ok(Mouth(mouth))
}

/// A socket at the peer's address. What stands in its way will not go by itself.
fn bound(client: &Client) -> std::io::Result<TcpSocket> {
    let socket = if client.address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::new(client.address, 0))?;
    Ok(socket)
}

async fn opened(socket: TcpSocket, client: &Client, server: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut stream = timeout(DIAL, socket.connect(server)).await??;
    stream.set_nodelay(true)?;
    stream.write_all(&message::open(client.family(), client.asn, client.router_id)).await?;
    ensure!(read_one(&mut stream).await? == OPEN, "no OPEN came");
    stream.write_all(&message::message(KEEPALIVE, &[])).await?;
    ensure!(read_one(&mut stream).await? == KEEPALIVE, "no KEEPALIVE came");
    Ok(stream)
}

/// Reads a message of the opening and tells its type.
async fn read_one(stream: &mut TcpStream) -> anyhow::Result<u8> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).await?;
    let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
    let mut body = vec![0; length.checked_sub(HEADER).context("a message shorter than its header")?];
    stream.read_exact(&mut body).await?;
    Ok(header[18])
}

async fn speak(mut writer: OwnedWriteHalf, mut words: mpsc::Receiver<Rc<Vec<u8>>>) -> anyhow::Result<()> {
    let mut alive = interval_at(Instant::now() + KEEPALIVE_EVERY, KEEPALIVE_EVERY);
    let keepalive = message::message(KEEPALIVE, &[]);
    loop {
        tokio::select! {
            messages = words.recv() => match messages {
                Some(messages) => writer.write_all(&messages).await?,
                None => return Ok(()),
            },
            _ = alive.tick() => writer.write_all(&keepalive).await?,
        }
    }
}

/// Reads until the other side ends; says why if that was not to be.
async fn listen(mut reader: OwnedReadHalf, heard: &Heard) -> anyhow::Result<()> {
    let mut buffer = vec![0; PIECE];
    let mut filled = 0;
    loop {
        let space = buffer.get_mut(filled..).context("no room for a message")?;
        heard.reads().await;
        let came = reader.read(space).await.context("reading")?;
        if came == 0 {
            return Ok(());
        }
        filled += came;
        let used = take(buffer.get(..filled).unwrap_or_default(), heard)?;
        buffer.copy_within(used..filled, 0);
        filled -= used;
    }
}

/// Takes the whole messages at the front; how many octets they were.
fn take(bytes: &[u8], heard: &Heard) -> anyhow::Result<usize> {
    let mut rest = bytes;
    while let Some((header, _)) = rest.split_first_chunk::<HEADER>() {
        let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
        ensure!(length >= HEADER, "a message of {length} octets");
        let Some((message, more)) = rest.split_at_checked(length) else { break };
        let body = message.get(HEADER..).unwrap_or_default();
        match header[18] {
            UPDATE => heard.update(body),
            NOTIFICATION => bail!("the subject has ended the session: NOTIFICATION {body:?}"),
            _ => {}
        }
        rest = more;
    }
    Ok(bytes.len() - rest.len())
}
