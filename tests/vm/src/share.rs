//! Folders of this machine, served to the guest by `virtiofsd`: one process a folder, tethered.
//!
//! The socket between it and qemu has no name: it is bound to an address that the kernel chooses, and both ends are
//! handed over as descriptors.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use crate::{Failure, tether};

/// Qemu's own server (Debian 12), and the one of its own package (later).
const SERVERS: &[(&str, Dialect)] =
    &[("/usr/lib/qemu/virtiofsd", Dialect::Qemu), ("/usr/libexec/virtiofsd", Dialect::Own)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Qemu,
    Own,
}

/// Whether the guest may trust what it has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// The folder does not change while the machine runs, or it does not matter.
    Always,
    /// It is written from both sides.
    Auto,
}

/// One served folder.
#[derive(Debug)]
pub struct Share {
    /// Qemu's end.
    pub(crate) stream: UnixStream,
    server: Child,
}

impl Share {
    /// Serves a folder; call it from the main thread (see [`tether`]).
    pub fn start(folder: &Path, caching: Caching, log: Stdio) -> Result<Self, Failure> {
        let (program, dialect) =
            SERVERS.iter().find(|(program, _)| Path::new(program).exists()).ok_or_else(|| {
                Failure::Missing {
                    programs: SERVERS.iter().map(|(program, _)| *program).collect::<Vec<_>>().join(" or "),
                    packages: "qemu-system-common` (Debian 12) or `apt-get install virtiofsd".into(),
                }
            })?;
        let doing = || format!("serving {} to the virtual machine", folder.display());
        let listener = anonymous().map_err(Failure::io(doing()))?;
        let address = listener.local_addr().map_err(Failure::io(doing()))?;
        let descriptor = tether::pass_on(&listener)?;
        let folder: PathBuf = folder.into();
        let folder = folder.to_str().ok_or_else(|| Failure::Path(folder.clone()))?;
        let mut command = tether::command(program);
        match dialect {
            Dialect::Qemu => {
                let cache = if caching == Caching::Always { "always" } else { "auto" };
                command.arg(format!("--fd={descriptor}"));
                command.args(["-o", &format!("source={folder},sandbox=chroot,log_level=err,cache={cache}")]);
            }
            Dialect::Own => {
                let cache = if caching == Caching::Always { "always" } else { "auto" };
                command.args(["--fd", &descriptor.to_string(), "--shared-dir", folder]);
                command.args(["--sandbox", "chroot", "--log-level", "error", "--cache", cache]);
            }
        }
        let server = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(Failure::io(doing()))?;
        // The listener queues the call until the server takes it.
        let stream = UnixStream::connect_addr(&address).map_err(Failure::io(doing()))?;
        Ok(Self { stream, server })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // Gone already is as good as ended; it also ends by itself when qemu does.
        self.server.kill().and_then(|()| self.server.wait()).ok();
    }
}

/// A listener at an abstract address that nobody else has.
fn anonymous() -> std::io::Result<UnixListener> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("caracal-vm-share/{}-{number}", std::process::id());
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)
}
