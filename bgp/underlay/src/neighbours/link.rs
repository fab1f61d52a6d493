//! One link: who its neighbour is, and when to say that there is a router here. A pure machine.
//!
//! Times are those of RFC 4861 §6.2 with a greatest interval of ten seconds. A neighbour is not forgotten for its silence: its
//! session says whether it lives. It is forgotten when the link goes down, and when another is heard and it is not.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::message::Message;

/// MaxRtrAdvInterval.
const LONGEST_INTERVAL: Duration = Duration::from_secs(10);
/// MinRtrAdvInterval, 0.33 of the other.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(3300);
/// MIN_DELAY_BETWEEN_RAS.
const LEAST_PAUSE: Duration = Duration::from_secs(3);
/// MAX_RA_DELAY_TIME: an answer waits so long at most, so that many routers do not answer at once.
const LONGEST_DELAY: Duration = Duration::from_millis(500);
/// MAX_RTR_SOLICITATIONS.
const SOLICITATIONS: u8 = 3;
/// RTR_SOLICITATION_INTERVAL.
const SOLICITATION_INTERVAL: Duration = Duration::from_secs(4);
/// While there are several neighbours, one that is silent for so long, three of the usual intervals, is gone.
pub const FORGOTTEN: Duration = Duration::from_secs(30);
/// So many are told apart; a link with more has too many in any case.
const MOST: usize = 16;

/// What happens on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Packets pass, and this is the own address.
    Up(Ipv6Addr),
    /// None pass any more.
    Down,
    /// This came from there.
    Heard(Message, Ipv6Addr),
    /// The deadline has come.
    Tick,
}

/// What is to be said to all on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// That there is a router here.
    Advertise,
    /// Which routers are there?
    Solicit,
}

/// Who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Nobody has said anything.
    Nobody,
    /// This neighbour.
    One(Ipv6Addr),
    /// These two, if not more.
    Several(Ipv6Addr, Ipv6Addr),
}

/// A link.
#[derive(Debug)]
pub struct Link {
    random: StdRng,
    up: Option<Up>,
}

#[derive(Debug)]
struct Up {
    own: Ipv6Addr,
    /// When each was last heard.
    neighbours: BTreeMap<Ipv6Addr, Instant>,
    advertise: Instant,
    advertised: Option<Instant>,
    /// When to ask again, and how many times at the most.
    solicit: Option<(Instant, u8)>,
}

impl Link {
    /// A link that is down. `seed` makes its random waits differ from those of others.
    pub fn new(seed: u64) -> Self {
        Link { random: StdRng::seed_from_u64(seed), up: None }
    }

    /// Takes an event; what is to be said is added to `out`.
    pub fn on(&mut self, now: Instant, event: Event, out: &mut Vec<Action>) {
        match (event, &mut self.up) {
            (Event::Up(own), Some(up)) => up.own = own,
            (Event::Up(own), None) => {
                let neighbours = BTreeMap::new();
                let solicit = Some((now, SOLICITATIONS));
                self.up = Some(Up { own, neighbours, advertise: now, advertised: None, solicit });
                self.tick(now, out);
            }
            (Event::Down, _) => self.up = None,
            (Event::Heard(Message::Advertisement, from), Some(up)) => up.heard(now, from),
            (Event::Heard(Message::Solicitation, from), Some(up)) => {
                // RFC 4861 §6.2.6: soon, together with what others ask, and never sooner than the last one allows.
                let soon = now + self.random.random_range(Duration::ZERO..=LONGEST_DELAY);
                let allowed = up.advertised.map_or(soon, |last| soon.max(last + LEAST_PAUSE));
                if from != up.own {
                    up.advertise = up.advertise.min(allowed);
                }
            }
            (Event::Tick, Some(_)) => self.tick(now, out),
            (Event::Heard(..) | Event::Tick, None) => (),
        }
    }

    /// When to send [`Event::Tick`] at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        let up = self.up.as_ref()?;
        let several = up.neighbours.len() > 1;
        let forget = up.neighbours.values().min().filter(|_| several).map(|heard| *heard + FORGOTTEN);
        let solicit = up.solicit.map(|(at, _)| at);
        [forget, solicit].into_iter().flatten().chain([up.advertise]).min()
    }

    /// Who is there.
    pub fn sight(&self) -> Sight {
        let mut neighbours = self.up.iter().flat_map(|up| up.neighbours.keys());
        match (neighbours.next(), neighbours.next()) {
            (None, _) => Sight::Nobody,
            (Some(only), None) => Sight::One(*only),
            (Some(one), Some(other)) => Sight::Several(*one, *other),
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Action>) {
        let Some(up) = &mut self.up else { return };
        up.forget(now);
        if up.advertise <= now {
            out.push(Action::Advertise);
            up.advertised = Some(now);
            up.advertise = now + self.random.random_range(SHORTEST_INTERVAL..=LONGEST_INTERVAL);
        }
        if let Some((at, left)) = up.solicit
            && at <= now
        {
            let wanted = up.neighbours.is_empty() && left > 0;
            out.extend(wanted.then_some(Action::Solicit));
            up.solicit =
                wanted.then(|| (now + SOLICITATION_INTERVAL, left - 1)).filter(|(_, left)| *left > 0);
        }
    }
}

impl Up {
    fn heard(&mut self, now: Instant, from: Ipv6Addr) {
        // What is said here may be heard here.
        if from != self.own && (self.neighbours.len() < MOST || self.neighbours.contains_key(&from)) {
            self.neighbours.insert(from, now);
            self.forget(now);
        }
    }

    /// Whoever was silent for long gives way to those who were not.
    fn forget(&mut self, now: Instant) {
        let Some(latest) = self.neighbours.values().max().copied() else { return };
        self.neighbours.retain(|_, heard| *heard == latest || now < *heard + FORGOTTEN);
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
