//! Debian's podman on one node, with files of its own. Its networks are CNI's, as in the releases before it left CNI.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use caracal_lab::{Node, command, runtime};

use crate::image;

/// The network that the agent configures.
const NETWORK: &str = "caracal";

/// Images are large for a processor made of software.
const PATIENCE: Duration = Duration::from_secs(300);

/// A podman: it has no daemon.
pub(crate) struct Podman {
    folder: PathBuf,
}

impl Podman {
    /// Writes its configuration, and loads the image.
    pub(crate) async fn install(node: &Node, archive: &Path) -> anyhow::Result<Self> {
        let folder = node.machine().file("/podman");
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let podman = Self { folder };
        std::fs::write(podman.configuration(), configuration(&podman.folder))
            .with_context(|| format!("writing {}", podman.configuration().display()))?;
        podman.run(node, &["load", "--input", &archive.display().to_string()]).await?;
        Ok(podman)
    }

    /// Runs a script in a container of caracal's network, and removes the container; what the script prints.
    pub(crate) async fn script(&self, node: &Node, name: &str, script: &str) -> anyhow::Result<String> {
        let words = [
            "run",
            "--rm",
            "--name",
            name,
            "--network",
            NETWORK,
            "--entrypoint",
            "/bin/sh",
            image::SANDBOX,
            "-c",
            script,
        ];
        self.run(node, &words).await
    }

    async fn run(&self, node: &Node, words: &[&str]) -> anyhow::Result<String> {
        let place = |name: &str| self.folder.join(name).display().to_string();
        let mut command = node.netns().command("podman");
        command
            .env("CONTAINERS_CONF", self.configuration())
            .env("TMPDIR", &self.folder)
            .args(["--root", &place("root"), "--runroot", &place("run"), "--storage-driver", "vfs"])
            .args(["--cgroup-manager", "cgroupfs", "--events-backend", "none"])
            .args(words);
        command::run_within(&mut command, &[], PATIENCE).await?.success()
    }

    fn configuration(&self) -> PathBuf {
        self.folder.join("containers.conf")
    }
}

fn configuration(folder: &Path) -> String {
    let (folder, plugins) = (folder.display(), runtime::PLUGINS);
    format!(
        r#"[containers]
default_sysctls = []
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
seccomp_profile = "unconfined"
apparmor_profile = "unconfined"
[engine]
runtime = "runc"
tmp_dir = "{folder}/tmp"
static_dir = "{folder}/static"
volume_path = "{folder}/volumes"
[network]
network_backend = "cni"
cni_plugin_dirs = ["{plugins}"]
network_config_dir = "/etc/cni/net.d"
"#
    )
}
