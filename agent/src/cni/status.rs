//! STATUS, where it is asked of the agent: that it can answer is the answer, as long as its allocator lives.
//!
//! The plugin does not ask; it looks at the heartbeat. Whoever speaks the socket's language directly gets this.

use caracal_cni::{Code, Error};

use super::CniContext;

/// Whether ADD can be served.
pub(super) fn status(context: &CniContext) -> Result<(), Error> {
    if context.mtu.has_changed().is_err() {
        let msg = format!("the agent of node {} is ending", context.node);
        return Err(Error::new(Code::NotAvailable, msg));
    }
    Ok(())
}
