//! Why a machine could not be had, or was lost.

use std::io;
use std::path::PathBuf;

/// Each says what was being done, what was found, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Programs are missing.
    #[error("the virtual machine needs {programs}: `apt-get install {packages}`")]
    Missing {
        /// The programs.
        programs: String,
        /// The Debian packages that bring them.
        packages: String,
    },
    /// A processor for which no kernel is known.
    #[error("the virtual machine runs on x86-64 only, and this machine is {0}")]
    Processor(&'static str),
    /// A program that prepares the kernel failed.
    #[error("{doing}: `{command}` failed ({status}): {said}")]
    Command {
        /// What it was for.
        doing: &'static str,
        /// The command line.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The last line that it printed.
        said: String,
    },
    /// The package list knows no kernel.
    #[error(
        "looking for Debian's cloud kernel: apt-cache names no package that `linux-image-cloud-amd64` depends on; \
         are Debian's packages among the sources of apt?"
    )]
    NoKernelPackage,
    /// The unpacked package is not what was expected.
    #[error("the kernel package {package} holds no {what}")]
    OddKernel {
        /// Its name.
        package: String,
        /// What is missing in it.
        what: &'static str,
    },
    /// The machine ended too early.
    #[error("the virtual machine ended {when} ({status}); its last words:\n{words}")]
    Ended {
        /// When.
        when: &'static str,
        /// How qemu ended.
        status: String,
        /// From its console and from qemu.
        words: String,
    },
    /// It did not come up.
    #[error("the virtual machine did not come up within {seconds} s; its last words:\n{words}")]
    NotUp {
        /// How long it had.
        seconds: u64,
        /// From its console and from qemu.
        words: String,
    },
    /// Another machine has the name.
    #[error("a virtual machine named `{0}` is running already: stop it, or choose another name")]
    Busy(String),
    /// Nobody has the name.
    #[error("no virtual machine named `{0}` is running")]
    NoMachine(String),
    /// The command did not start inside.
    #[error("inside the virtual machine: {0}")]
    Refused(String),
    /// The line to the guest broke.
    #[error("the virtual machine went away before the command ended")]
    Gone,
    /// The user insisted.
    #[error("stopped: asked three times")]
    Insisted,
    /// Any other call.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// The answer.
        source: io::Error,
    },
    /// A path with characters that cannot be passed on.
    #[error("the path {0} is not UTF-8, which the virtual machine's command lines need")]
    Path(PathBuf),
}

impl Failure {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    pub(crate) fn os(doing: impl Into<String>) -> impl FnOnce(nix::errno::Errno) -> Self {
        let doing = doing.into();
        move |errno| Self::Io { doing, source: errno.into() }
    }
}
