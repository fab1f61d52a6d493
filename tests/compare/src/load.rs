//! The loads: who speaks to the subject, and what is measured.

mod churn;
mod flood;
mod reflect;
mod reset;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::generator::family::Family;
use crate::generator::heard::{Board, Clock, Heard};
use crate::generator::session::{self, Mouth};
use crate::place;
use crate::process::{Process, Usage};
use crate::report::Figure;

/// The AS of the subject.
pub(crate) const SUBJECT_AS: u32 = 64500;
/// The AS of the first peer outside.
const FIRST_AS: u32 = 65001;
/// The port that a subject speaks at.
pub(crate) const PORT: u16 = 179;

/// One peer of the subject.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// Its address, of the family that it announces.
    pub(crate) address: IpAddr,
    /// Its router id.
    pub(crate) router_id: Ipv4Addr,
    /// Its AS.
    pub(crate) asn: u32,
    /// Whether that is the subject's, which then reflects to it.
    pub(crate) internal: bool,
}

impl Client {
    /// A peer by its number, which announces prefixes of a family.
    pub(crate) fn numbered(family: Family, number: u32, asn: u32) -> Self {
        Self {
            address: place::peer(family, number),
            router_id: place::router_id(number),
            asn,
            internal: asn == SUBJECT_AS,
        }
    }

    /// A peer of another AS; its router id is its address, if that is one of IPv4.
    #[cfg(test)]
    pub(crate) fn external(address: Ipv4Addr, asn: u32) -> Self {
        Self { address: address.into(), router_id: address, asn, internal: false }
    }

    /// What it announces.
    pub(crate) fn family(&self) -> Family {
        if self.address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// A load, in the size it was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// What it is, with its numbers.
    pub(crate) name: String,
    kind: Kind,
    family: Family,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Flood { peers: u32, prefixes: u32 },
    Reflect { clients: u32 },
    Churn { prefixes: u32, stalls: bool },
    Reset { peers: u32, prefixes: u32 },
}

impl Load {
    /// The load of a letter, with a factor for its size.
    pub(crate) fn of(letter: &str, scale: f64) -> anyhow::Result<Load> {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "sizes are small and positive"
        )]
        let scaled = |number: u32| ((f64::from(number) * scale) as u32).max(2);
        let kind = match letter {
            "a" => Kind::Flood { peers: 10, prefixes: scaled(100_000) },
            "b" => Kind::Flood { peers: 50, prefixes: scaled(20_000) },
            "c" => Kind::Flood { peers: 2, prefixes: scaled(1_000_000) },
            "d" => Kind::Reflect { clients: scaled(1000) },
            "e" => Kind::Reflect { clients: scaled(5000) },
            "f" => Kind::Churn { prefixes: scaled(1_000_000).max(10_000), stalls: false },
            "g" => Kind::Reset { peers: 10, prefixes: scaled(100_000) },
            "h" => Kind::Churn { prefixes: scaled(1_000_000).max(10_000), stalls: true },
            "i" => Kind::Flood { peers: 10, prefixes: scaled(100_000) },
            other => bail!("there is no load `{other}`: a to i are there"),
        };
        let family = if letter == "i" { Family::V6 } else { Family::V4 };
        let name = match kind {
            Kind::Flood { peers, prefixes } if family == Family::V6 => {
                format!("({letter}) {peers} peers x {prefixes} IPv6 prefixes")
            }
            Kind::Flood { peers, prefixes } => format!("({letter}) {peers} peers x {prefixes} prefixes"),
            Kind::Reflect { clients } => format!("({letter}) reflector, {clients} clients x 1 prefix"),
            Kind::Churn { prefixes, stalls: false } => {
                format!("({letter}) 1 % of {prefixes} prefixes flap each second")
            }
            Kind::Churn { prefixes, stalls: true } => {
                format!("({letter}) 1 % of {prefixes} prefixes flap each second, and a peer stops reading")
            }
            Kind::Reset { peers, prefixes } => {
                format!("({letter}) {peers} peers x {prefixes} prefixes drop and return")
            }
        };
        Ok(Load { name, kind, family })
    }

    /// The subject's peers.
    pub(crate) fn clients(&self) -> Vec<Client> {
        let client = |number, asn| Client::numbered(self.family, number, asn);
        let external = |number| client(number, FIRST_AS + number);
        match self.kind {
            Kind::Flood { peers, .. } | Kind::Reset { peers, .. } => (0..peers).map(external).collect(),
            Kind::Reflect { clients } => (0..clients).map(|number| client(number, SUBJECT_AS)).collect(),
            Kind::Churn { stalls, .. } => (0..churn::PEERS + u32::from(stalls)).map(external).collect(),
        }
    }

    /// Puts it on a subject that has just been started.
    pub(crate) async fn measure(
        &self,
        subject: &mut Process,
        limit: Duration,
    ) -> anyhow::Result<Vec<Figure>> {
        let mut bench = Bench {
            clients: self.clients(),
            family: self.family,
            subject,
            limit,
            board: Rc::default(),
            ears: Vec::new(),
        };
        bench.is_up().await?;
        match self.kind {
            Kind::Flood { prefixes, .. } => flood::measure(&mut bench, prefixes).await,
            Kind::Reflect { .. } => reflect::measure(&mut bench).await,
            Kind::Churn { prefixes, stalls } => churn::measure(&mut bench, prefixes, stalls).await,
            Kind::Reset { prefixes, .. } => reset::measure(&mut bench, prefixes).await,
        }
    }
}

