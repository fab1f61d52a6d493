//! Network namespaces: opening them, and doing something inside one.
//!
//! A namespace belongs to a thread. So what has to be done inside one is done on a thread of its own, which enters the
//! namespace, does it and ends: a thread of an async runtime must never change its namespace, since other tasks share it.
//! Sockets stay with the namespace they were opened in and can be used from any thread afterwards.

mod visitors;

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::fstat;
use nix::sys::statfs::{FsType, fstatfs};

pub use visitors::{Visitor, Visitors};

/// The file system that namespaces live in (`NSFS_MAGIC` of linux/magic.h).
const NSFS: FsType = FsType(0x6e73_6673);

/// A network namespace, kept alive by an open descriptor. Clones share it.
#[derive(Clone)]
pub struct Namespace {
    fd: Arc<OwnedFd>,
    name: Arc<str>,
}

/// Why something could not be done with a namespace.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be opened.
    #[error("opening the network namespace {name}: {source}")]
    Open {
        /// The path, or what stood for it.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// What was opened is something else.
    #[error("{name} is no namespace; a file such as /proc/<pid>/ns/net or /run/netns/<name> is wanted")]
    NotANamespace {
        /// The path, or what stood for it.
        name: String,
    },
    /// A thread could not enter it.
    #[error("entering the network namespace {name}: {source} (it takes CAP_SYS_ADMIN)")]
    Enter {
        /// The path, or what stood for it.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A new one could not be made.
    #[error("making a network namespace: {0} (it takes CAP_SYS_ADMIN)")]
    Create(io::Error),
    /// The thread that was to enter it could not be started.
    #[error("starting a thread for the network namespace {name}: {source}")]
    Thread {
        /// The path, or what stood for it.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// What was run inside panicked.
    #[error("what was run in the network namespace {name} panicked")]
    Panicked {
        /// The path, or what stood for it.
        name: String,
    },
    /// No thread is left to go there.
    #[error("no thread goes into network namespaces any more; the log says why: restart this program")]
    Deserted,
}

impl Namespace {
    /// Opens the namespace at this path, such as `/run/netns/<name>` or `/proc/<pid>/ns/net`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let name = path.as_ref().display().to_string();
        match File::open(path.as_ref()) {
            Ok(file) => Self::named(file.into(), name),
            Err(source) => Err(Error::Open { name, source }),
        }
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, Error> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// Takes a descriptor that another process has opened and passed.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, Error> {
        Self::named(fd, "behind a passed descriptor".to_owned())
    }

    /// Makes a new namespace that lives as long as this value and its clones. Its loopback device is down.
    pub fn create() -> Result<Self, Error> {
        let made = thread::Builder::new().name("new-netns".to_owned()).spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| Error::Create(errno.into()))?;
            Self::current()
        });
        let thread = made.map_err(|source| Error::Thread { name: "to be made".to_owned(), source })?;
        let mut namespace =
            thread.join().map_err(|_| Error::Panicked { name: "to be made".to_owned() })??;
        namespace.name = "made by this process".into();
        Ok(namespace)
    }

    fn named(fd: OwnedFd, name: String) -> Result<Self, Error> {
        match fstatfs(&fd) {
            Ok(stat) if stat.filesystem_type() == NSFS => Ok(Self { fd: Arc::new(fd), name: name.into() }),
            Ok(_) => Err(Error::NotANamespace { name }),
            Err(errno) => Err(Error::Open { name, source: errno.into() }),
        }
    }

    /// Where it was found, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace's identity: device and inode, the same for every descriptor of it.
    pub fn identity(&self) -> Result<(u64, u64), Error> {
        match fstat(&self.fd) {
            Ok(stat) => Ok((stat.st_dev, stat.st_ino)),
            Err(errno) => Err(Error::Open { name: self.name.to_string(), source: errno.into() }),
        }
    }

    /// Moves the calling thread into this namespace for good. Only for threads that nothing else shares.
    pub fn enter(&self) -> Result<(), Error> {
        setns(&*self.fd, CloneFlags::CLONE_NEWNET)
            .map_err(|errno| Error::Enter { name: self.name.to_string(), source: errno.into() })
    }

    /// Runs this inside the namespace, on a thread of its own, and waits for it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        thread::scope(|scope| {
            let thread = thread::Builder::new()
                .name("netns".to_owned())
                .spawn_scoped(scope, || self.enter().map(|()| work()))
                .map_err(|source| Error::Thread { name: self.name.to_string(), source })?;
            thread.join().map_err(|_| Error::Panicked { name: self.name.to_string() })?
        })
    }

    /// Starts a thread with this name that runs this inside the namespace.
    pub fn spawn<T: Send + 'static>(
        &self,
        thread: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<Result<T, Error>>, Error> {
        let namespace = self.clone();
        thread::Builder::new()
            .name(thread.to_owned())
            .spawn(move || namespace.enter().map(|()| work()))
            .map_err(|source| Error::Thread { name: self.name.to_string(), source })
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Namespace({})", self.name)
    }
}
