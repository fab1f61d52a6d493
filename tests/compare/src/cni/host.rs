//! A node: a network namespace with an uplink, the agent and what it needs, and pods' namespaces.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sched::{CloneFlags, unshare};
use serde_json::json;

use super::plugin::Subject;
use crate::process::{Process, Usage};

/// Where the API server listens, in the node's namespace.
pub(crate) const API: &str = "127.0.0.1:6443";
/// How long a program may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// The node.
pub(crate) struct Host {
    api: Process,
    agent: Process,
    log: PathBuf,
    pods: Vec<File>,
}

impl Host {
    /// Makes everything, below a folder. Before any thread is started: a namespace is a thread's.
    pub(crate) fn make(folder: &Path, pods: usize) -> anyhow::Result<Self> {
        let mut namespaces = Vec::new();
        for _ in 0..pods {
            namespaces.push(namespace()?);
        }
        unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace (this takes root)")?;
        for line in [
            "link set lo up",
            "link add uplink type veth peer name other",
            "link set other up",
            "link set uplink up",
            "addr add 192.0.2.1/24 dev uplink",
        ] {
            ip(line)?;
        }
        let (api, agent, log) = programs(folder)?;
        Ok(Self { api, agent, log, pods: namespaces })
    }

    /// The path of a pod's namespace.
    pub(crate) fn pod(&self, number: usize) -> anyhow::Result<String> {
        let pod = self.pods.get(number).context("more pods are asked for than were made")?;
        Ok(format!("/proc/{}/fd/{}", std::process::id(), pod.as_raw_fd()))
    }

    /// What the agent has used.
    pub(crate) fn agent_usage(&self) -> anyhow::Result<Usage> {
        self.agent.usage()
    }

    /// What the agent has said from an offset on.
    pub(crate) fn said_since(&self, offset: usize) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.get(offset..).unwrap_or_default().to_owned()
    }

    /// Measures a subject, without the API server where that is the subject.
    pub(crate) fn with<T>(
        &self,
        subject: &Subject,
        measure: impl FnOnce(&Host) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        if !subject.without_api {
            return measure(self);
        }
        self.api.pause()?;
        let outcome = measure(self);
        self.api.go_on()?;
        outcome
    }
}

/// The API server and the agent, with a pool that the controller has judged.
fn programs(folder: &Path) -> anyhow::Result<(Process, Process, PathBuf)> {
    let cpus = format!("0-{}", std::thread::available_parallelism().context("counting CPUs")?.get() - 1);
    let beside = std::env::current_exe().context("asking for this program's path")?;
    let path = |name: &str| folder.join(name).display().to_string();
    let program = |name: &str| beside.with_file_name(name).display().to_string();
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "caracal-system"}},
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
         "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}},
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": super::inside::NODE}},
        {"apiVersion": "caracal.dev/v1", "kind": "IPPool", "metadata": {"name": "pool"},
         "spec": {"cidr": "10.244.0.0/16", "blockSize": 24}},
        // host-local lets nothing rest.
        {"apiVersion": "caracal.dev/v1", "kind": "IPAMConfig", "metadata": {"name": "default"}, "spec": {"ipCooldownSeconds": 0}},
    ]});
    std::fs::write(folder.join("objects.json"), objects.to_string()).context("writing objects.json")?;
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds").display().to_string();
    let start = |name: &'static str, words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Process::start(name, &words, &cpus, &folder.join(format!("{name}.log")))
    };
    let api = start(
        "apiserver",
        &[
            &program("caracal-apiserver"),
            "--listen",
            API,
            "--crds",
            &crds,
            "--load",
            &path("objects.json"),
            "--write-kubeconfig",
            &path("kubeconfig"),
        ],
    )?;
    until("the API server is ready", || folder.join("kubeconfig").exists())?;
    let conflist = folder.join("net.d").join("10-caracal.conflist");
    std::fs::create_dir_all(folder.join("net.d")).context("making a folder")?;
    let agent = start(
        "agent",
        &[
            "env",
            "RUST_LOG=warn,caracal_agent::cni::add=debug",
            &program("caracal-agent"),
            "--node-name",
            "n1",
            "--kubeconfig",
            &path("kubeconfig"),
            "--run-dir",
            &path("run"),
            "--state-dir",
            &path("state"),
            "--cni-conf-dir",
            &path("net.d"),
        ],
    )?;
    let controller = start(
        "controller",
        &[&program("caracal-controller"), "--kubeconfig", &path("kubeconfig"), "--identity", "c1"],
    )?;
    until("the agent serves", || conflist.exists())?;
    let block = || {
        let routes = Command::new("ip").args(["route", "show", "type", "blackhole"]).output();
        routes.is_ok_and(|routes| String::from_utf8_lossy(&routes.stdout).contains("10.244."))
    };
    until("the agent owns a block", block)?;
    drop(controller);
    Ok((api, agent, folder.join("agent.log")))
}

fn until(what: &str, holds: impl Fn() -> bool) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > end {
            bail!("not within {} s: {what}", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A network namespace that lives as long as its descriptor.
fn namespace() -> anyhow::Result<File> {
    let made = std::thread::spawn(|| -> anyhow::Result<File> {
        unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace (this takes root)")?;
        File::open("/proc/thread-self/ns/net").context("opening a network namespace")
    });
    made.join().unwrap_or_else(|_| bail!("making a network namespace has panicked"))
}

fn ip(line: &str) -> anyhow::Result<()> {
    let output = Command::new("ip").args(line.split(' ')).output().context("starting ip")?;
    ensure!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
