//! The sink that the generator measures itself against: it hands every UPDATE on to all other peers as it came, looks
//! into none and decides nothing. No speaker can be faster, so what the generator does with it is its own ceiling.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::generator::family::Family;
use crate::generator::message::{self, HEADER, KEEPALIVE, UPDATE};
use crate::place;

/// What is read at once.
const PIECE: usize = 256 * 1024;

/// Everything that came, in its order, with who sent it.
#[derive(Default)]
struct Log {
    pieces: RefCell<Vec<(usize, Rc<[u8]>)>>,
    more: Notify,
}

/// Relays until it is ended.
pub(crate) fn run(listen: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("a runtime")?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let listener = TcpListener::bind(listen).await.with_context(|| format!("listening on {listen}"))?;
        serve(listener).await
    })
}

/// Relays what comes to a listener.
pub(crate) async fn serve(listener: TcpListener) -> anyhow::Result<()> {
    let log = Rc::new(Log::default());
    for number in 0.. {
        let (stream, from) = listener.accept().await.context("accepting a connection")?;
        let log = Rc::clone(&log);
        tokio::task::spawn_local(async move {
            if let Err(error) = peer(stream, number, log).await {
                eprintln!("{from}: {error:#}");
            }
        });
    }
    Ok(())
}

async fn peer(mut stream: TcpStream, number: usize, log: Rc<Log>) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut header = [0; HEADER];
    if stream.read_exact(&mut header).await.is_err() {
        // A look whether anybody is there.
        return Ok(());
    }
    let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
    let mut body = vec![0; length.checked_sub(HEADER).context("a message shorter than its header")?];
    stream.read_exact(&mut body).await?;
    let family = if stream.local_addr()?.is_ipv4() { Family::V4 } else { Family::V6 };
    stream.write_all(&message::open(family, crate::load::SUBJECT_AS, place::ROUTER_ID)).await?;
    stream.write_all(&message::message(KEEPALIVE, &[])).await?;
    let (reader, writer) = stream.into_split();
    tokio::task::spawn_local(tell(writer, number, Rc::clone(&log)));
    hear(reader, number, &log).await
}

async fn hear(mut reader: OwnedReadHalf, number: usize, log: &Log) -> anyhow::Result<()> {
    let mut buffer = vec![0; PIECE];
    let mut filled = 0;
    loop {
        let came = reader.read(buffer.get_mut(filled..).context("no room for a message")?).await?;
        if came == 0 {
            return Ok(());
        }
        filled += came;
        let (used, updates) = updates(buffer.get(..filled).unwrap_or_default())?;
        if !updates.is_empty() {
            log.pieces.borrow_mut().push((number, updates.into()));
            log.more.notify_waiters();
        }
        buffer.copy_within(used..filled, 0);
        filled -= used;
    }
}

/// The UPDATEs among the whole messages at the front, and how many octets those messages were.
fn updates(bytes: &[u8]) -> anyhow::Result<(usize, Vec<u8>)> {
    let (mut rest, mut out) = (bytes, Vec::new());
    while let Some((header, _)) = rest.split_first_chunk::<HEADER>() {
        let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
        ensure!(length >= HEADER, "a message of {length} octets");
        let Some((message, more)) = rest.split_at_checked(length) else { break };
        if header[18] == UPDATE {
            out.extend_from_slice(message);
        }
        rest = more;
    }
    Ok((bytes.len() - rest.len(), out))
}

async fn tell(mut writer: OwnedWriteHalf, number: usize, log: Rc<Log>) {
    let (mut next, mut words) = (0, Vec::new());
    loop {
        let more = log.more.notified();
        words.clear();
        for (from, piece) in log.pieces.borrow().iter().skip(next) {
            next += 1;
            if *from != number {
                words.extend_from_slice(piece);
            }
            if words.len() >= PIECE {
                break;
            }
        }
        if words.is_empty() {
            more.await;
        } else if writer.write_all(&words).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::generator::heard::{Board, Heard};
    use crate::generator::{session, table};
    use crate::load::Client;

    /// The generator by itself, over loopback: what each peer announces, all others hear.
    #[test]
    fn every_peer_hears_all_that_the_others_announce() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let server = listener.local_addr().unwrap();
            tokio::task::spawn_local(serve(listener));
            let board = Rc::new(Board::default());
            let mut mouths = Vec::new();
            for peer in 0..3_u8 {
                let client = Client::external([127, 0, 3, peer + 1].into(), 65001);
                let own = u32::from(peer) * 1000..u32::from(peer + 1) * 1000;
                let heard = Heard::new(Family::V4, 2000, own.clone(), &board, None);
                let mouth = session::establish(&client, server, heard).await.unwrap();
                mouth.say(Rc::new(table::announcements(&client, own, 0))).await.unwrap();
                mouths.push(mouth);
            }
            tokio::time::timeout(Duration::from_secs(30), board.complete(3)).await.unwrap();
        });
    }
}
