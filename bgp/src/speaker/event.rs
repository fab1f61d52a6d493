//! What a speaker tells those who listen.

use tokio::sync::{broadcast, watch};

use crate::config::{Family, PeerKey};
use crate::net::SessionStatus;
use crate::peer::SessionState;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpeakerEvent {
    /// A session is established.
    PeerUp {
        /// With whom.
        key: PeerKey,
    },
    /// A session is over.
    PeerDown {
        /// With whom.
        key: PeerKey,
        /// Why.
        reason: String,
    },
    /// A peer has sent its first table.
    EndOfRib {
        /// Who.
        key: PeerKey,
        /// Of which family.
        family: Family,
    },
}

/// Tells of a session's comings and goings until it is closed for good.
pub(super) async fn announce_sessions(
    key: PeerKey,
    mut status: watch::Receiver<SessionStatus>,
    events: broadcast::Sender<SpeakerEvent>,
) {
    let (mut up, mut transitions) = (false, 0);
    loop {
        let now = status.borrow_and_update().clone();
        // Each transition is told, also when two of them were seen as one.
        while transitions < now.transitions {
            transitions += 1;
            up = !up;
            let event = if up {
                SpeakerEvent::PeerUp { key }
            } else {
                let reason = now.last_down.as_ref().map(|(_, reason)| reason.to_string());
                SpeakerEvent::PeerDown { key, reason: reason.unwrap_or_else(|| "closed".to_owned()) }
            };
            tell(&events, event);
        }
        if status.changed().await.is_err() {
            break;
        }
    }
    if up && status.borrow().state == SessionState::Established {
        tell(&events, SpeakerEvent::PeerDown { key, reason: "the session has ended".to_owned() });
    }
}

pub(super) fn tell(events: &broadcast::Sender<SpeakerEvent>, event: SpeakerEvent) {
    if events.send(event).is_err() {
        tracing::trace!("nobody listens to the speaker's events");
    }
}
