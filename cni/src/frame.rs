//! The one exchange between plugin and agent: a call there, an answer back, over a stream socket of the unix kind.
//!
//! Each way is one frame: four bytes of length, most significant first, then as many bytes of JSON. The pod's network
//! namespace travels as an open descriptor with the length of the call, so that the agent can use it though the path that
//! names it exists only in the plugin's mount namespace. Fields that a side does not know are passed over, and new ones must
//! be optional, because during an upgrade plugin and agent are of different ages.

mod descriptor;

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::environment::Environment;
use crate::error::Code;

/// The longest frame in bytes. A GC that lists thousands of attachments fits; a length beyond it is not ours.
pub const MAX_FRAME: usize = 4 << 20;

/// The length in front of each frame, in bytes.
pub const HEADER: usize = 4;

/// What the plugin got from the runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The CNI variables.
    pub environment: Environment,
    /// The network configuration.
    pub stdin: String,
    /// For ADD: the result of the other IPAM plugin that the configuration names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipam: Option<Value>,
}

/// What the plugin is to do: print and exit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The exit code.
    pub exit: u8,
    /// What to print on standard output.
    pub stdout: String,
}

impl Answer {
    /// Whether it is this failure.
    pub fn says(&self, code: Code) -> bool {
        #[derive(Deserialize)]
        struct Only {
            code: u32,
        }
        let said = serde_json::from_str::<Only>(&self.stdout);
        self.exit != 0 && said.is_ok_and(|only| only.code == code.number())
    }
}

/// Why a frame could not be passed.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The socket failed, or the other side closed it.
    #[error("passing a frame over the agent's socket: {0}")]
    Io(#[from] io::Error),
    /// The length is beyond the limit.
    #[error("a frame of {0} bytes is longer than the {MAX_FRAME} that are allowed")]
    TooLong(usize),
    /// The body is not what was expected.
    #[error("the body of a frame from the agent's socket cannot be read: {0}")]
    Body(#[from] serde_json::Error),
}

impl FrameError {
    /// Whether the wait for the other side ended before it answered.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Io(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
    }
}

/// A message as bytes with their length in front.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; HEADER];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - HEADER;
    if length > MAX_FRAME {
        return Err(FrameError::TooLong(length));
    }
    bytes[..HEADER].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(bytes)
}

/// How many bytes follow this header.
pub fn body_length(header: [u8; HEADER]) -> Result<usize, FrameError> {
    let length = u32::from_be_bytes(header) as usize;
    if length > MAX_FRAME { Err(FrameError::TooLong(length)) } else { Ok(length) }
}

/// Reads the body of a frame.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    Ok(serde_json::from_slice(body)?)
}

/// Sends a call, and the pod's namespace with it.
pub fn send_call(stream: &UnixStream, call: &Call, netns: Option<BorrowedFd<'_>>) -> Result<(), FrameError> {
    let bytes = encode(call)?;
    let sent = descriptor::send(stream.as_fd(), &bytes, netns)?;
    let mut stream = stream;
    stream.write_all(&bytes[sent..])?;
    Ok(())
}

/// Waits for the answer, at most as long as the stream's own limit for a read.
pub fn receive_answer(mut stream: &UnixStream) -> Result<Answer, FrameError> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header)?;
    let mut body = vec![0; body_length(header)?];
    stream.read_exact(&mut body)?;
    decode(&body)
}

/// Reads the next bytes of a header, and the descriptor if one came with them, without waiting on a socket that does not
/// wait. Returns how many bytes came; none means that the other side has closed.
pub fn receive_header(socket: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    descriptor::receive(socket, into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Seek;

    fn call() -> Call {
        let environment = [("CNI_COMMAND", "ADD"), ("CNI_ARGS", "A=\"b\";C=ä")].into_iter().collect();
        let stdin = "{\"name\": \"n\", \"x\": \"line\\nbreak\"}\n".to_owned();
        Call { environment, stdin, ipam: Some(serde_json::json!({"ips": []})) }
    }

    fn receive(stream: &UnixStream) -> (Call, Option<OwnedFd>) {
        let (mut header, mut filled, mut passed) = ([0; HEADER], 0, None);
        while filled < HEADER {
            let (count, descriptor) = receive_header(stream.as_fd(), &mut header[filled..]).unwrap();
            assert_ne!(count, 0, "closed too early");
            filled += count;
            passed = passed.or(descriptor);
        }
        let mut body = vec![0; body_length(header).unwrap()];
        let mut stream = stream;
        stream.read_exact(&mut body).unwrap();
        (decode(&body).unwrap(), passed)
    }

    #[test]
    fn a_call_arrives_whole_with_its_descriptor() {
        let (here, there) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"the same file").unwrap();
        send_call(&here, &call(), Some(file.as_fd())).unwrap();
        let (arrived, passed) = receive(&there);
        assert_eq!(arrived, call());
        let mut passed = File::from(passed.unwrap());
        passed.rewind().unwrap();
        let mut text = String::new();
        passed.read_to_string(&mut text).unwrap();
        assert_eq!(text, "the same file");
    }

    #[test]
    fn a_call_without_a_descriptor_and_longer_than_a_socket_buffer_arrives() {
        let (here, there) = UnixStream::pair().unwrap();
        let long = Call { stdin: "x".repeat(MAX_FRAME - 1000), ..call() };
        let wanted = long.clone();
        let sender = std::thread::spawn(move || send_call(&here, &long, None).unwrap());
        let (arrived, passed) = receive(&there);
        sender.join().unwrap();
        assert!(passed.is_none());
        assert_eq!(arrived, wanted);
    }

    #[test]
    fn an_answer_comes_back_and_a_closed_or_silent_socket_is_an_error() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let answer = Answer { exit: 1, stdout: "{\"code\": 11}".to_owned() };
        there.write_all(&encode(&answer).unwrap()).unwrap();
        assert_eq!(receive_answer(&here).unwrap(), answer);
        here.set_read_timeout(Some(std::time::Duration::from_millis(10))).unwrap();
        assert!(receive_answer(&here).unwrap_err().is_timeout());
        drop(there);
        assert!(!receive_answer(&here).unwrap_err().is_timeout());
    }

    #[test]
    fn lengths_beyond_the_limit_are_refused_both_ways() {
        assert!(matches!(body_length([0xff; 4]), Err(FrameError::TooLong(_))));
        let huge = Answer { exit: 0, stdout: "x".repeat(MAX_FRAME) };
        assert!(matches!(encode(&huge), Err(FrameError::TooLong(_))));
    }
}
