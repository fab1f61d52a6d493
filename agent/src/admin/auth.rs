//! Who may ask: root, and whoever the agent itself runs as.
//!
//! The socket's mode keeps others out already; this holds where somebody has loosened it, or passed the open socket on.

use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Status};

/// Refuses requests over connections that somebody else opened.
pub(super) fn only_root(request: Request<()>) -> Result<Request<()>, Status> {
    let peer = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
    let Some(peer) = peer else {
        return Err(Status::permission_denied("the kernel does not say who opened this connection"));
    };
    if peer.uid() == 0 || peer.uid() == nix::unistd::geteuid().as_raw() {
        return Ok(request);
    }
    Err(Status::permission_denied(format!(
        "this connection was opened by user {}: only root may administer the node",
        peer.uid()
    )))
}
