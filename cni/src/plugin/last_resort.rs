//! DEL without an agent: remove the host's end of the veth, so that nothing answers for the address any more.
//!
//! Only a device whose alias names exactly this attachment is touched. A pod's next sandbox has the same device name, and a
//! late DEL of the old one must not cut it off.

use caracal_linux::netlink::client::Client;
use caracal_linux::netlink::error::Error as NetlinkError;

use crate::error::{Code, Error};
use crate::name::Alias;

/// Removes the device of this attachment, if there is one.
pub(super) fn remove_device(attachment: &Alias) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Error::new(Code::Io, format!("preparing to speak netlink: {error}")))?;
    runtime.block_on(remove(attachment)).map_err(|error| {
        let container = &attachment.container;
        let msg = format!("removing the device of container {container} without the agent: {error}");
        Error::new(Code::Wiring, msg)
    })
}

async fn remove(attachment: &Alias) -> Result<(), NetlinkError> {
    let ours = attachment.to_string();
    let client = Client::open(None)?;
    for link in client.links().await? {
        if link.alias.as_deref() == Some(ours.as_str()) {
            client.delete_link(&link.name).await?;
        }
    }
    Ok(())
}
