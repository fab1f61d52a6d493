//! A conversation by one TCP connection: the one side asks, the other answers, until the connection breaks. Where each packet may
//! be a flow of its own, as with echo requests, it is not seen that connections end.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use caracal_lab::netns::Netns;
use caracal_lab::wait::{self, NotYet};

use crate::flow::Place;

/// Between an answer and the next question.
const EVERY: Duration = Duration::from_millis(5);
/// So many answers more make it one that goes on.
const LEAST: u64 = 50;
/// How long that may take, and how long one answer may.
const PATIENCE: Duration = Duration::from_secs(60);

/// How it stands.
#[derive(Default)]
struct Standing {
    answers: u64,
    longest: Duration,
    broken: Option<String>,
    over: bool,
}

/// A conversation that runs; it ends when it is dropped.
pub struct Conversation {
    standing: Arc<Mutex<Standing>>,
    what: String,
}

impl Conversation {
    /// Begins one with a machine at one of its addresses.
    ///
    /// # Errors
    /// When nobody can listen there, or cannot be reached.
    pub async fn begin(from: &impl Place, with: &Netns, at: IpAddr) -> anyhow::Result<Self> {
        let what = format!("the connection of {} to {at}", from.label());
        let server = with.on_a_thread(move || {
            let listener = TcpListener::bind((at, 0)).with_context(|| format!("listening at {at}"))?;
            let address = listener.local_addr().context("asking for the port")?;
            std::thread::spawn(move || {
                // One that breaks is told of by the other end.
                listener.accept().and_then(|(stream, _)| answer(stream)).ok();
            });
            Ok(address)
        });
        let server: SocketAddr = server.await?;
        let standing: Arc<Mutex<Standing>> = Arc::default();
        let told = Arc::clone(&standing);
        let client = from.inside().on_a_thread(move || {
            let stream = TcpStream::connect_timeout(&server, PATIENCE)
                .with_context(|| format!("connecting to {server}"))?;
            std::thread::spawn(move || {
                if let Err(error) = ask(stream, &told) {
                    lock(&told).broken = Some(error.to_string());
                }
            });
            Ok(())
        });
        client.await.with_context(|| format!("beginning {what}"))?;
        Ok(Self { standing, what })
    }

    /// Waits until there are enough answers more.
    ///
    /// # Errors
    /// When the connection has broken, or nothing is answered in time.
    pub async fn goes_on(&self) -> anyhow::Result<()> {
        let wanted = lock(&self.standing).answers + LEAST;
        wait::until(PATIENCE, &format!("{} goes on", self.what), || async {
            let standing = lock(&self.standing);
            if let Some(why) = &standing.broken {
                return Err(NotYet::Never(anyhow!("it broke: {why}")));
            }
            let answers = standing.answers;
            if answers >= wanted {
                Ok(())
            } else {
                Err(NotYet::because(format!("{answers} answers of {wanted}")))
            }
        })
        .await
    }

    /// The longest that an answer has taken.
    pub fn longest(&self) -> Duration {
        lock(&self.standing).longest
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        lock(&self.standing).over = true;
    }
}

fn lock(standing: &Mutex<Standing>) -> MutexGuard<'_, Standing> {
    standing.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ask(mut stream: TcpStream, told: &Mutex<Standing>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    while !lock(told).over {
        let begin = Instant::now();
        let question = lock(told).answers.to_be_bytes();
        stream.write_all(&question)?;
        let mut answer = [0; 8];
        stream.read_exact(&mut answer)?;
        if answer != question {
            return Err(io::Error::other(format!("{question:?} was answered by {answer:?}")));
        }
        let mut standing = lock(told);
        standing.answers += 1;
        standing.longest = standing.longest.max(begin.elapsed());
        drop(standing);
        std::thread::sleep(EVERY);
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut question = [0; 8];
    loop {
        stream.read_exact(&mut question)?;
        stream.write_all(&question)?;
    }
}
