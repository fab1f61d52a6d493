//! The image of all sandboxes: busybox, which waits. Made here, so that nothing has to be fetched.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::json;
use tokio::process::Command;

/// How containerd knows it.
pub(crate) const NAME: &str = "caracal.test/sandbox:1";
/// Linked against nothing.
const BUSYBOX: &str = "/bin/busybox";

/// Writes the image's archive into a folder; answers its path.
pub(crate) async fn make(folder: &Path) -> anyhow::Result<PathBuf> {
    let image = folder.join("image");
    let root = image.join("root/bin");
    std::fs::create_dir_all(&root).with_context(|| format!("making {}", root.display()))?;
    std::fs::copy(BUSYBOX, root.join("busybox"))
        .with_context(|| format!("copying {BUSYBOX} (Debian's busybox-static)"))?;
    for tool in ["sh", "sleep", "ip", "ping"] {
        symlink("busybox", root.join(tool)).with_context(|| format!("linking {tool}"))?;
    }
    run(&image, "tar", &["-C", "root", "-cf", "layer.tar", "bin"]).await?;
    let sum = run(&image, "sha256sum", &["layer.tar"]).await?;
    let digest = sum.split_whitespace().next().context("sha256sum said nothing")?;
    let configuration = json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Entrypoint": ["/bin/sleep", "2147483647"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar"]}]);
    for (name, value) in [("config.json", configuration), ("manifest.json", manifest)] {
        std::fs::write(image.join(name), value.to_string()).with_context(|| format!("writing {name}"))?;
    }
    run(&image, "tar", &["-cf", "image.tar", "manifest.json", "config.json", "layer.tar"]).await?;
    Ok(image.join("image.tar"))
}

async fn run(folder: &Path, program: &str, words: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(words).current_dir(folder).output().await;
    let output = output.with_context(|| format!("starting {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}: {said}", words.join(" "), output.status);
    String::from_utf8(output.stdout).with_context(|| format!("reading what {program} prints"))
}
