//! What other terminals ask of a running lab: a line of JSON there, a line back, on a unix socket in the lab's folder.
//! The socket is a file of the lab's own mount namespace: people reach it through `/proc`, and nobody else does.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use crate::fault;
use crate::lab::Lab;
use crate::sandbox::{self, STATE};
use crate::status::{self, Status};

/// The socket, in the lab's folder.
const SOCKET: &str = "lab.sock";
/// Longest line that is read.
const LONGEST: u64 = 1 << 20;
/// For one answer: faults wait for programs.
const PATIENCE: Duration = Duration::from_secs(90);

/// A question.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "ask")]
pub enum Request {
    /// How everything stands.
    Status,
    /// Do something to a machine.
    Fault {
        /// Which machine.
        machine: String,
        /// The fault's word.
        fault: String,
    },
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// How everything stands.
    Status(Box<Status>),
    /// What was done.
    Done(String),
    /// Why it was not.
    Refused(String),
}

/// Answers for as long as the lab lives. The socket is there when this returns.
pub fn serve(lab: Arc<Lab>) -> anyhow::Result<tokio::task::JoinHandle<()>> {
    let path = format!("{STATE}/{SOCKET}");
    let listener = UnixListener::bind(&path).with_context(|| format!("listening on {path}"))?;
    let begin = Instant::now();
    Ok(tokio::spawn(async move {
        // An accept that fails (too many open files) must not end the service.
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                let lab = lab.clone();
                tokio::spawn(async move {
                    // One that went away does not want the answer.
                    converse(&lab, stream, begin).await.ok();
                });
            }
        }
    }))
}

async fn converse(lab: &Lab, stream: tokio::net::UnixStream, begin: Instant) -> anyhow::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = tokio::io::BufReader::new(tokio::io::AsyncReadExt::take(read, LONGEST)).lines();
    let line = lines.next_line().await?.unwrap_or_default();
    let outcome = match serde_json::from_str(&line) {
        Ok(Request::Status) => {
            status::of(lab, begin.elapsed()).await.map(|status| Answer::Status(Box::new(status)))
        }
        Ok(Request::Fault { machine, fault }) => fault::inject(lab, &machine, &fault).await.map(Answer::Done),
        Err(error) => Err(anyhow::Error::new(error).context("reading the question")),
    };
    let answer = outcome.unwrap_or_else(|error| Answer::Refused(format!("{error:#}")));
    let mut text = serde_json::to_string(&answer).context("writing the answer")?;
    text.push('\n');
    write.write_all(text.as_bytes()).await.context("answering")
}

/// Asks a running lab, from another terminal.
pub fn ask(lab: &str, request: &Request) -> anyhow::Result<Answer> {
    let found = sandbox::find(lab)?;
    let path = format!("/proc/{}/root{STATE}/{SOCKET}", found.inner);
    let asking = || {
        format!("asking the lab `{lab}` through {path}: it is still being built, or belongs to another user")
    };
    let mut stream = UnixStream::connect(&path).with_context(asking)?;
    stream.set_read_timeout(Some(PATIENCE)).with_context(asking)?;
    let mut line = serde_json::to_string(request).context("writing the question")?;
    line.push('\n');
    stream.write_all(line.as_bytes()).with_context(asking)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).context("reading the lab's answer")?;
    if answer.is_empty() {
        bail!("the lab `{lab}` ended before it answered");
    }
    serde_json::from_str(&answer).context("reading the lab's answer: is it of another version?")
}
