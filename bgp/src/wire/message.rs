//! One message of any type.

use bytes::{Bytes, BytesMut};

use super::code_points::message as kind;
use super::error::{Error, Fault, Section};
use super::header::{self, Header};
use super::notification::Notification;
use super::open::Open;
use super::route_refresh::RouteRefresh;

/// A message. The body of an UPDATE stays as it came: only a session that is established knows how to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// OPEN.
    Open(Open),
    /// UPDATE, to be read by [`super::update::decode`].
    Update(Bytes),
    /// NOTIFICATION.
    Notification(Notification),
    /// KEEPALIVE.
    Keepalive,
    /// ROUTE-REFRESH.
    RouteRefresh(RouteRefresh),
}

impl Message {
    /// Takes the first message off a stream; `None` if not all of it has come. After an `Err` the stream is of no use
    /// any more. `longest` is the length in octets up to which messages are read.
    pub fn take(stream: &mut BytesMut, longest: usize) -> Result<Option<(Header, Message)>, Error> {
        let Some(header) = Header::peek(stream, longest)?.filter(|header| header.length <= stream.len())
        else {
            return Ok(None);
        };
        let frame = stream.split_to(header.length).freeze();
        Ok(Some((header, Message::decode(header, &frame.slice(header::LENGTH..))?)))
    }

    /// Reads the message whose header is `header` from its body.
    pub fn decode(header: Header, body: &Bytes) -> Result<Message, Error> {
        Ok(match header.kind {
            kind::OPEN => Message::Open(Open::decode(body)?),
            kind::UPDATE => Message::Update(body.clone()),
            kind::NOTIFICATION => Message::Notification(Notification::decode(body)?),
            kind::KEEPALIVE => Message::Keepalive,
            kind::ROUTE_REFRESH => Message::RouteRefresh(RouteRefresh::decode(body)?),
            other => {
                return Err(Error { section: Section::Header, offset: 18, fault: Fault::MessageType(other) });
            }
        })
    }

    /// Writes the whole message.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Message::Open(open) => open.encode(out),
            Message::Update(body) => {
                let message = header::begin(out, kind::UPDATE);
                out.extend_from_slice(body);
                header::finish(out, message);
            }
            Message::Notification(notification) => notification.encode(out),
            Message::Keepalive => {
                let message = header::begin(out, kind::KEEPALIVE);
                header::finish(out, message);
            }
            Message::RouteRefresh(refresh) => refresh.encode(out),
        }
    }

    /// The name of the type.
    pub fn name(&self) -> &'static str {
        match self {
            Message::Open(_) => "OPEN",
            Message::Update(_) => "UPDATE",
            Message::Notification(_) => "NOTIFICATION",
            Message::Keepalive => "KEEPALIVE",
            Message::RouteRefresh(_) => "ROUTE-REFRESH",
        }
    }
}
