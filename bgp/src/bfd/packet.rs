//! The control packet (RFC 5880 §4.1): octets to values and back, and those rules of §6.8.6 that need no session.

use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use super::session::{Diagnostic, State};

/// The version of RFC 5880.
const VERSION: u8 = 1;
/// The length without authentication, octets.
pub const LENGTH: usize = 24;
/// The least length with authentication: its type and its length come too.
const LEAST_AUTHENTICATED: usize = 26;

const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const CONTROL_PLANE_INDEPENDENT: u8 = 0x08;
const AUTHENTICATED: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

/// A control packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Why the sender's session last left Up.
    pub diagnostic: Diagnostic,
    /// The state of the sender's session.
    pub state: State,
    /// The sender wants to know that this packet arrived (§6.5).
    pub poll: bool,
    /// The answer to that.
    pub r#final: bool,
    /// The sender's BFD does not share the fate of its control plane.
    pub control_plane_independent: bool,
    /// The sender does not want periodic packets while both sessions are Up.
    pub demand: bool,
    /// So many of the sender's packets may be lost in a row, less one.
    pub multiplier: NonZeroU8,
    /// The sender's name for the session.
    pub my_discriminator: NonZeroU32,
    /// The receiver's name for the session, or 0 while the sender does not know it.
    pub your_discriminator: u32,
    /// How often the sender would like to send.
    pub desired_min_tx: Duration,
    /// How often the sender can receive; zero: it wants nothing periodic.
    pub required_min_rx: Duration,
    /// How often the sender can receive echo packets; zero: it sends none back.
    pub required_min_echo_rx: Duration,
}

/// Why octets are no packet to act on (RFC 5880 §6.8.6). Nothing is answered; it is dropped and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Shorter than the shortest.
    #[error("a BFD packet of {0} octets: it has at least 24")]
    Short(usize),
    /// Another version.
    #[error("a BFD packet of version {0}: this is version 1")]
    Version(u8),
    /// The length it states leaves no room for what it must have.
    #[error("a BFD packet that says it has {0} octets: it has at least 24, and 26 with authentication")]
    LengthTooSmall(u8),
    /// The length it states is more than there is.
    #[error("a BFD packet that says it has {stated} octets came with {found}")]
    LengthTooGreat {
        /// In its length field.
        stated: u8,
        /// In the datagram.
        found: usize,
    },
    /// A detection time of zero.
    #[error("a BFD packet with a detection multiplier of 0")]
    ZeroMultiplier,
    /// Reserved for extensions for many receivers.
    #[error("a BFD packet with the multipoint bit")]
    Multipoint,
    /// The sender does not name its session.
    #[error("a BFD packet without the sender's discriminator")]
    ZeroDiscriminator,
    /// It is about a session of ours that it does not name.
    #[error("a BFD packet in state {0:?} that does not name the session")]
    Unaddressed(State),
    /// It carries authentication, which no session here has.
    #[error("a BFD packet with authentication, which is not configured here: turn it off at the peer")]
    Authenticated,
}

impl PacketError {
    /// A stable word for logs and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            PacketError::Short(_) => "Short",
            PacketError::Version(_) => "Version",
            PacketError::LengthTooSmall(_) | PacketError::LengthTooGreat { .. } => "Length",
            PacketError::ZeroMultiplier => "ZeroMultiplier",
            PacketError::Multipoint => "Multipoint",
            PacketError::ZeroDiscriminator => "ZeroDiscriminator",
            PacketError::Unaddressed(_) => "Unaddressed",
            PacketError::Authenticated => "Authenticated",
        }
    }
}

impl Packet {
    /// Reads a datagram's payload, in the order of the rules of RFC 5880 §6.8.6. Octets after the packet's own length
    /// are not looked at.
    ///
    /// # Errors
    /// [`PacketError`], for the first rule that is broken.
    pub fn decode(octets: &[u8]) -> Result<Packet, PacketError> {
        let Some(fixed) = octets.first_chunk::<LENGTH>() else {
            return Err(PacketError::Short(octets.len()));
        };
        let [first, flags, multiplier, length, words @ ..] = fixed;
        let version = first >> 5;
        if version != VERSION {
            return Err(PacketError::Version(version));
        }
        let has = |bit: u8| flags & bit != 0;
        let least = if has(AUTHENTICATED) { LEAST_AUTHENTICATED } else { LENGTH };
        if usize::from(*length) < least {
            return Err(PacketError::LengthTooSmall(*length));
        }
        if usize::from(*length) > octets.len() {
            return Err(PacketError::LengthTooGreat { stated: *length, found: octets.len() });
        }
        let multiplier = NonZeroU8::new(*multiplier).ok_or(PacketError::ZeroMultiplier)?;
        if has(MULTIPOINT) {
            return Err(PacketError::Multipoint);
        }
        let mut words = words.as_chunks::<4>().0.iter().map(|word| u32::from_be_bytes(*word));
        let mut word = || words.next().unwrap_or_default();
        let my_discriminator = NonZeroU32::new(word()).ok_or(PacketError::ZeroDiscriminator)?;
        let your_discriminator = word();
        let state = State::from_bits(flags >> 6);
        if your_discriminator == 0 && !matches!(state, State::Down | State::AdminDown) {
            return Err(PacketError::Unaddressed(state));
        }
        if has(AUTHENTICATED) {
            return Err(PacketError::Authenticated);
        }
        let mut time = || Duration::from_micros(word().into());
        Ok(Packet {
            diagnostic: Diagnostic::from_bits(first & 0x1f),
            state,
            poll: has(POLL),
            r#final: has(FINAL),
            control_plane_independent: has(CONTROL_PLANE_INDEPENDENT),
            demand: has(DEMAND),
            multiplier,
            my_discriminator,
            your_discriminator,
            desired_min_tx: time(),
            required_min_rx: time(),
            required_min_echo_rx: time(),
        })
    }

    /// The octets. Times are in whole microseconds; what is longer than the field holds (71 minutes) becomes the
    /// longest it holds.
    pub fn encode(&self) -> [u8; LENGTH] {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let flags = self.state.bits() << 6
            | flag(self.poll, POLL)
            | flag(self.r#final, FINAL)
            | flag(self.control_plane_independent, CONTROL_PLANE_INDEPENDENT)
            | flag(self.demand, DEMAND);
        let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        let head = [VERSION << 5 | self.diagnostic.bits(), flags, self.multiplier.get(), LENGTH as u8];
        let words = [
            self.my_discriminator.get(),
            self.your_discriminator,
            micros(self.desired_min_tx),
            micros(self.required_min_rx),
            micros(self.required_min_echo_rx),
        ];
        let mut octets = [0; LENGTH];
        let all = head.into_iter().chain(words.into_iter().flat_map(u32::to_be_bytes));
        octets.iter_mut().zip(all).for_each(|(place, octet)| *place = octet);
        octets
    }
}

#[cfg(test)]
impl Packet {
    /// What an ordinary peer sends: nothing asked, nothing answered, 300 ms x 3.
    pub(super) fn plain(state: State, my_discriminator: NonZeroU32, your_discriminator: u32) -> Packet {
        Packet {
            diagnostic: Diagnostic::None,
            state,
            poll: false,
            r#final: false,
            control_plane_independent: false,
            demand: false,
            multiplier: NonZeroU8::MIN.saturating_add(2),
            my_discriminator,
            your_discriminator,
            desired_min_tx: Duration::from_millis(300),
            required_min_rx: Duration::from_millis(300),
            required_min_echo_rx: Duration::ZERO,
        }
    }
}

#[cfg(test)]
#[path = "packet_vectors.rs"]
mod vectors;
