//! caracal-bgpd as one of the routers, looked at by `caracalctl`.

use std::path::PathBuf;

use anyhow::Context;
use caracal_lab::Process;
use caracal_lab::wait::{self, NotYet};
use nix::sys::signal::Signal;
use serde::Deserialize;

use crate::peer::SOON;
use crate::segment::Host;

/// A running caracal-bgpd.
pub(crate) struct Us {
    process: Process,
    control: String,
    socket: String,
    file: PathBuf,
}

/// A path as `caracalctl bgp routes -o json` tells it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Path {
    pub(crate) prefix: String,
    pub(crate) next_hop: Option<String>,
    pub(crate) peer: Option<String>,
    pub(crate) as_path: String,
    pub(crate) communities: Vec<String>,
    pub(crate) local_pref: Option<u32>,
    pub(crate) best: bool,
    pub(crate) stale: bool,
    pub(crate) standing: String,
}

/// A peer as `caracalctl bgp peers -o json` tells it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Session {
    pub(crate) key: String,
    pub(crate) state: String,
    pub(crate) hold_time_seconds: u32,
    pub(crate) last_error: Option<String>,
    pub(crate) features: Vec<String>,
    pub(crate) transitions: u64,
    pub(crate) messages_received: u64,
    pub(crate) messages_sent: u64,
    pub(crate) bfd: Option<Bfd>,
    pub(crate) origin: String,
    pub(crate) range: Option<String>,
}

/// A range of peers as `caracalctl bgp peers -o json` tells it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Range {
    pub(crate) refused: u64,
    pub(crate) last_refusal: Option<String>,
}

/// How BFD sees the path to a peer.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Bfd {
    pub(crate) state: String,
    pub(crate) remote_state: String,
    pub(crate) multihop: bool,
    pub(crate) transmit_interval_micros: u64,
    pub(crate) detection_time_micros: u64,
    pub(crate) downs: u64,
    pub(crate) discriminator: u32,
    pub(crate) remote_discriminator: u32,
}

#[derive(Deserialize)]
struct Paths {
    routes: Vec<Path>,
}

#[derive(Deserialize)]
struct Sessions {
    peers: Vec<Session>,
    #[serde(default)]
    ranges: Vec<Range>,
}

impl Us {
    /// Starts it; `rest` follows the keys of the table `[speaker]`.
    pub(crate) async fn start(host: &Host, asn: u32, rest: &str) -> anyhow::Result<Self> {
        let socket = host.file("bgpd.sock").display().to_string();
        let path = host.write("bgpd.toml", &text(host, asn, rest))?;
        let file = path.display().to_string();
        let process = host.start("caracal", &host.program("caracal-bgpd"), &["--config", &file]).await?;
        let control = host.program("caracalctl").display().to_string();
        let us = Self { process, control, socket, file: path };
        us.peers_when(host, |_| true).await?;
        Ok(us)
    }

    /// Writes another file, without a word to it.
    pub(crate) fn write(&self, host: &Host, asn: u32, rest: &str) -> anyhow::Result<()> {
        std::fs::write(&self.file, text(host, asn, rest))
            .with_context(|| format!("writing {}", self.file.display()))
    }

    /// Tells it to read its file again.
    pub(crate) async fn hang_up(&self) -> anyhow::Result<()> {
        self.process.signal(Signal::SIGHUP).await
    }

    /// Writes another file, and waits until that is in force.
    pub(crate) async fn reload(&self, host: &Host, asn: u32, rest: &str) -> anyhow::Result<()> {
        let words = "the new configuration is in force";
        let before = self.said(words)?;
        self.write(host, asn, rest)?;
        self.hang_up().await?;
        wait::until(SOON, "the new configuration is in force", || async {
            self.process.must_live().await?;
            if self.said(words)? > before { Ok(()) } else { Err(NotYet::because("nothing new in the log")) }
        })
        .await
    }

    /// How often its log has these words.
    fn said(&self, words: &str) -> anyhow::Result<usize> {
        let log = self.process.log();
        let text = std::fs::read(log).with_context(|| format!("reading {}", log.display()))?;
        Ok(String::from_utf8_lossy(&text).matches(words).count())
    }

    /// Waits until its log has these words.
    pub(crate) async fn says(&self, words: &str) -> anyhow::Result<()> {
        wait::until(SOON, &format!("caracal says `{words}`"), || async {
            self.process.must_live().await?;
            if self.said(words)? > 0 { Ok(()) } else { Err(NotYet::because("it does not")) }
        })
        .await
    }

    /// Where it answers administrators.
    pub(crate) fn socket(&self) -> &str {
        &self.socket
    }

    /// Asks it something by `caracalctl bgp`.
    pub(crate) async fn ask(&self, host: &Host, words: &[&str]) -> anyhow::Result<String> {
        let mut all = vec![self.control.as_str(), "--socket", &self.socket, "bgp"];
        all.extend(words);
        host.run(&all).await
    }

    /// Every path.
    pub(crate) async fn paths(&self, host: &Host) -> anyhow::Result<Vec<Path>> {
        let text = self.ask(host, &["routes", "-o", "json"]).await?;
        let paths: Paths = serde_json::from_str(&text).context("reading the routes")?;
        Ok(paths.routes)
    }

