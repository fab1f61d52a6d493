//! What a session may use beyond the base protocol, and how patient it is.

use std::time::Duration;

use super::{Families, Family};

/// Options of a session. The defaults are right for nearly every peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// Families in which the peer may send more than one path of a prefix (RFC 7911).
    pub add_path_receive: Families,
    /// Families in which the peer is sent more than one path of a prefix (RFC 7911).
    pub add_path_send: Families,
    /// Families whose prefixes may have a next hop of the other family: IPv4 by IPv6 (RFC 8950).
    pub extended_next_hop: Families,
    /// Messages of up to 65535 octets (RFC 8654).
    pub extended_messages: bool,
    /// Route refreshes are marked by a beginning and an end (RFC 7313).
    pub enhanced_refresh: bool,
    /// How long to wait for the peer's OPEN before sending the own one (RFC 4271 §8.1.1, DelayOpenTime); `None`: it
    /// is sent at once.
    pub delay_open: Option<Duration>,
    /// The paths of an external peer must begin with its AS (RFC 4271 §6.3). Route servers leave themselves out.
    pub enforce_first_as: bool,
    /// Attribute types that are not taken from the peer while it is external, as if they had not come.
    pub refused_attributes: AttributeCodes,
    /// Routes outlive restarts of either end (RFC 4724, RFC 8538); `None`: it is not offered, and nobody's are kept.
    pub graceful_restart: Option<RestartOptions>,
    /// How many prefixes the peer may announce.
    pub limits: PrefixLimits,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions {
            add_path_receive: Families::NONE,
            add_path_send: Families::NONE,
            extended_next_hop: Families::NONE,
            extended_messages: true,
            enhanced_refresh: true,
            delay_open: None,
            enforce_first_as: true,
            refused_attributes: AttributeCodes::HARMFUL,
            graceful_restart: None,
            limits: PrefixLimits::default(),
        }
    }
}

impl SessionOptions {
    /// The first difference to `new` that only a new session can bring about.
    pub(super) fn needs_reset(&self, new: &SessionOptions) -> Option<&'static str> {
        let add_path = |of: &SessionOptions| (of.add_path_receive, of.add_path_send);
        // The rest of it is for the next session.
        let restart_time =
            |of: &SessionOptions| of.graceful_restart.map(|restart| (restart.time, restart.long_lived));
        let differences = [
            (add_path(self) != add_path(new), "add-path"),
            (self.extended_next_hop != new.extended_next_hop, "extended next hop"),
            (self.extended_messages != new.extended_messages, "extended messages"),
            (self.enhanced_refresh != new.enhanced_refresh, "enhanced route refresh"),
            (self.enforce_first_as != new.enforce_first_as, "first AS"),
            (self.refused_attributes != new.refused_attributes, "refused attributes"),
            (restart_time(self) != restart_time(new), "graceful restart"),
        ];
        differences.into_iter().find_map(|(differs, what)| differs.then_some(what))
    }
}

/// How restarts are survived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartOptions {
    /// How long this speaker may take to come back, as the peer is told: whole seconds, at most 4095.
    pub time: Duration,
    /// The longest that a peer's routes are kept while it is away, and again from its return to its End-of-RIB.
    pub stale_time: Duration,
    /// How much longer routes are kept when that time is over, as the last resort of all who have them (RFC 9494): so long
    /// each end asks for, and no longer than this the peer's are kept. Whole seconds of 24 bits; `None`: it is not offered.
    pub long_lived: Option<Duration>,
    /// This speaker has restarted: the first session is told so (R).
    pub restarted: bool,
    /// The families in which forwarding went on while this speaker was away (F). Say only what is true: what a peer keeps
    /// for a speaker that does not forward is a black hole.
    pub forwarding: Families,
}

impl Default for RestartOptions {
    fn default() -> Self {
        RestartOptions {
            time: Duration::from_secs(120),
            stale_time: Duration::from_secs(360),
            long_lived: None,
            restarted: false,
            forwarding: Families::NONE,
        }
    }
}

/// A set of attribute types.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct AttributeCodes([u64; 4]);

impl AttributeCodes {
    /// None.
    pub const NONE: AttributeCodes = AttributeCodes([0; 4]);
    /// Deprecated, reserved or unused here, and known to have reset sessions far from where they came from: 20 and 21
    /// (deprecated), 23 (Tunnel Encapsulation), 28 (Entropy Label), 40 (Prefix-SID).
    pub const HARMFUL: AttributeCodes =
        AttributeCodes([1 << 20 | 1 << 21 | 1 << 23 | 1 << 28 | 1 << 40, 0, 0, 0]);

    /// Adds one.
    pub fn insert(&mut self, code: u8) {
        if let Some(word) = self.0.get_mut(usize::from(code >> 6)) {
            *word |= 1 << (code & 63);
        }
    }

    /// Whether it is in the set.
    pub fn contains(self, code: u8) -> bool {
        self.0.get(usize::from(code >> 6)).is_some_and(|word| word >> (code & 63) & 1 == 1)
    }

    /// Whether there is any but `code`.
    pub fn has_others_than(self, code: u8) -> bool {
        let mut only = AttributeCodes::NONE;
        only.insert(code);
        self.0.iter().zip(only.0).any(|(word, mask)| word & !mask != 0)
    }
}

impl FromIterator<u8> for AttributeCodes {
    fn from_iter<I: IntoIterator<Item = u8>>(codes: I) -> Self {
        codes.into_iter().fold(AttributeCodes::NONE, |mut set, code| {
            set.insert(code);
            set
        })
    }
}

impl std::fmt::Debug for AttributeCodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries((0..=u8::MAX).filter(|code| self.contains(*code))).finish()
    }
}

/// How many prefixes of each family a peer may announce (RFC 4271 §6.7). The RIB counts, the session acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PrefixLimits {
    /// For IPv4 unicast.
    pub ipv4: Option<PrefixLimit>,
    /// For IPv6 unicast.
    pub ipv6: Option<PrefixLimit>,
}

impl PrefixLimits {
    /// The limit of a family.
    pub fn of(&self, family: Family) -> Option<PrefixLimit> {
        match family {
            Family::Ipv4Unicast => self.ipv4,
            Family::Ipv6Unicast => self.ipv6,
        }
    }
}

/// The limit of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PrefixLimit {
    /// More prefixes than this are too many.
    pub prefixes: u32,
    /// What is done then.
    pub action: LimitAction,
}

/// What happens to a peer that announces too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitAction {
    /// It is told in the log and in the peer's status; the session stands.
    Warn,
    /// The session ends and stays down until an operator starts the peer again or changes its configuration.
    Stop,
    /// The session ends and may come back after this time.
    Restart(Duration),
}
