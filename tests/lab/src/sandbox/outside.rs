//! The outer process: makes the namespaces, starts itself inside, passes on signals, reports the verdict.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, Stdio};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;

use super::{MARK, Product, SandboxError, name, user};

/// Runs this very program again inside new namespaces; returns its exit code.
pub(super) fn run(name: &str, product: &Product) -> Result<ExitCode, SandboxError> {
    // Held to the end. The socket belongs to the network namespace of the host, so it comes before the new one.
    let _name = name::take(name)?;

    let wanted = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD]);
    wanted.thread_block().map_err(|errno| SandboxError::io("blocking signals", errno))?;
    let signals = SignalFd::new(&wanted).map_err(|errno| SandboxError::io("opening a signalfd", errno))?;

    let (life, _alive) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
        .map_err(|errno| SandboxError::io("opening a pipe", errno))?;
    let note = serde_json::to_string(product)
        .map_err(|error| SandboxError::io("writing down where the product is", error))?;

    if !nix::unistd::geteuid().is_root() {
        user::become_root()?;
    }
    for (kind, flag) in [
        ("mount", CloneFlags::CLONE_NEWNS),
        ("network", CloneFlags::CLONE_NEWNET),
        ("IPC", CloneFlags::CLONE_NEWIPC),
        ("host name", CloneFlags::CLONE_NEWUTS),
        ("pid", CloneFlags::CLONE_NEWPID),
    ] {
        unshare(flag).map_err(|errno| SandboxError::Namespaces { kind, errno })?;
    }
    // The first child after unshare is process 1 of the new pid namespace.
    let arguments: Vec<_> = std::env::args_os().collect();
    let (program, rest) =
        arguments.split_first().ok_or_else(|| SandboxError::io("reading argv", Errno::EINVAL))?;
    let child = Command::new("/proc/self/exe")
        .arg0(program)
        .args(rest)
        .env(MARK, note)
        .stdin(Stdio::from(life)) // end of file there means that this process is gone
        .spawn()
        .map_err(|source| SandboxError::io("starting process 1 of the sandbox", source))?;
    wait(child, &signals)
}

/// Waits for the end of process 1. The first signal asks it to tear down; a second one does not wait for that.
fn wait(mut child: std::process::Child, signals: &SignalFd) -> Result<ExitCode, SandboxError> {
    let pid = Pid::from_raw(child.id().cast_signed());
    let mut asked = 0;
    loop {
        if let Some(status) =
            child.try_wait().map_err(|source| SandboxError::io("waiting for the sandbox", source))?
        {
            if let Some(signal) = status.signal() {
                let signal = Signal::try_from(signal).map_or("a signal", Signal::as_str);
                eprintln!("error: the lab was ended by {signal}; the kernel has removed all of it");
            }
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
        }
        let signal = match signals.read_signal() {
            Ok(Some(signal)) => signal.ssi_signo,
            Ok(None) | Err(Errno::EINTR) => continue,
            Err(errno) => return Err(SandboxError::io("reading a signal", errno)),
        };
        if signal.cast_signed() == Signal::SIGCHLD as i32 {
            continue;
        }
        asked += 1;
        let pass_on = if asked == 1 { Signal::SIGTERM } else { Signal::SIGKILL };
        match kill(pid, pass_on) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(SandboxError::io("signalling the sandbox", errno)),
        }
    }
}
