//! Images, made here of what lies on this machine, so that nothing has to be fetched: that of all sandboxes (busybox, which
//! waits), and that of caracal itself.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::json;
use tokio::process::Command;

/// How containerd knows the image of sandboxes.
pub(crate) const SANDBOX: &str = "caracal.test/sandbox:1";
/// How it knows caracal's.
pub(crate) const CARACAL: &str = concat!("caracal.test/caracal:", env!("CARGO_PKG_VERSION"));
/// Linked against nothing.
const BUSYBOX: &str = "/bin/busybox";
/// What the agent's pod runs of what `deploy/Dockerfile` puts into the image.
const PROGRAMS: [&str; 3] = ["caracal-agent", "caracal-cni", "caracalctl"];

/// Writes the archive of the sandboxes' image into a folder; answers its path.
pub(crate) async fn sandbox(folder: &Path) -> anyhow::Result<PathBuf> {
    let image = folder.join("image");
    let root = image.join("root/bin");
    std::fs::create_dir_all(&root).with_context(|| format!("making {}", root.display()))?;
    std::fs::copy(BUSYBOX, root.join("busybox"))
        .with_context(|| format!("copying {BUSYBOX} (Debian's busybox-static)"))?;
    for tool in ["sh", "sleep", "ip", "ping"] {
        symlink("busybox", root.join(tool)).with_context(|| format!("linking {tool}"))?;
    }
    archive(&image, SANDBOX, &["/bin/sleep", "2147483647"], "/bin").await
}

/// The same for caracal's: the built programs, and the libraries that they are linked against.
pub(crate) async fn caracal(folder: &Path, programs: &Path) -> anyhow::Result<PathBuf> {
    let image = folder.join("caracal-image");
    let copy = |from: &Path, to: &Path| {
        let place = image.join("root").join(to.strip_prefix("/").unwrap_or(to));
        let parent = place.parent().unwrap_or(&image);
        std::fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
        std::fs::copy(from, &place).map(drop).with_context(|| format!("copying {}", from.display()))
    };
    for program in PROGRAMS {
        let built = programs.join(program);
        let built = built.display().to_string();
        let place = image.join("root/usr/local/bin");
        std::fs::create_dir_all(&place).with_context(|| format!("making {}", place.display()))?;
        // Most of what is built for tests is for debuggers.
        let place = place.join(program).display().to_string();
        run(folder, "strip", &["-o", &place, &built]).await?;
        let linked = run(folder, "ldd", &[&built]).await?;
        for library in linked.split_whitespace().filter(|word| word.starts_with('/')) {
            copy(Path::new(library), Path::new(library))?;
        }
    }
    archive(&image, CARACAL, &["caracal-agent"], "/usr/local/bin").await
}

/// Makes an archive of what lies in `root` of a folder.
async fn archive(image: &Path, name: &str, entrypoint: &[&str], path: &str) -> anyhow::Result<PathBuf> {
    run(image, "tar", &["-C", "root", "-cf", "layer.tar", "."]).await?;
    let sum = run(image, "sha256sum", &["layer.tar"]).await?;
    let digest = sum.split_whitespace().next().context("sha256sum said nothing")?;
    let configuration = json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Entrypoint": entrypoint, "Env": [format!("PATH={path}")]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]);
    for (name, value) in [("config.json", configuration), ("manifest.json", manifest)] {
        std::fs::write(image.join(name), value.to_string()).with_context(|| format!("writing {name}"))?;
    }
    run(image, "tar", &["-cf", "image.tar", "manifest.json", "config.json", "layer.tar"]).await?;
    Ok(image.join("image.tar"))
}

async fn run(folder: &Path, program: &str, words: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(words).current_dir(folder).output().await;
    let output = output.with_context(|| format!("starting {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}: {said}", words.join(" "), output.status);
    String::from_utf8(output.stdout).with_context(|| format!("reading what {program} prints"))
}
