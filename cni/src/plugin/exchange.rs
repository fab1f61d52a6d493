//! Talking to the agent: connect, send the call, wait for the answer, all of it bounded.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::error::{Code, Error};
use crate::frame::{self, Answer, Call, FrameError};

/// How long ADD waits for an agent that is being started or replaced. A pod that waits is better than one that fails and
/// backs off.
const WAIT_FOR_AGENT: Duration = Duration::from_secs(30);

/// How often to look for the socket meanwhile.
const TRY_EVERY: Duration = Duration::from_millis(50);

/// How long an answer may take: with the wait for the agent still under the two minutes that kubelet gives.
const WAIT_FOR_ANSWER: Duration = Duration::from_secs(60);

/// No answer came.
#[derive(Debug)]
pub(super) enum Lost {
    /// Nobody listens at the socket.
    NoAgent(PathBuf, io::Error),
    /// The agent was there, but ended or fell silent before it answered.
    Silent(PathBuf, FrameError),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAgent(socket, error) => {
                write!(
                    f,
                    "the agent of caracal does not listen at {} ({error}): is it running on this node?",
                    socket.display()
                )
            }
            Self::Silent(socket, error) if error.is_timeout() => {
                let seconds = WAIT_FOR_ANSWER.as_secs();
                write!(f, "the agent of caracal at {} did not answer within {seconds} s", socket.display())
            }
            Self::Silent(socket, error) => {
                write!(f, "the agent of caracal at {} ended before it answered ({error})", socket.display())
            }
        }
    }
}

impl From<Lost> for Error {
    fn from(lost: Lost) -> Self {
        Error::new(Code::TryAgainLater, lost.to_string())
    }
}

/// Asks the agent, once.
pub(super) fn at_once(socket: &Path, call: &Call, netns: Option<&File>) -> Result<Answer, Lost> {
    let stream = UnixStream::connect(socket).map_err(|error| Lost::NoAgent(socket.to_owned(), error))?;
    let exchange = || {
        stream.set_read_timeout(Some(WAIT_FOR_ANSWER))?;
        stream.set_write_timeout(Some(WAIT_FOR_ANSWER))?;
        frame::send_call(&stream, call, netns.map(AsFd::as_fd))?;
        frame::receive_answer(&stream)
    };
    exchange().map_err(|error| Lost::Silent(socket.to_owned(), error))
}

/// Asks the agent, and waits for it to appear if need be. A call that the agent has taken is never sent again: it may have
/// been done in part, and the runtime's DEL cleans that up.
pub(super) fn patient(socket: &Path, call: &Call, netns: Option<&File>) -> Result<Answer, Lost> {
    let deadline = Instant::now() + WAIT_FOR_AGENT;
    loop {
        match at_once(socket, call, netns) {
            Ok(answer) => return Ok(answer),
            Err(Lost::NoAgent(..)) if Instant::now() + TRY_EVERY < deadline => sleep(TRY_EVERY),
            Err(lost) => return Err(lost),
        }
    }
}