    /// Every peer.
    pub(crate) async fn peers(&self, host: &Host) -> anyhow::Result<Vec<Session>> {
        Ok(self.sessions(host).await?.peers)
    }

    async fn sessions(&self, host: &Host) -> anyhow::Result<Sessions> {
        let text = self.ask(host, &["peers", "-o", "json"]).await?;
        serde_json::from_str(&text).context("reading the peers")
    }

    /// Waits until the ranges of peers are as wanted.
    pub(crate) async fn ranges_when(
        &self,
        host: &Host,
        fits: impl Fn(&[Range]) -> bool,
    ) -> anyhow::Result<()> {
        wait::until(SOON, "caracal's ranges of peers are as expected", || async {
            self.process.must_live().await?;
            let ranges = self.sessions(host).await?.ranges;
            if fits(&ranges) { Ok(()) } else { Err(NotYet::because(format!("{ranges:?}"))) }
        })
        .await
    }

    /// One peer.
    pub(crate) async fn peer(&self, host: &Host, address: &str) -> anyhow::Result<Session> {
        let peers = self.peers(host).await?;
        peers.into_iter().find(|peer| peer.key == address).with_context(|| format!("no peer {address}"))
    }

    /// Asks a peer for all its routes.
    pub(crate) async fn refresh(&self, host: &Host, address: &str) -> anyhow::Result<()> {
        self.ask(host, &["refresh", address]).await.map(drop)
    }

    /// Ends the session with a peer, which may come up again at once.
    pub(crate) async fn reset(&self, host: &Host, peer: &str) -> anyhow::Result<()> {
        self.ask(host, &["reset", peer]).await.map(drop)
    }

    /// Waits until the peers are as wanted.
    pub(crate) async fn peers_when(
        &self,
        host: &Host,
        fits: impl Fn(&[Session]) -> bool,
    ) -> anyhow::Result<Vec<Session>> {
        wait::until(SOON, "caracal's peers are as expected", || async {
            self.process.must_live().await?;
            let peers = self.peers(host).await?;
            if fits(&peers) { Ok(peers) } else { Err(NotYet::because(format!("{peers:?}"))) }
        })
        .await
    }

    /// Waits until all sessions are up.
    pub(crate) async fn established(&self, host: &Host) -> anyhow::Result<Vec<Session>> {
        self.peers_when(host, |peers| peers.iter().all(|peer| peer.state == "Established")).await
    }

    /// Waits until there is a path that fits.
    pub(crate) async fn learns(
        &self,
        host: &Host,
        prefix: &str,
        fits: impl Fn(&Path) -> bool,
    ) -> anyhow::Result<Path> {
        wait::until(SOON, &format!("caracal has {prefix} as expected"), || async {
            self.process.must_live().await?;
            let paths = self.paths(host).await?;
            let found: Vec<Path> = paths.into_iter().filter(|path| path.prefix == prefix).collect();
            match found.iter().find(|path| fits(path)) {
                Some(path) => Ok(path.clone()),
                None => Err(NotYet::because(format!("{found:?}"))),
            }
        })
        .await
    }

    /// Waits until there is no path for a prefix.
    pub(crate) async fn loses(&self, host: &Host, prefix: &str) -> anyhow::Result<()> {
        wait::until(SOON, &format!("caracal has no path for {prefix}"), || async {
            self.process.must_live().await?;
            match self.paths(host).await?.into_iter().find(|path| path.prefix == prefix) {
                None => Ok(()),
                Some(path) => Err(NotYet::because(format!("{path:?}"))),
            }
        })
        .await
    }

    /// Ends it without a word to it; it may be started again.
    pub(crate) async fn crash(&self) -> anyhow::Result<()> {
        self.process.kill().await
    }

    /// Ends it as one that is about to be started again.
    pub(crate) async fn leave(&self) -> anyhow::Result<()> {
        let status = self.process.end(Signal::SIGUSR1, SOON).await?;
        anyhow::ensure!(status.success(), "caracal-bgpd ended with {status}");
        Ok(())
    }

    /// Starts it again.
    pub(crate) async fn again(&self) -> anyhow::Result<()> {
        self.process.start().await
    }

    /// Ends it without a word to it.
    pub(crate) async fn kill(self) -> anyhow::Result<()> {
        self.process.kill().await
    }

    /// Ends it as an operator would.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let status = self.process.terminate(SOON).await?;
        anyhow::ensure!(status.success(), "caracal-bgpd ended with {status}");
        Ok(())
    }
}

/// The file.
fn text(host: &Host, asn: u32, rest: &str) -> String {
    let (router_id, socket) = (host.v4(), host.file("bgpd.sock"));
    format!("[speaker]\nas = {asn}\nrouter-id = \"{router_id}\"\nsocket = \"{}\"\n{rest}", socket.display())
}

/// A `[[peer]]` that dials again soon; `more` are further lines.
pub(crate) fn peer(address: &str, asn: u32, more: &str) -> String {
    format!("[[peer]]\naddress = \"{address}\"\nas = {asn}\nconnect-retry = 0.3\n{more}\n")
}

/// An `[[originate]]`.
pub(crate) fn originate(prefix: &str, communities: &[&str]) -> String {
    format!("[[originate]]\nprefix = \"{prefix}\"\ncommunities = {communities:?}\n")
}
