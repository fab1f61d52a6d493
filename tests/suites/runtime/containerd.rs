//! Debian's containerd on one node, with files of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Node, command, runtime};
use tokio::process::Child;

use crate::cri::Cri;
use crate::image;

/// To come up in a machine whose processor is made of software.
const START: Duration = Duration::from_secs(90);

/// For its own client: images are large for such a processor.
const PATIENCE: Duration = Duration::from_secs(300);

/// Debian's plugins are not where other plugins are.
const LOOPBACK: &str = "/usr/lib/cni/loopback";

/// The namespace of containers that its own client runs.
pub(crate) const PLAIN: &str = "default";

/// A containerd, running or not. What it started lives on without it, until the lab ends.
pub(crate) struct Containerd {
    folder: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Containerd {
    /// Writes its configuration, starts it, and imports the image.
    pub(crate) async fn install(node: &Node, logs: &Path, image: &Path) -> anyhow::Result<Self> {
        let folder = node.machine().file("/containerd");
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let file = folder.join("config.toml");
        std::fs::write(&file, configuration(&folder))
            .with_context(|| format!("writing {}", file.display()))?;
        // Every runtime turns the loopback device on by this plugin.
        let loopback = node.machine().file(runtime::PLUGINS).join("loopback");
        std::fs::copy(LOOPBACK, &loopback)
            .with_context(|| format!("installing {LOOPBACK} (Debian's containernetworking-plugins)"))?;
        let log = logs.join(format!("{}-containerd.log", node.name()));
        let mut containerd = Self { folder, log, child: None };
        containerd.start(node).await?;
        for namespace in ["k8s.io", PLAIN] {
            containerd.import(node, namespace, image).await?;
        }
        Ok(containerd)
    }

    /// Imports an image.
    pub(crate) async fn import(&self, node: &Node, namespace: &str, image: &Path) -> anyhow::Result<()> {
        let archive = image.display().to_string();
        let words = ["-n", namespace, "images", "import", "--snapshotter", "native", archive.as_str()];
        self.ctr(node, &words).await.map(drop).with_context(|| format!("importing {archive}"))
    }

    /// Starts it, and waits until it would make sandboxes.
    pub(crate) async fn start(&mut self, node: &Node) -> anyhow::Result<()> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("opening {}", self.log.display()))?;
        let errors = log.try_clone().context("opening containerd's log twice")?;
        // Of the node's own mount namespace, like all that containerd mounts.
        let groups = "test -e /sys/fs/cgroup/cgroup.procs || mount -t cgroup2 cgroup2 /sys/fs/cgroup";
        let line =
            format!("{groups}; exec containerd --config {}", self.folder.join("config.toml").display());
        let mut command = node.netns().command("sh");
        command.args(["-c", &line]).stdin(Stdio::null()).stdout(log).stderr(errors).kill_on_drop(true);
        self.child = Some(command.spawn().context("starting containerd")?);
        self.ready(node).await
    }

    /// Waits until it would make sandboxes.
    pub(crate) async fn ready(&self, node: &Node) -> anyhow::Result<()> {
        wait::until(START, &format!("containerd of {} is ready", node.name()), || async {
            match self.cri().await?.not_ready().await? {
                None => Ok(()),
                Some(why) => Err(NotYet::because(why)),
            }
        })
        .await
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("containerd is not running")?;
        child.kill().await.context("killing containerd")
    }

    /// The kubelet's side of it.
    pub(crate) async fn cri(&self) -> anyhow::Result<Cri> {
        Cri::connect(&self.socket()).await
    }

    /// Runs containerd's own client to its end; what it prints.
    pub(crate) async fn ctr(&self, node: &Node, words: &[&str]) -> anyhow::Result<String> {
        let mut command = node.netns().command("ctr");
        command.arg("--address").arg(self.socket()).args(words);
        command::run_within(&mut command, &[], PATIENCE).await?.success()
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("containerd.sock")
    }
}

fn configuration(folder: &Path) -> String {
    let (folder, image) = (folder.display(), image::SANDBOX);
    format!(
        r#"version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
address = "{folder}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{image}"
stream_server_address = "127.0.0.1"
stream_server_port = "0"
disable_apparmor = true
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/opt/cni/bin"
conf_dir = "/etc/cni/net.d"
"#
    )
}
