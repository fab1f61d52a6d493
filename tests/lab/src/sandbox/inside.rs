//! Process 1 of the sandbox.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};

use super::{Product, STATE, SandboxError, mounts};

/// Being in the namespaces of a lab, with its private folders made.
#[derive(Debug)]
pub struct Sandbox {
    name: String,
    programs: PathBuf,
    deploy: PathBuf,
}

impl Sandbox {
    /// The lab's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder of the product's programs, as seen inside.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// The folder of the manifests, as seen inside.
    pub fn deploy(&self) -> &Path {
        &self.deploy
    }

    /// The private folder of the lab.
    pub fn state(&self) -> &Path {
        Path::new(STATE)
    }

    /// The folder of every process's log.
    pub fn logs(&self) -> PathBuf {
        self.state().join("logs")
    }
}

/// Ties this process's life to the outer one's, and makes the private mounts.
pub(super) fn settle(name: &str, note: &str) -> Result<Sandbox, SandboxError> {
    let product: Product = serde_json::from_str(note)
        .map_err(|error| SandboxError::io("reading where the product is", error))?;
    die_with_the_outer_process()?;
    // The outer process blocks signals to read them; that was inherited.
    SigSet::empty().thread_set_mask().map_err(|errno| SandboxError::io("unblocking signals", errno))?;
    // A session of its own: Ctrl-C reaches the outer process alone, which then asks for the teardown.
    nix::unistd::setsid().map_err(|errno| SandboxError::io("starting a session", errno))?;
    nix::unistd::sethostname("lab").map_err(|errno| SandboxError::io("naming the sandbox's host", errno))?;
    let (programs, deploy) = mounts::make(&product)?;
    Ok(Sandbox { name: name.to_owned(), programs, deploy })
}

fn die_with_the_outer_process() -> Result<(), SandboxError> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|errno| SandboxError::io("asking to die with the outer process", errno))?;
    // It may have died before that call: then the pipe on stdin, which it alone holds open, is closed already.
    let stdin = std::io::stdin();
    let mut look = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    let ready = poll(&mut look, PollTimeout::ZERO)
        .map_err(|errno| SandboxError::io("asking whether the outer process lives", errno))?;
    if ready > 0 {
        std::process::exit(1);
    }
    Ok(())
}
