//! What is sent: one TCP connection with as much as goes through, and one with a question at a time.

use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;
use caracal_lab::netns::Netns;

use crate::cpus::Cpus;
use crate::report::Figure;

/// Octets of one write, as `iperf3` has it.
const PIECE: usize = 128 * 1024;
/// For anything to happen at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// Both ends of two connections between the same places.
pub(crate) struct Connection {
    stream: (TcpStream, TcpStream),
    questions: (TcpStream, TcpStream),
}

impl Connection {
    /// From one namespace to an address of another.
    pub(crate) async fn open(from: &Netns, to: &Netns, at: IpAddr) -> anyhow::Result<Self> {
        Ok(Self { stream: pair(from, to, at).await?, questions: pair(from, to, at).await? })
    }

    /// Sends for so many seconds, and asks so often.
    pub(crate) async fn measure(self, cpus: &Cpus, seconds: f64, count: u32) -> anyhow::Result<Vec<Figure>> {
        let cpus = cpus.clone();
        let work = move || -> anyhow::Result<Vec<Figure>> {
            let round_trips = ask(self.questions, &cpus, count).context("asking")?;
            let rate = send(self.stream, &cpus, Duration::from_secs_f64(seconds)).context("sending")?;
            let at = |share: f64| Figure {
                metric: if share < 0.9 { "round trip, median" } else { "round trip, p99" },
                unit: "us",
                value: quantile(&round_trips, share).as_secs_f64() * 1e6,
            };
            Ok(vec![Figure { metric: "throughput", unit: "Gbit/s", value: rate }, at(0.5), at(0.99)])
        };
        // A thread of its own: it keeps to a CPU.
        let (tell, told) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || tell.send(work()));
        told.await.context("the thread that measures has ended")?
    }
}

/// A connection, by both its ends. Sockets stay in the namespace in which they were made, whoever uses them.
async fn pair(from: &Netns, to: &Netns, at: IpAddr) -> anyhow::Result<(TcpStream, TcpStream)> {
    let listener = to.on_a_thread(move || TcpListener::bind((at, 0)).context("listening")).await?;
    let server = listener.local_addr().context("asking for the port")?;
    let connect = move || {
        TcpStream::connect_timeout(&server, PATIENCE).with_context(|| format!("connecting to {server}"))
    };
    let client = from.on_a_thread(connect).await?;
    let (served, _) = listener.accept().context("accepting")?;
    for end in [&client, &served] {
        end.set_nodelay(true).context("sending at once")?;
        end.set_read_timeout(Some(PATIENCE)).context("limiting waits")?;
        end.set_write_timeout(Some(PATIENCE)).context("limiting waits")?;
    }
    Ok((client, served))
}

/// Gbit/s, as received.
fn send((mut from, to): (TcpStream, TcpStream), cpus: &Cpus, time: Duration) -> anyhow::Result<f64> {
    cpus.keep_to_the_generators()?;
    let receivers = cpus.clone();
    let receiver =
        std::thread::spawn(move || receivers.keep_to_the_subjects().and_then(|()| Ok(receive(to)?)));
    let (piece, begin) = (vec![0; PIECE], Instant::now());
    while begin.elapsed() < time {
        from.write_all(&piece)?;
    }
    from.shutdown(std::net::Shutdown::Write)?;
    let received = receiver.join().map_err(|_| anyhow::anyhow!("the receiver panicked"))??;
    #[allow(clippy::cast_precision_loss, reason = "octets need not be exact")]
    Ok(received as f64 * 8.0 / begin.elapsed().as_secs_f64() / 1e9)
}

fn receive(mut from: TcpStream) -> io::Result<u64> {
    let mut piece = vec![0; PIECE];
    let mut octets = 0;
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(octets),
            length => octets += length as u64,
        }
    }
}

/// The round trips of so many questions, the shortest first.
fn ask((mut from, to): (TcpStream, TcpStream), cpus: &Cpus, count: u32) -> anyhow::Result<Vec<Duration>> {
    cpus.keep_to_the_generators()?;
    let answerers = cpus.clone();
    let answerer =
        std::thread::spawn(move || answerers.keep_to_the_subjects().and_then(|()| Ok(answer(to)?)));
    let mut times = Vec::new();
    let mut octet = [0];
    for _ in 0..count {
        let begin = Instant::now();
        from.write_all(&octet)?;
        from.read_exact(&mut octet)?;
        times.push(begin.elapsed());
    }
    from.shutdown(std::net::Shutdown::Both)?;
    answerer.join().map_err(|_| anyhow::anyhow!("who answers panicked"))??;
    times.sort();
    Ok(times)
}

fn answer(mut with: TcpStream) -> io::Result<()> {
    let mut octet = [0];
    while with.read(&mut octet)? > 0 {
        with.write_all(&octet)?;
    }
    Ok(())
}

/// Of what is sorted.
fn quantile(sorted: &[Duration], share: f64) -> Duration {
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a list of some thousand"
    )]
    let place = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(place).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_what_is_sorted() {
        let times: Vec<Duration> = (1..=101).map(Duration::from_micros).collect();
        assert_eq!(quantile(&times, 0.5), Duration::from_micros(51));
        assert_eq!(quantile(&times, 0.99), Duration::from_micros(100));
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
    }
}
