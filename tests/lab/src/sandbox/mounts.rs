//! The sandbox's view of the file system: the host's, except that `/run` is empty and private, and that the mount
//! points which nodes need exist without a trace on the host's disk.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::{Product, STATE, SandboxError};

/// Folders that each node sees its own version of; see `machine`.
pub(crate) const PRIVATE: &[&str] =
    &["/run/caracal", "/var/lib/caracal", "/etc/cni/net.d", "/opt/cni/bin", "/run/bird", "/run/frr"];

/// What tells one machine from another.
pub(crate) const MACHINE_ID: &str = "/etc/machine-id";

/// Makes all mounts; answers where the programs and the manifests are now.
pub(super) fn make(product: &Product) -> Result<(PathBuf, PathBuf), SandboxError> {
    // Opened first: they may lie below a folder that is covered next.
    let programs = open_folder(&product.programs)?;
    let deploy = open_folder(&product.deploy)?;
    let state = Path::new(STATE);
    // Inside the sandbox of another lab, as the suites do, the links are made already.
    let nested = state.join("host");
    let nested = if nested.is_dir() { Some(open_folder(&nested)?) } else { None };
    change(Path::new("/"), MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
    fresh("proc", Path::new("/proc"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC)?;
    fresh("tmpfs", Path::new("/run"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV)?;
    for folder in ["logs", "nodes", "host"] {
        folder_at(&state.join(folder))?;
    }
    folder_at(Path::new("/run/netns"))?;
    match nested {
        Some(host) => bind_opened(&host, &state.join("host"))?,
        None => {
            for folder in ["/etc", "/opt", "/var/lib"] {
                overlay_by_links(Path::new(folder), &state.join("host"))?;
            }
        }
    }
    for folder in PRIVATE {
        folder_at(Path::new(folder))?;
    }
    // A file of the sandbox's own, so that each node can have its own machine id mounted over it. In a lab inside a lab it
    // is there, and may be another user's.
    if !Path::new(MACHINE_ID).exists() {
        fs::write(MACHINE_ID, "")
            .map_err(|source| SandboxError::io(format!("making {MACHINE_ID}"), source))?;
    }
    let inside = (state.join("bin"), state.join("deploy"));
    bind_opened(&programs, &inside.0)?;
    bind_opened(&deploy, &inside.1)?;
    // Private from the host, but shared between the sandbox and its nodes, so that a pod's namespace mounted later is
    // seen by agents that run already. Last, or what covers a folder would spread to what was bound from it.
    change(Path::new("/"), MsFlags::MS_REC | MsFlags::MS_SHARED)?;
    Ok(inside)
}

/// Covers a folder with a tmpfs in which every entry is a link to the original: entries can be added without the host
/// seeing them, and no overlay file system is asked of the kernel.
fn overlay_by_links(folder: &Path, host: &Path) -> Result<(), SandboxError> {
    if !folder.exists() {
        return folder_at(folder);
    }
    let original = host.join(folder.strip_prefix("/").unwrap_or(folder));
    folder_at(&original)?;
    bind(folder, &original)?;
    fresh("tmpfs", folder, MsFlags::MS_NOSUID | MsFlags::MS_NODEV)?;
    let doing = |path: &Path| format!("linking {} into the sandbox", path.display());
    let entries = fs::read_dir(&original).map_err(|source| SandboxError::io(doing(folder), source))?;
    for entry in entries {
        let entry = entry.map_err(|source| SandboxError::io(doing(folder), source))?;
        let link = folder.join(entry.file_name());
        if PRIVATE.iter().chain([&MACHINE_ID]).any(|private| Path::new(private).starts_with(&link)) {
            continue; // the sandbox's own, empty
        }
        // A link stays the link it is: relative ones mean something only where they were.
        let target = fs::read_link(entry.path()).unwrap_or_else(|_| entry.path());
        std::os::unix::fs::symlink(target, &link).map_err(|source| SandboxError::io(doing(&link), source))?;
    }
    Ok(())
}

fn open_folder(path: &Path) -> Result<OwnedFd, SandboxError> {
    let file = fs::File::open(path)
        .map_err(|source| SandboxError::io(format!("opening {}", path.display()), source))?;
    Ok(file.into())
}

fn bind_opened(folder: &OwnedFd, target: &Path) -> Result<(), SandboxError> {
    folder_at(target)?;
    bind(Path::new(&format!("/proc/self/fd/{}", folder.as_raw_fd())), target)
}

pub(crate) fn folder_at(path: &Path) -> Result<(), SandboxError> {
    fs::create_dir_all(path).map_err(|source| SandboxError::io(format!("making {}", path.display()), source))
}

/// Shows `source` at `target` too.
pub(crate) fn bind(source: &Path, target: &Path) -> Result<(), SandboxError> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .map_err(|errno| refused(target, errno))
}

/// Changes how mounts below `target` spread.
pub(crate) fn change(target: &Path, flags: MsFlags) -> Result<(), SandboxError> {
    mount(None::<&str>, target, None::<&str>, flags, None::<&str>).map_err(|errno| refused(target, errno))
}

pub(crate) fn fresh(kind: &str, target: &Path, flags: MsFlags) -> Result<(), SandboxError> {
    let options = (kind == "tmpfs").then_some("mode=0755");
    mount(Some(kind), target, Some(kind), flags, options).map_err(|errno| refused(target, errno))
}

fn refused(target: &Path, errno: nix::errno::Errno) -> SandboxError {
    SandboxError::Mount { target: target.display().to_string(), errno }
}
