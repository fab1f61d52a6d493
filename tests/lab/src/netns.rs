//! One network namespace of the lab, by its name under `/run/netns`, and what is asked inside it.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use anyhow::Context;
use ipnetwork::IpNetwork;
use nix::sched::{CloneFlags, setns};
use serde::Deserialize;
use tokio::process::Command;

use crate::command::{self, Output};
use crate::route::{self, Route};
use crate::sandbox::STATE;

/// A namespace that commands can be run in.
#[derive(Debug, Clone)]
pub struct Netns {
    name: String,
    /// A mount namespace that belongs to it; pods have none of their own.
    mounts: Option<Arc<OwnedFd>>,
}

/// A device as `ip -j -d link` tells it.
#[derive(Debug, Clone, Deserialize)]
pub struct Link {
    /// Its name.
    pub ifname: String,
    /// Its MAC address.
    #[serde(default)]
    pub address: String,
    /// Its MTU.
    pub mtu: u32,
    /// `UP`, `DOWN`, `UNKNOWN`.
    pub operstate: String,
    /// The note that its maker left.
    #[serde(default)]
    pub ifalias: Option<String>,
}

/// A neighbour entry as `ip -j neigh` tells it.
#[derive(Debug, Clone, Deserialize)]
pub struct Neighbour {
    /// Whose.
    pub dst: IpAddr,
    /// On which device.
    pub dev: String,
    /// The MAC address.
    #[serde(default)]
    pub lladdr: Option<String>,
    /// `PERMANENT`, `REACHABLE`, …
    #[serde(default)]
    pub state: Vec<String>,
}

#[derive(Deserialize)]
struct Device {
    #[serde(default)]
    addr_info: Vec<AddressInfo>,
}

#[derive(Deserialize)]
struct AddressInfo {
    local: IpAddr,
    prefixlen: u8,
}

impl Netns {
    /// Makes an empty namespace.
    pub async fn make(name: &str) -> anyhow::Result<Self> {
        command::run(Command::new("ip").args(["netns", "add", name])).await?.success()?;
        Ok(Self { name: name.to_owned(), mounts: None })
    }

    /// The same with a mount namespace, entered together with it.
    pub(crate) fn with_mounts(mut self, mounts: OwnedFd) -> Self {
        self.mounts = Some(Arc::new(mounts));
        self
    }

    /// Removes the name; the namespace goes when nobody is in it.
    pub async fn remove(&self) -> anyhow::Result<()> {
        command::run(Command::new("ip").args(["netns", "del", &self.name])).await?.success().map(drop)
    }

    /// Its name, as in `ip netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// Does something on a thread that lives in this namespace, and that ends with it: for sockets, which stay in the
    /// namespace they were opened in.
    pub async fn on_a_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let path = self.path();
        let (tell, told) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let enter = || -> anyhow::Result<()> {
                let namespace = std::fs::File::open(&path).with_context(|| format!("opening {path}"))?;
                setns(namespace, CloneFlags::CLONE_NEWNET).with_context(|| format!("entering {path}"))
            };
            // Whoever asked may have given up meanwhile.
            tell.send(enter().and_then(|()| work())).ok();
        });
        told.await.with_context(|| format!("a thread in {} ended without an answer", self.name))?
    }

    /// The way in, in words of `nsenter`. Its mount namespace is a descriptor of process 1, which is us.
    pub(crate) fn way_in(&self) -> Vec<String> {
        let mut words = vec![format!("--net={}", self.path())];
        if let Some(mounts) = &self.mounts {
            words.push(format!("--mount=/proc/1/fd/{}", mounts.as_raw_fd()));
        }
        words
    }

    /// A command that will run inside, with the product's programs in its PATH.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(self.way_in()).arg("--").arg(program).env("PATH", path());
        command.env_remove(crate::sandbox::MARK);
        command
    }

    /// Runs a command inside, to its end.
    pub async fn exec(&self, words: &[&str]) -> anyhow::Result<Output> {
        let (program, arguments) = words.split_first().context("no command was given")?;
        command::run(self.command(program).args(arguments)).await
    }

    /// Routes of all families in the main table.
    pub async fn routes(&self) -> anyhow::Result<Vec<Route>> {
        let mut routes = Vec::new();
        for family in ["-4", "-6"] {
            let json = self.ip(&[family, "-j", "route", "show"]).await?;
            routes.extend(route::read(&json)?);
        }
        Ok(routes)
    }

    /// The route to exactly this network, if there is one.
    pub async fn route_to(&self, network: IpNetwork) -> anyhow::Result<Option<Route>> {
        let routes = self.routes().await?;
        Ok(routes.into_iter().find(|route| route.destination() == Some(network)))
    }

    /// The devices.
    pub async fn links(&self) -> anyhow::Result<Vec<Link>> {
        let json = self.ip(&["-j", "-d", "link", "show"]).await?;
        serde_json::from_str(&json).context("reading the output of `ip -j link`")
    }

    /// The addresses of one device, link-local ones included.
    pub async fn addresses(&self, device: &str) -> anyhow::Result<Vec<IpNetwork>> {
        let json = self.ip(&["-j", "address", "show", "dev", device]).await?;
        let devices: Vec<Device> =
            serde_json::from_str(&json).context("reading the output of `ip -j address`")?;
        let found = devices.iter().flat_map(|device| &device.addr_info);
        found
            .map(|info| IpNetwork::new(info.local, info.prefixlen).context("reading an address of `ip`"))
            .collect()
    }

    /// The neighbour entries of all families.
    pub async fn neighbours(&self) -> anyhow::Result<Vec<Neighbour>> {
        let mut all = Vec::new();
        for family in ["-4", "-6"] {
            let json = self.ip(&[family, "-j", "neigh", "show"]).await?;
            let some: Vec<Neighbour> =
                serde_json::from_str(&json).context("reading the output of `ip -j neigh`")?;
            all.extend(some);
        }
        Ok(all)
    }

    /// A setting below `/proc/sys`, such as `net/ipv4/ip_forward`.
    pub async fn sysctl(&self, path: &str) -> anyhow::Result<String> {
        let text = self.exec(&["cat", &format!("/proc/sys/{path}")]).await?.success()?;
        Ok(text.trim().to_owned())
    }

    async fn ip(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("ip");
        command.args(["-n", &self.name]).args(arguments);
        command::run(&mut command).await?.success()
    }
}

/// PATH inside the lab: the product's programs first.
pub(crate) fn path() -> String {
    format!("{STATE}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
}
