//! The node's network configuration for container runtimes: it appears when the agent can serve, and not before, because a
//! runtime takes the node for ready when it finds one. It stays when the agent ends: an upgrade must not make the node
//! NotReady. What removes it is `caracal-cni uninstall`.

use std::path::PathBuf;

use caracal_cni::install::{self, Conflist, InstallError};
use tokio::sync::watch;
use tracing::{error, info};

/// Where to write it, and from what.
#[derive(Clone, Debug)]
pub struct Place {
    /// The host's folder of configurations; nothing is written without one.
    pub configurations: Option<PathBuf>,
    /// The host's folder of plugins.
    pub plugins: PathBuf,
    /// The agent's socket.
    pub socket: PathBuf,
    /// Whether the configurations of other plugins are set aside.
    pub exclusive: bool,
}

/// Waits until the agent serves, writes, and waits for ever.
pub async fn keep(place: Place, mut serves: watch::Receiver<bool>) {
    if serves.wait_for(|serves| *serves).await.is_ok()
        && let Err(error) = write(&place)
    {
        error!(%error, "the network configuration for container runtimes");
    }
    std::future::pending().await
}

fn write(place: &Place) -> Result<(), InstallError> {
    let Some(folder) = &place.configurations else { return Ok(()) };
    if Conflist::for_node(&place.socket, &place.plugins).write(folder)? {
        info!(file = %folder.join(install::CONFLIST).display(), "wrote the network configuration");
    }
    if place.exclusive {
        for name in install::set_aside(folder)? {
            info!(name, "another plugin's configuration is set aside; `caracal-cni uninstall` puts it back");
        }
    }
    Ok(())
}
