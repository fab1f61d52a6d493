//! What every daemon can do for a case.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use caracal_lab::wait::{self, NotYet};

use crate::segment::Host;

/// How long a daemon may take for anything.
pub(crate) const SOON: Duration = Duration::from_secs(40);

/// What a daemon shall be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    /// Its AS.
    pub(crate) asn: u32,
    /// Whom it speaks to.
    pub(crate) neighbors: Vec<Neighbor>,
    /// The IPv4 prefixes it announces, with [`TAGS`].
    pub(crate) v4: Vec<&'static str>,
    /// The IPv6 prefixes it announces.
    pub(crate) v6: Vec<&'static str>,
    /// What it learns goes into the kernel.
    pub(crate) kernel: bool,
}

/// One neighbour of a daemon.
#[derive(Debug, Clone)]
pub(crate) struct Neighbor {
    /// Its host.
    pub(crate) host: u8,
    /// Its AS.
    pub(crate) asn: u32,
    /// Whether the session runs over IPv6, and then carries IPv6 only.
    pub(crate) over_v6: bool,
    /// Whether the daemon reflects to it.
    pub(crate) client: bool,
    /// The hold time offered, where it is not the daemon's own default.
    pub(crate) hold: Option<u16>,
    /// Several paths of a prefix, both ways.
    pub(crate) add_path: bool,
    /// IPv4 routes by IPv6 next hops (RFC 8950), over IPv6.
    pub(crate) extended_next_hop: bool,
    /// The path is watched by BFD, with the times of [`BFD`].
    pub(crate) bfd: bool,
    /// With the times of [`PATIENT_BFD`] instead.
    pub(crate) patient: bool,
    /// It is not on this link: BFD is that of many hops.
    pub(crate) multihop: bool,
    /// Graceful restart, for [`RESTART_TIME`].
    pub(crate) restart: bool,
    /// Routes are kept for [`LONG_LIVED`] when that is over (RFC 9494), and it is over after [`SHORT_RESTART_TIME`].
    pub(crate) long_lived: bool,
    /// All segments are signed with it (TCP-MD5).
    pub(crate) password: Option<&'static str>,
}

/// The interval, in milliseconds, and the multiplier of every BFD session: patient, for the machine may be busy.
pub(crate) const BFD: (u32, u8) = (400, 8);

/// The same where a speaker has to be back within the detection time.
pub(crate) const PATIENT_BFD: (u32, u8) = (400, 30);

/// How many seconds a daemon may be away where it restarts gracefully.
pub(crate) const RESTART_TIME: u16 = 30;
/// The same where what comes after that is waited for.
pub(crate) const SHORT_RESTART_TIME: u16 = 4;
/// For how many seconds more routes are kept.
pub(crate) const LONG_LIVED: u32 = 3600;

impl Neighbor {
    /// The interval and the multiplier of BFD.
    pub(crate) fn bfd_times(&self) -> (u32, u8) {
        if self.patient { PATIENT_BFD } else { BFD }
    }

    /// A plain neighbour over IPv4, for both families.
    pub(crate) fn new(host: u8, asn: u32) -> Self {
        let (over_v6, client, add_path, extended_next_hop, bfd) = (false, false, false, false, false);
        let (multihop, restart, long_lived, password, hold) = (false, false, false, None, None);
        Self {
            host,
            asn,
            over_v6,
            client,
            hold,
            add_path,
            extended_next_hop,
            bfd,
            patient: false,
            multihop,
            restart,
            long_lived,
            password,
        }
    }

    /// How many seconds the daemon may be away.
    pub(crate) fn restart_time(&self) -> u16 {
        if self.long_lived { SHORT_RESTART_TIME } else { RESTART_TIME }
    }

    /// The address it is spoken to at.
    pub(crate) fn address(&self) -> String {
        if self.over_v6 { crate::segment::v6(self.host) } else { crate::segment::v4(self.host) }
    }
}

/// The communities on every IPv4 prefix that a daemon announces: one of each kind.
pub(crate) const TAGS: [&str; 3] = ["64700:8", "64700:1:2", "rt:64700:9"];

/// A route as a daemon tells it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Seen {
    /// The prefix.
    pub(crate) prefix: String,
    /// The next hop.
    pub(crate) next_hop: String,
    /// The AS numbers, separated by spaces.
    pub(crate) as_path: String,
    /// All communities, each as in [`TAGS`].
    pub(crate) communities: BTreeSet<String>,
}

/// A running daemon of some kind.
pub(crate) trait Peer: Sized {
    /// Its name in the cases and the page.
    const NAME: &'static str;
    /// Whether IPv6 routes get a usable next hop over a session that runs over IPv4.
    const V6_OVER_V4: bool = true;

    /// Whether it is a router: what it learns from one neighbour it tells another.
    const PASSES_ON: bool = true;
    /// Whether it can be made to ask for everything again: one that keeps what it was sent need not.
    const ASKS_AGAIN: bool = true;
    /// Whether it can be asked for everything again (RFC 2918).
    const ANSWERS: bool = true;
    /// Whether that can be done where refreshes are marked (RFC 7313).
    const ANSWERS_MARKED: bool = true;

    /// Starts it on a host.
    async fn start(host: &Host, plan: &Plan) -> anyhow::Result<Self>;
    /// The routes it knows, own ones included, all families.
    async fn routes(&self, host: &Host) -> anyhow::Result<Vec<Seen>>;
    /// Asks a neighbour for all its routes again (RFC 2918).
    async fn refresh(&self, host: &Host, neighbor: &Neighbor) -> anyhow::Result<()>;
    /// SIGKILL.
    async fn crash(&self) -> anyhow::Result<()>;

    /// Waits until it knows a prefix, in a way that `fits`.
    async fn learns(&self, host: &Host, prefix: &str, fits: impl Fn(&Seen) -> bool) -> anyhow::Result<Seen> {
        let what = format!("{} has {prefix} as expected", Self::NAME);
        wait::until(SOON, &what, || async {
            let routes = self.routes(host).await.context("asking for its routes")?;
            let found: Vec<Seen> = routes.into_iter().filter(|route| route.prefix == prefix).collect();
            match found.iter().find(|route| fits(route)) {
                Some(route) => Ok(route.clone()),
                None => Err(NotYet::because(format!("{found:?}"))),
            }
        })
        .await
    }

    /// Waits until it knows a prefix no more.
    async fn loses(&self, host: &Host, prefix: &str) -> anyhow::Result<()> {
        let what = format!("{} has {prefix} no more", Self::NAME);
        wait::until(SOON, &what, || async {
            let routes = self.routes(host).await.context("asking for its routes")?;
            match routes.iter().find(|route| route.prefix == prefix) {
                None => Ok(()),
                Some(route) => Err(NotYet::because(format!("{route:?}"))),
            }
        })
        .await
    }
}
