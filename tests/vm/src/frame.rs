//! What host and guest say to each other, and a client to the runner: frames of many sessions over one stream.
//!
//! ```text
//! length u32 | session u32 | kind u8 | payload (length - 5 bytes)      big endian
//! ```
//!
//! A session is one command. Data frames are counted: a side sends at most [`WINDOW`] of them ahead of the other side's
//! [`Frame::Credit`], so that a terminal which stands still holds up its own command and no other.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

/// Data frames a side may send ahead.
pub const WINDOW: usize = 64;
/// Most bytes in a data frame.
pub const CHUNK: usize = 16 << 10;
/// Most bytes in any frame: environments may be large.
const LIMIT: u32 = 4 << 20;

/// A command to be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// Its whole environment.
    pub environment: Vec<(String, String)>,
    /// Its working directory.
    pub folder: String,
    /// Give it a terminal of this size.
    pub terminal: Option<Size>,
}

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Guest: the machine is up. Session 0.
    Ready,
    /// Host: begin the session.
    Start(Start),
    /// Host: what the command reads.
    Input(Vec<u8>),
    /// Host: there is no more to read.
    InputEnd,
    /// Guest: what the command prints.
    Output(Vec<u8>),
    /// Guest: what it prints on its standard error.
    Errors(Vec<u8>),
    /// Either: so many more data frames may come.
    Credit(u32),
    /// Host: pass this signal to the command.
    Signal(i32),
    /// Host: the terminal has another size.
    Resize(Size),
    /// Host: nobody is interested any more; end it.
    Hangup,
    /// Guest: the command ended with this code, 128 + N for signal N.
    Exited(u8),
    /// Guest: the command could not be started, in words.
    Refused(String),
}

impl Frame {
    fn kind(&self) -> u8 {
        match self {
            Self::Ready => 0,
            Self::Start(_) => 1,
            Self::Input(_) => 2,
            Self::InputEnd => 3,
            Self::Output(_) => 4,
            Self::Errors(_) => 5,
            Self::Credit(_) => 6,
            Self::Signal(_) => 7,
            Self::Resize(_) => 8,
            Self::Hangup => 9,
            Self::Exited(_) => 10,
            Self::Refused(_) => 11,
        }
    }

    fn payload(&self) -> io::Result<Vec<u8>> {
        Ok(match self {
            Self::Ready | Self::InputEnd | Self::Hangup => Vec::new(),
            Self::Start(start) => serde_json::to_vec(start)?,
            Self::Input(bytes) | Self::Output(bytes) | Self::Errors(bytes) => bytes.clone(),
            Self::Credit(frames) => frames.to_be_bytes().to_vec(),
            Self::Signal(number) => number.to_be_bytes().to_vec(),
            Self::Resize(size) => [size.rows.to_be_bytes(), size.columns.to_be_bytes()].concat(),
            Self::Exited(code) => vec![*code],
            Self::Refused(words) => words.clone().into_bytes(),
        })
    }

    fn parse(kind: u8, payload: Vec<u8>) -> io::Result<Self> {
        let odd =
            || io::Error::new(io::ErrorKind::InvalidData, format!("a frame of kind {kind} is malformed"));
        let fixed = |payload: Vec<u8>| <[u8; 4]>::try_from(payload).map_err(|_| odd());
        Ok(match kind {
            0 => Self::Ready,
            1 => Self::Start(serde_json::from_slice(&payload)?),
            2 => Self::Input(payload),
            3 => Self::InputEnd,
            4 => Self::Output(payload),
            5 => Self::Errors(payload),
            6 => Self::Credit(u32::from_be_bytes(fixed(payload)?)),
            7 => Self::Signal(i32::from_be_bytes(fixed(payload)?)),
            8 => {
                let [a, b, c, d] = fixed(payload)?;
                Self::Resize(Size { rows: u16::from_be_bytes([a, b]), columns: u16::from_be_bytes([c, d]) })
            }
            9 => Self::Hangup,
            10 => Self::Exited(*payload.first().ok_or_else(odd)?),
            11 => Self::Refused(String::from_utf8_lossy(&payload).into_owned()),
            _ => return Err(odd()),
        })
    }

    /// Writes the frame in one call, so that frames of several writers behind one lock stay whole.
    pub fn write(&self, session: u32, stream: &mut impl Write) -> io::Result<()> {
        let payload = self.payload()?;
        let length = u32::try_from(payload.len() + 5).unwrap_or(u32::MAX);
        if length > LIMIT {
            let error =
                format!("a frame of {length} bytes is too long: at most {LIMIT} (a very large environment?)");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        let mut bytes = Vec::with_capacity(payload.len() + 9);
        bytes.extend(length.to_be_bytes());
        bytes.extend(session.to_be_bytes());
        bytes.push(self.kind());
        bytes.extend(payload);
        stream.write_all(&bytes)
    }

    /// Reads the next frame; none at the end of the stream.
    pub fn read(stream: &mut impl Read) -> io::Result<Option<(u32, Self)>> {
        let mut length = [0; 4];
        match stream.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let length = u32::from_be_bytes(length);
        if !(5..=LIMIT).contains(&length) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
        }
        let (mut session, mut kind) = ([0; 4], [0]);
        stream.read_exact(&mut session)?;
        stream.read_exact(&mut kind)?;
        let mut payload = vec![0; length as usize - 5];
        stream.read_exact(&mut payload)?;
        Ok(Some((u32::from_be_bytes(session), Self::parse(kind[0], payload)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_is_read_as_it_was_written() {
        let start = Start {
            words: vec!["ip".into(), "route".into()],
            environment: vec![("PATH".into(), "/bin".into())],
            folder: "/".into(),
            terminal: Some(Size { rows: 24, columns: 80 }),
        };
        let frames = [
            Frame::Ready,
            Frame::Start(start),
            Frame::Input(b"in".to_vec()),
            Frame::InputEnd,
            Frame::Output(Vec::new()),
            Frame::Errors(vec![0, 255]),
            Frame::Credit(7),
            Frame::Signal(-1),
            Frame::Resize(Size { rows: 1, columns: 65_535 }),
            Frame::Hangup,
            Frame::Exited(255),
            Frame::Refused("no such file".into()),
        ];
        let mut stream = Vec::new();
        for (session, frame) in (9..).zip(&frames) {
            frame.write(session, &mut stream).unwrap();
        }
        let mut rest = stream.as_slice();
        for (session, frame) in (9..).zip(frames) {
            assert_eq!(Frame::read(&mut rest).unwrap(), Some((session, frame)));
        }
        assert_eq!(Frame::read(&mut rest).unwrap(), None);
    }

    #[test]
    fn nonsense_is_an_error_and_no_allocation_of_its_length() {
        assert!(Frame::read(&mut [0xff; 32].as_slice()).is_err());
        assert!(Frame::read(&mut [0, 0, 0, 5, 0, 0, 0, 1, 99].as_slice()).is_err());
        assert!(Frame::read(&mut [0, 0, 0, 6, 0, 0, 0, 1, 6, 1].as_slice()).is_err());
    }
}
