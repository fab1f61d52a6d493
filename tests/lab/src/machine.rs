//! A machine in a rack: a network namespace with an uplink, and a mount namespace with folders of its own.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::Context;
use ipnetwork::IpNetwork;
use nix::mount::MsFlags;
use nix::sched::{CloneFlags, setns, unshare};

use crate::command;
use crate::netns::Netns;
use crate::rack::Rack;
use crate::sandbox::mounts::{self, MACHINE_ID, PRIVATE};

/// The device every machine reaches its rack through.
pub const UPLINK: &str = "eth0";

/// A machine that programs run on.
#[derive(Debug)]
pub struct Machine {
    name: String,
    root: PathBuf,
    netns: Netns,
    addresses: [IpNetwork; 2],
}

impl Machine {
    /// Makes the machine, cabled to its rack and addressed, forwarding nothing.
    pub(crate) async fn make(name: &str, rack: &Rack, host: u8, state: &Path) -> anyhow::Result<Self> {
        let root = state.join("nodes").join(name);
        let netns = Netns::make(name).await?;
        let mounts = own_mounts(name, &root, &netns).with_context(|| format!("making the machine {name}"))?;
        let addresses = rack.plan().addresses(host);
        rack.plug(name, UPLINK, &addresses).await?;
        Ok(Self { name: name.to_owned(), root, netns: netns.with_mounts(mounts), addresses })
    }

    /// Its name, which is also its namespace's and that of its port in the rack.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Its addresses in the rack, IPv4 and IPv6, with the rack's prefix lengths.
    pub fn addresses(&self) -> &[IpNetwork; 2] {
        &self.addresses
    }

    /// Where one of its own folders or files lies for the rest of the sandbox: `/run/caracal/admin.sock` is below
    /// `/run/lab/nodes/<name>/run/caracal`.
    pub fn file(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Takes its cable out, or puts it back: carrier is lost, as when a switch port goes down.
    pub(crate) async fn set_port(&self, state: &str) -> anyhow::Result<()> {
        command::ip_batch(None, &format!("link set {} {state}\n", self.name)).await
    }
}

/// Makes the machine's mount namespace, on a thread that goes away with it.
fn own_mounts(name: &str, root: &Path, netns: &Netns) -> anyhow::Result<OwnedFd> {
    let machine_id = root.join("machine-id");
    std::fs::create_dir_all(root).with_context(|| format!("making {}", root.display()))?;
    std::fs::write(&machine_id, format!("{}\n", id_of(name)))
        .with_context(|| format!("writing {}", machine_id.display()))?;
    let network = std::fs::File::open(netns.path()).with_context(|| format!("opening {}", netns.path()))?;
    let root = root.to_path_buf();
    let work = move || -> anyhow::Result<OwnedFd> {
        setns(&network, CloneFlags::CLONE_NEWNET).context("entering its network namespace")?;
        unshare(CloneFlags::CLONE_NEWNS).context("making its mount namespace")?;
        // What the sandbox mounts later (pods' namespaces) is seen here; what is mounted here is seen nowhere else.
        mounts::change(Path::new("/"), MsFlags::MS_REC | MsFlags::MS_SLAVE)?;
        mounts::fresh(
            "sysfs",
            Path::new("/sys"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        )?;
        for folder in PRIVATE {
            let own = root.join(folder.trim_start_matches('/'));
            mounts::folder_at(&own)?;
            mounts::bind(&own, Path::new(folder))?;
        }
        mounts::bind(&machine_id, Path::new(MACHINE_ID))?;
        // A new namespace takes over settings of the host; a lab must not depend on them.
        for (setting, value) in [
            ("ipv4/ip_forward", "0"),
            ("ipv6/conf/all/forwarding", "0"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
        ] {
            let path = format!("/proc/sys/net/{setting}");
            std::fs::write(&path, value)
                .with_context(|| format!("writing {path}: is IPv6 enabled in the kernel?"))?;
        }
        let own = std::fs::File::open("/proc/thread-self/ns/mnt").context("opening its mount namespace")?;
        Ok(own.into())
    };
    let made = std::thread::spawn(work).join();
    made.map_err(|_| anyhow::anyhow!("the thread that makes mounts panicked"))?
}

/// A machine id that is the same each time for the same name: 32 hexadecimal digits.
fn id_of(name: &str) -> String {
    let mut digits: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    digits.truncate(32);
    format!("{digits:0>32}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_ids_differ_and_have_32_digits() {
        assert_eq!(id_of("n1").len(), 32);
        assert_eq!(id_of("a-very-long-name-of-a-node").len(), 32);
        assert_ne!(id_of("n1"), id_of("n2"));
    }
}
