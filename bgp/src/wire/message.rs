//! One message of any type.

use bytes::BytesMut;

use super::code_points::message as kind;
use super::error::{Error, Fault, Section};
use super::header::{self, Header};
use super::notification::Notification;
use super::open::Open;
use super::route_refresh::RouteRefresh;

/// A message. The body of an UPDATE stays as it came: only a session that is established knows how to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// OPEN.
    Open(Open),
    /// UPDATE, to be read by [`super::update::decode`].
    Update(&'a [u8]),
    /// NOTIFICATION.
    Notification(Notification),
    /// KEEPALIVE.
    Keepalive,
    /// ROUTE-REFRESH.
    RouteRefresh(RouteRefresh),
}

impl<'a> Message<'a> {
    /// Reads the message whose header is `header` from its body.
    pub fn decode(header: Header, body: &'a [u8]) -> Result<Message<'a>, Error> {
        Ok(match header.kind {
            kind::OPEN => Message::Open(Open::decode(body)?),
            kind::UPDATE => Message::Update(body),
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
