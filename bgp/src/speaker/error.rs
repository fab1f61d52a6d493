//! What can go wrong when a speaker is started or told something.

use std::io;

use crate::config::{ConfigError, PeerKey};
use crate::net::ListenError;

/// The speaker has stopped: nothing can be asked of it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the BGP speaker has stopped")]
pub struct Stopped;

/// Why a speaker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is refused.
    #[error("starting the BGP speaker: {0}")]
    Config(#[from] ConfigError),
    /// An address cannot be listened on.
    #[error("starting the BGP speaker: {0}")]
    Listen(#[from] ListenError),
    /// The RIB's thread cannot be made.
    #[error("starting the BGP speaker: the system gives no thread for the RIB: {0}")]
    Thread(#[source] io::Error),
}

/// Why a configuration is not in force.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    /// It is refused; the present one goes on.
    #[error("configuring the BGP speaker, which keeps its present configuration: {0}")]
    Config(#[from] ConfigError),
    /// An address cannot be listened on; the present configuration goes on.
    #[error("configuring the BGP speaker, which keeps its present configuration: {0}")]
    Listen(#[from] ListenError),
    /// The speaker has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a command for a peer has no effect.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// No such peer.
    #[error("there is no BGP peer {0}: ask for the list of peers to see their addresses")]
    UnknownPeer(PeerKey),
    /// The session is not up.
    #[error("the session with BGP peer {0} is not established, so there is nothing to refresh")]
    NotEstablished(PeerKey),
    /// The peer does not know how.
    #[error(
        "BGP peer {0} does not offer route refresh (RFC 2918): reset the session to get its routes again"
    )]
    RefreshNotSupported(PeerKey),
    /// The speaker has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}
