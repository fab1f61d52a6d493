//! No process outlives the runner, whatever the runner dies of.
//!
//! The kernel kills a process when its parent ends if the process asked for that (`PR_SET_PDEATHSIG`), and the wish
//! survives `execve`. It has to be asked for by the child itself, between fork and exec; to need no unsafe code there,
//! the child is this very program, which asks and then becomes what it was started for. The kernel means the *thread*
//! that started the child, so tethered processes are started by the main thread, which lives to the end.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::Signal;

use crate::Failure;

/// The hidden verb of `caracal-vm` behind this.
pub const VERB: &str = "tethered";

/// A command that will die with this process.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("caracal-vm").arg(VERB).arg(std::process::id().to_string()).arg(program);
    command
}

/// In the child: asks, looks whether the parent is still there, and becomes the program. Returns only on failure.
pub fn become_tethered(parent: u32, program: &OsStr, arguments: &[OsString]) -> Failure {
    if let Err(errno) = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL) {
        return Failure::os("asking the kernel to end this process with the runner")(errno);
    }
    // It may have died before the kernel was asked; then somebody else is the parent.
    if nix::unistd::getppid().as_raw().cast_unsigned() != parent {
        return Failure::Gone;
    }
    let error = Command::new(program).args(arguments).exec();
    Failure::io(format!("starting {}", program.display()))(error)
}

/// Lets the next child have this descriptor; gives its number.
pub(crate) fn pass_on(descriptor: &impl AsFd) -> Result<i32, Failure> {
    let descriptor = descriptor.as_fd();
    fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty())).map_err(Failure::os("passing a descriptor on"))?;
    Ok(descriptor.as_raw_fd())
}
