//! A machine: a network namespace with its cables, and a mount namespace with folders of its own. Nodes, routers, the
//! control plane and the host outside are machines.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::Context;
use ipnetwork::IpNetwork;
use nix::mount::MsFlags;
use nix::sched::{CloneFlags, setns, unshare};
use serde_json::Value;

use crate::command;
use crate::netns::Netns;
use crate::sandbox::mounts::{self, MACHINE_ID, PRIVATE};
use crate::segment;
use crate::topology::{MachinePlan, Topology};

/// A machine that programs run on.
#[derive(Debug)]
pub struct Machine {
    plan: MachinePlan,
    root: PathBuf,
    netns: Netns,
}

impl Machine {
    /// Makes the machine as planned, cabled and addressed.
    pub(crate) async fn make(plan: MachinePlan, state: &Path) -> anyhow::Result<Self> {
        let name = plan.name.clone();
        let root = state.join("nodes").join(&name);
        let netns = Netns::make(&name).await?;
        let (folder, inside, forwards) = (root.clone(), netns.clone(), plan.forwards);
        let making = tokio::task::spawn_blocking(move || own_mounts(&name, &folder, &inside, forwards));
        let mounts = making.await.context("a thread that makes mounts panicked")?;
        let mounts = mounts.with_context(|| format!("making the machine {}", plan.name))?;
        segment::plug(&plan).await?;
        Ok(Self { plan, root, netns: netns.with_mounts(mounts) })
    }

    /// Its name, which is also its namespace's.
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// What it was made from.
    pub fn plan(&self) -> &MachinePlan {
        &self.plan
    }

    /// Its namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Its own addresses, IPv4 first: those on `lo`, else those on its first cable, with the segment's prefix lengths.
    pub fn addresses(&self) -> &[IpNetwork] {
        if !self.plan.loopback.is_empty() {
            return &self.plan.loopback;
        }
        self.plan.cables.first().map_or(&[], |cable| &cable.addresses)
    }

    /// Its address of one family.
    pub fn address(&self, v6: bool) -> Option<IpAddr> {
        self.addresses().iter().map(IpNetwork::ip).find(|address| address.is_ipv6() == v6)
    }

    /// Where one of its own folders or files lies for the rest of the sandbox: `/run/caracal/admin.sock` is below
    /// `/run/lab/nodes/<name>/run/caracal`.
    pub fn file(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Runs `caracalctl` on it against a socket there and reads its JSON.
    pub(crate) async fn ctl(&self, program: &Path, socket: &str, words: &[&str]) -> anyhow::Result<Value> {
        let program = program.display().to_string();
        let line = [&[&*program, "--socket", socket], words, &["-o", "json"]].concat();
        let text = self.netns.exec(&line).await?.success()?;
        serde_json::from_str(&text)
            .with_context(|| format!("reading the JSON of `caracalctl {}`", words.join(" ")))
    }

    /// Takes the cable of one of its uplinks out at both ends, or puts it back.
    pub(crate) async fn set_uplink(&self, rack: u8, state: &str) -> anyhow::Result<()> {
        let ports = Topology::uplink_ports(self.name(), rack);
        let lines = ports.map(|port| format!("link set {port} {state}\n"));
        command::ip_batch(None, &lines.concat()).await
    }

    /// Takes the node's end of the cable to one of two routers off the segment between them, or puts it back: carrier stays.
    pub(crate) async fn interrupt_uplink(&self, rack: u8, interrupted: bool) -> anyhow::Result<()> {
        let [port, _] = Topology::uplink_ports(self.name(), rack);
        let cable = self.plan.cables.iter().find(|cable| cable.port == port);
        let cable = cable.with_context(|| format!("{} has no uplink to rack {rack}", self.name()))?;
        let line = if interrupted {
            format!("link set {port} nomaster\n")
        } else {
            format!("link set {port} master {}\n", cable.segment)
        };
        command::ip_batch(None, &line).await
    }

    /// Takes its cables out, or puts them back: carrier is lost, as when a switch port goes down.
    pub(crate) async fn set_ports(&self, state: &str) -> anyhow::Result<()> {
        let lines = self.plan.cables.iter().map(|cable| format!("link set {} {state}\n", cable.port));
        command::ip_batch(None, &lines.collect::<String>()).await
    }
}

/// Makes the machine's mount namespace, on a thread that goes away with it.
fn own_mounts(name: &str, root: &Path, netns: &Netns, forwards: bool) -> anyhow::Result<OwnedFd> {
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
        // Where nobody says otherwise, reverse paths are checked strictly on whatever is no router, as some distributions have it:
        // agents have to loosen it where answers may come by other ways.
        let (forwards, checks) = if forwards { ("1", "0") } else { ("0", "1") };
        for (setting, value) in [
            ("ipv4/ip_forward", forwards),
            ("ipv6/conf/all/forwarding", forwards),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", checks),
        ] {
            let path = format!("/proc/sys/net/{setting}");
            std::fs::write(&path, value)
                .with_context(|| format!("writing {path}: is IPv6 enabled in the kernel?"))?;
        }
        // The kernel's own device of IPIP came with the namespace, before anybody could say how devices are to be.
        let tunnel = Path::new("/proc/sys/net/ipv4/conf/tunl0/rp_filter");
        if tunnel.exists() {
            std::fs::write(tunnel, checks).with_context(|| format!("writing {}", tunnel.display()))?;
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
