//! The place a lab lives in: mount, pid, network, IPC and host-name namespaces of its own; and a user namespace, when
//! it is not started by root.
//!
//! The program that wants a lab calls [`enter`] first thing in `main`. Outside, that starts the same program with the
//! same arguments once more as process 1 of new namespaces, waits, and hands back its exit code. Inside, it gives a
//! [`Sandbox`], whose fabric is the network namespace of process 1.
//!
//! Nothing can be left behind. Process 1 asks the kernel to be killed when the outer process dies, whatever it dies
//! of; with process 1 every process of the pid namespace dies, and with the last of them all mounts and network
//! namespaces. Files live on a tmpfs of the mount namespace. A lab's name is an abstract socket of the outer process:
//! it too vanishes with it.

mod inside;
pub(crate) mod mounts;
mod name;
mod outside;
mod user;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub use inside::Sandbox;
pub use name::{Found, find};

/// Tells the inner process that it is one, and where things are.
pub const MARK: &str = "CARACAL_LAB_SANDBOX";

/// The private folder of everything a lab keeps, on a tmpfs.
pub(crate) const STATE: &str = "/run/lab";

/// Which of the two processes this is.
pub enum Side {
    /// The lab has run and ended; the value is its verdict.
    Outside(ExitCode),
    /// Process 1 of the sandbox: go on and build the lab.
    Inside(Sandbox),
}

/// The product's programs and files, needed inside.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Product {
    /// Folder of the built programs, such as `target/debug`.
    pub programs: PathBuf,
    /// Folder of the manifests.
    pub deploy: PathBuf,
}

impl Product {
    /// Beside the running program (`target/debug`, or its `deps` for a test) and in the workspace it was built from.
    pub fn find() -> Result<Self, SandboxError> {
        let own = std::env::current_exe()
            .map_err(|source| SandboxError::io("asking for this program's own path", source))?;
        let mut programs = own.parent().unwrap_or(Path::new("/")).to_path_buf();
        if programs.ends_with("deps") {
            programs.pop();
        }
        for program in crate::process::PROGRAMS {
            if !programs.join(program).exists() {
                return Err(SandboxError::Missing { what: program, folder: programs });
            }
        }
        // A lab inside a lab takes what the outer one has mounted: the way to the original may be closed to its user.
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("/"));
        let mounted = Path::new(STATE).join("deploy");
        let nested = programs == Path::new(STATE).join("bin") && mounted.is_dir();
        let deploy = if nested { mounted } else { workspace.join("deploy") };
        if !deploy.is_dir() {
            return Err(SandboxError::Missing { what: "deploy", folder: workspace.to_path_buf() });
        }
        Ok(Self { programs, deploy })
    }
}

/// Why no sandbox could be made.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Not root, and no user namespace is to be had.
    #[error(
        "a lab that is not started as root (now: uid {user}) needs a user namespace, and the kernel refuses {doing} \
         ({errno}): {remedy}, or start the lab as root, or in a machine of its own with `--vm`"
    )]
    User {
        /// Who.
        user: u32,
        /// Which step.
        doing: &'static str,
        /// The kernel's answer.
        errno: nix::errno::Errno,
        /// What can be done.
        remedy: &'static str,
    },
    /// The kernel refused the namespaces.
    #[error(
        "the kernel refuses new {kind} namespaces ({errno}): in a container, start it with --privileged; elsewhere \
         enable the kernel's namespaces"
    )]
    Namespaces {
        /// Which one.
        kind: &'static str,
        /// The kernel's answer.
        errno: nix::errno::Errno,
    },
    /// A lab of that name is running.
    #[error(
        "a lab named `{name}` is running already (process {pid}): stop it, or choose another with --name"
    )]
    Busy {
        /// The name.
        name: String,
        /// The process that has it.
        pid: i32,
    },
    /// A program or folder of ours is not there.
    #[error("{what} is not in {folder}: run `cargo build --workspace`")]
    Missing {
        /// What is looked for.
        what: &'static str,
        /// Where.
        folder: PathBuf,
    },
    /// No running lab of that name.
    #[error("no lab named `{0}` is running: start one with `cargo lab`")]
    NoLab(String),
    /// A mount was refused.
    #[error("mounting {target} in the sandbox: {errno}")]
    Mount {
        /// Where.
        target: String,
        /// The kernel's answer.
        errno: nix::errno::Errno,
    },
    /// Any other call.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// The answer.
        source: std::io::Error,
    },
}

impl SandboxError {
    pub(crate) fn io(doing: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::Io { doing: doing.into(), source: source.into() }
    }
}

/// Makes the sandbox, or is in it. Call it before any thread is started; `name` must be free on this machine.
pub fn enter(
    name: &str,
    product: impl FnOnce() -> Result<Product, SandboxError>,
) -> Result<Side, SandboxError> {
    match std::env::var(MARK) {
        Ok(note) => Ok(Side::Inside(inside::settle(name, &note)?)),
        Err(_) => Ok(Side::Outside(outside::run(name, &product()?)?)),
    }
}