/// A subject with its peers.
struct Bench<'a> {
    clients: Vec<Client>,
    family: Family,
    subject: &'a mut Process,
    limit: Duration,
    board: Rc<Board>,
    ears: Vec<Rc<Heard>>,
}

impl Bench<'_> {
    /// Where the subject is dialled.
    fn server(&self) -> SocketAddr {
        (place::subject(self.family), PORT).into()
    }

    /// Waits until the subject takes connections.
    async fn is_up(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + self.limit;
        loop {
            self.subject.must_live()?;
            match TcpStream::connect(self.server()).await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > end => {
                    return Err(error).context("the subject takes no connections");
                }
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// The ears of a peer.
    fn ears(&mut self, wanted: u32, own: std::ops::Range<u32>, clock: Option<Rc<Clock>>) -> Rc<Heard> {
        let ears = Heard::new(self.family, wanted, own, &self.board, clock);
        self.ears.push(Rc::clone(&ears));
        ears
    }

    /// Every peer's session, opened at once; `ears` are in the order of the clients.
    async fn sessions(&mut self, ears: Vec<Rc<Heard>>) -> anyhow::Result<Vec<Mouth>> {
        let server = self.server();
        let openings: Vec<_> = self.clients.iter().cloned().zip(ears).collect();
        let tasks: Vec<_> = openings
            .into_iter()
            .map(|(client, ears)| {
                tokio::task::spawn_local(async move { session::establish(&client, server, ears).await })
            })
            .collect();
        let mut mouths = Vec::with_capacity(tasks.len());
        let end = tokio::time::Instant::now() + self.limit;
        for task in tasks {
            let opened = tokio::time::timeout_at(end, task).await.context("not every session came up")?;
            mouths.push(opened.context("a session's opening")??);
        }
        Ok(mouths)
    }

    /// Waits until every peer has all it waits for; when that was.
    async fn complete(&self) -> anyhow::Result<Instant> {
        match timeout(self.limit, self.board.complete(self.clients.len())).await {
            Ok(when) => Ok(when),
            Err(_) => {
                let fewest = self.ears.iter().map(|ears| ears.count()).min().unwrap_or(0);
                bail!(
                    "not within {} s: {} of {} peers have all, and the last {fewest} prefixes",
                    self.limit.as_secs(),
                    self.board.now(),
                    self.clients.len()
                )
            }
        }
    }
}

pub(crate) fn figure(metric: &'static str, unit: &'static str, value: f64) -> Figure {
    Figure { metric, unit, value }
}

/// What was used between two looks: CPU seconds, and the memory at the end in MiB.
pub(crate) fn used(before: Usage, after: Usage) -> [Figure; 2] {
    #[allow(clippy::cast_precision_loss, reason = "memory is far below 2^52")]
    let mib = after.memory as f64 / f64::from(1 << 20);
    [figure("CPU", "s", after.cpu - before.cpu), figure("memory", "MiB", mib)]
}
