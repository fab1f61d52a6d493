//! The place of a case: one Ethernet segment with hosts on it. The test itself has an address there too, and as many
//! more as it wants, for speakers of its own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use caracal_lab::command::ip_batch;
use caracal_lab::netns::Netns;
use caracal_lab::{Process, Sandbox};

/// The bridge, in the test's own namespace.
pub(crate) struct Segment {
    state: PathBuf,
    logs: PathBuf,
    programs: PathBuf,
}

impl Segment {
    pub(crate) async fn make(sandbox: &Sandbox) -> anyhow::Result<Self> {
        let lines = "link set lo up\n\
            link add segment type bridge mcast_snooping 0\n\
            link set segment addrgenmode none up\n\
            address add 10.99.0.254/16 dev segment\n\
            address add fd00:99::254/64 dev segment nodad\n";
        ip_batch(None, lines).await?;
        Ok(Self {
            state: sandbox.state().to_owned(),
            logs: sandbox.logs(),
            programs: sandbox.state().join("bin"),
        })
    }

    /// More addresses for the test's own speakers: 10.99.`net`.1 and on.
    pub(crate) async fn addresses(&self, net: u8, count: u8) -> anyhow::Result<Vec<String>> {
        let all: Vec<String> = (1..=count).map(|host| format!("10.99.{net}.{host}")).collect();
        let mut lines = String::new();
        for address in &all {
            writeln!(lines, "address add {address}/16 dev segment")?;
        }
        ip_batch(None, &lines).await?;
        Ok(all)
    }

    /// Takes a host off the segment, so that nothing passes and no device goes down, or puts it back.
    pub(crate) async fn attach(&self, host: &Host, attached: bool) -> anyhow::Result<()> {
        let how = if attached { "master segment" } else { "nomaster" };
        ip_batch(None, &format!("link set {} {how}\n", host.netns.name())).await
    }

    /// A cable between two hosts, beside the segment: the name of the device at each end and its link-local address. It is
    /// gone when either device is.
    pub(crate) async fn cable(&self, ends: [(&Host, &str, &str); 2]) -> anyhow::Result<()> {
        let [(here, near, _), (there, far, _)] = ends;
        let line = format!("link add {near} type veth peer name {far} netns {}\n", there.netns.name());
        ip_batch(Some(here.netns.name()), &line).await?;
        for (host, device, address) in ends {
            let lines = format!(
                "link set {device} addrgenmode none\nlink set {device} up\naddress add {address}/64 dev {device} nodad\n"
            );
            ip_batch(Some(host.netns.name()), &lines).await?;
        }
        Ok(())
    }

    /// A host: 10.99.0.`number` and fd00:99::`number`.
    pub(crate) async fn host(&self, number: u8) -> anyhow::Result<Host> {
        let name = format!("h{number}");
        let netns = Netns::make(&name).await?;
        let cable = format!(
            "link add {name} type veth peer name e0 netns {name}\nlink set {name} master segment up\n"
        );
        ip_batch(None, &cable).await?;
        let inside = format!(
            "link set lo up\nlink set e0 addrgenmode none\nlink set e0 up\naddress add fe80::{number}/64 dev e0 nodad\n\
             address add 10.99.0.{number}/16 dev e0\naddress add fd00:99::{number}/64 dev e0 nodad\n"
        );
        ip_batch(Some(&name), &inside).await?;
        let folder = self.state.join(&name);
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Host { number, netns, folder, logs: self.logs.clone(), programs: self.programs.clone() })
    }
}

/// A host on the segment.
pub(crate) struct Host {
    number: u8,
    netns: Netns,
    folder: PathBuf,
    logs: PathBuf,
    programs: PathBuf,
}

impl Host {
    pub(crate) fn v4(&self) -> String {
        v4(self.number)
    }

    pub(crate) fn v6(&self) -> String {
        v6(self.number)
    }

    pub(crate) fn netns(&self) -> &Netns {
        &self.netns
    }

    /// One of our own programs.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// A file of this host.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file of this host, for its owner alone: some daemons insist.
    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt;
        let path = self.file(name);
        std::fs::write(&path, text)
            .and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)))
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// Starts a program here; its log is `<host>-<name>.log`.
    pub(crate) async fn start(
        &self,
        name: &str,
        program: &Path,
        arguments: &[&str],
    ) -> anyhow::Result<Process> {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let name = format!("{}-{name}", self.netns.name());
        let process = Process::new(&name, &self.netns, program.to_owned(), arguments, &self.logs);
        process.start().await?;
        Ok(process)
    }

    /// Runs a command here and gives its output.
    pub(crate) async fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        self.netns.exec(words).await?.success()
    }
}

/// The IPv4 address of a host.
pub(crate) fn v4(number: u8) -> String {
    format!("10.99.0.{number}")
}

/// The IPv6 address of a host.
pub(crate) fn v6(number: u8) -> String {
    format!("fd00:99::{number}")
}
