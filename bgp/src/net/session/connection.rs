//! One TCP connection of a session.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

use crate::net::report::Opens;
use crate::net::statistics::Statistics;
use crate::net::write::Writer;
use crate::peer::Endpoints;
use crate::wire::{Context, header};

/// How much is read at once; at least one longest message.
const READ: usize = 65_536;
/// What an idle connection keeps: most sessions of a node say little.
const IDLE: usize = 4096;

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) reader: OwnedReadHalf,
    pub(super) buffer: BytesMut,
    /// How much the next read asks for.
    pub(super) room: usize,
    pub(super) writer: Writer,
    /// The terms for reading UPDATEs, once established.
    pub(super) context: Option<Context>,
    /// The octets of the longest message the peer may send.
    pub(super) longest: usize,
    /// The OPENs that have passed.
    pub(super) opens: Opens,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, statistics: Arc<Statistics>) -> Self {
        let (reader, half) = stream.into_split();
        let writer = Writer::spawn(half, statistics);
        Connection {
            reader,
            buffer: BytesMut::new(),
            room: IDLE,
            writer,
            context: None,
            longest: header::MAX_MESSAGE,
            opens: Opens::default(),
        }
    }
}

/// Reads what is there; zero at the end. Nothing is lost if the future is dropped. `room` grows while reads fill it.
pub(super) async fn read(
    reader: &mut OwnedReadHalf,
    buffer: &mut BytesMut,
    room: &mut usize,
) -> io::Result<usize> {
    buffer.reserve(*room);
    let count = reader.read_buf(buffer).await?;
    *room = if count >= *room { READ } else { IDLE };
    Ok(count)
}

/// The two ends of a stream.
pub(super) fn endpoints(stream: &TcpStream) -> io::Result<Endpoints> {
    Ok(Endpoints { local: stream.local_addr()?, remote: stream.peer_addr()? })
}
