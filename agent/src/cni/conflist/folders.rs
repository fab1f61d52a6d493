//! What happens in the folders that the network configuration depends on, as inotify tells it.
//!
//! Of the folder of configurations every name counts but those that begin with a dot: runtimes do not read them, and our own
//! unfinished files are called so. Of the folder of plugins only `portmap` counts. Where a folder is not there, the nearest one
//! above it is heard for the next name on the way. Which these are changes with what happens, so all are armed anew before each
//! look.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InotifyEvent, WatchDescriptor};
use tracing::warn;

use super::queue::Queue;

/// The plugin that is chained where it is.
const CHAINED: &str = "portmap";

/// Names that come, go or are written, and the folder itself.
const EVENTS: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// Which names of a folder count.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Names {
    Visible,
    This(OsString),
}

impl Names {
    fn count(&self, name: &OsStr) -> bool {
        match self {
            Self::Visible => !name.as_encoded_bytes().starts_with(b"."),
            Self::This(wanted) => name == wanted,
        }
    }
}

/// The folders, heard.
#[derive(Debug)]
pub(super) struct Folders {
    queue: Queue,
    folders: [(PathBuf, Names); 2],
    heard: HashMap<WatchDescriptor, Vec<Names>>,
    /// The same refusal is told once.
    refused: Option<Errno>,
}

impl Folders {
    /// Must be called within a tokio runtime.
    pub(super) fn open(configurations: &Path, plugins: &Path) -> io::Result<Self> {
        let folders =
            [(configurations.to_owned(), Names::Visible), (plugins.to_owned(), Names::This(CHAINED.into()))];
        Ok(Self { queue: Queue::open()?, folders, heard: HashMap::new(), refused: None })
    }

    /// Hears the folders as they are now; whether all of it will be heard.
    pub(super) fn arm(&mut self) -> bool {
        let before = std::mem::take(&mut self.heard);
        let mut all = Ok(());
        for (folder, names) in self.folders.clone() {
            all = all.and(self.hear(&folder, names));
        }
        for gone in before.into_keys().filter(|watch| !self.heard.contains_key(watch)) {
            // A folder that was removed has taken its watch with it.
            self.queue.inotify().rm_watch(gone).ok();
        }
        if let Err(errno) = all
            && self.refused != Some(errno)
        {
            warn!(error = %errno, "events of the network configuration's folders cannot be heard (inotify)");
        }
        self.refused = all.err();
        all.is_ok()
    }

    /// Hears a folder, or the nearest one above it.
    fn hear(&mut self, folder: &Path, names: Names) -> Result<(), Errno> {
        let (mut at, mut below) = (folder, None::<&Path>);
        loop {
            match self.queue.inotify().add_watch(at, EVENTS) {
                Ok(watch) => {
                    let on_the_way = below.and_then(Path::file_name);
                    let wanted = on_the_way.map_or(names.clone(), |name| Names::This(name.to_owned()));
                    self.heard.entry(watch).or_default().push(wanted);
                    // It may have come between the look for it and the watch above it.
                    if !below.is_some_and(Path::is_dir) {
                        return Ok(());
                    }
                    (at, below) = (folder, None);
                }
                Err(Errno::ENOENT | Errno::ENOTDIR) => {
                    let above = at.parent().ok_or(Errno::ENOENT)?;
                    below = Some(at);
                    at = if above.as_os_str().is_empty() { Path::new(".") } else { above };
                }
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Waits until something has happened that counts.
    pub(super) async fn changed(&self) {
        let counts = || match self.drain() {
            Ok(some) => some.then_some(Ok(())),
            Err(errno) => Some(Err(errno)),
        };
        match self.queue.take(counts).await {
            Ok(Ok(())) => {}
            // What cannot be waited for, or read, is left to the backstop.
            Ok(Err(_)) | Err(_) => {
                warn!("what happens in the network configuration's folders cannot be read (inotify)");
                std::future::pending().await
            }
        }
    }

    /// Takes everything that has happened; whether some of it counts.
    fn drain(&self) -> Result<bool, Errno> {
        let mut some = false;
        loop {
            match self.queue.inotify().read_events() {
                Ok(events) => some |= events.iter().any(|event| self.counts(event)),
                Err(Errno::EAGAIN) => return Ok(some),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    fn counts(&self, event: &InotifyEvent) -> bool {
        let lost = event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
        lost || self.heard.get(&event.wd).is_some_and(|wanted| match &event.name {
            Some(name) => wanted.iter().any(|names| names.count(name)),
            // The folder itself has gone or was moved.
            None => true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[tokio::test]
    async fn names_that_runtimes_read_count_and_unfinished_files_and_other_plugins_do_not() {
        let root = tempfile::tempdir().unwrap();
        let (net_d, plugins) = (root.path().join("net.d"), root.path().join("bin"));
        fs::create_dir(&net_d).unwrap();
        fs::create_dir(&plugins).unwrap();
        let mut folders = Folders::open(&net_d, &plugins).unwrap();
        assert!(folders.arm());
        let counts = |change: &dyn Fn()| {
            change();
            folders.drain().unwrap()
        };
        assert!(!counts(&|| fs::write(net_d.join(".a.unfinished"), "").unwrap()));
        assert!(!counts(&|| fs::write(plugins.join("bridge"), "").unwrap()));
        assert!(!counts(&|| fs::write(root.path().join("beside"), "").unwrap()));
        assert!(
            !counts(&|| assert_eq!(fs::read_dir(&net_d).unwrap().count(), 1)),
            "nor does it hear itself look"
        );
        assert!(counts(&|| fs::rename(net_d.join(".a.unfinished"), net_d.join("a")).unwrap()));
        assert!(counts(&|| fs::write(net_d.join("a"), "changed").unwrap()));
        assert!(counts(&|| fs::remove_file(net_d.join("a")).unwrap()));
        assert!(counts(&|| fs::create_dir(net_d.join("a")).unwrap()));
        assert!(counts(&|| fs::write(plugins.join("portmap"), "").unwrap()));
        assert!(!counts(&|| {}));
    }

    #[tokio::test]
    async fn a_folder_is_heard_when_it_comes_step_by_step_when_it_is_replaced_and_when_it_goes() {
        let root = tempfile::tempdir().unwrap();
        let (cni, plugins) = (root.path().join("cni"), root.path().join("bin"));
        let net_d = cni.join("net.d");
        let mut folders = Folders::open(&net_d, &plugins).unwrap();
        let mut counts = |change: &dyn Fn()| {
            assert!(folders.arm());
            folders.drain().unwrap();
            change();
            folders.drain().unwrap()
        };
        assert!(!counts(&|| fs::create_dir(root.path().join("other")).unwrap()));
        assert!(counts(&|| fs::create_dir(&cni).unwrap()));
        assert!(!counts(&|| fs::write(cni.join("other"), "").unwrap()));
        assert!(counts(&|| fs::write(&net_d, "").unwrap()), "a file in its place");
        assert!(!counts(&|| {}));
        assert!(counts(&|| fs::remove_file(&net_d).unwrap()));
        assert!(counts(&|| fs::create_dir(&net_d).unwrap()));
        assert!(counts(&|| fs::write(net_d.join("a"), "").unwrap()));
        assert!(counts(&|| fs::rename(&net_d, cni.join("old")).unwrap()));
        assert!(
            !counts(&|| fs::write(cni.join("old/b"), "").unwrap()),
            "what was moved away is of no matter"
        );
        assert!(counts(&|| fs::create_dir(&net_d).unwrap()));
        assert!(counts(&|| fs::write(net_d.join("a"), "").unwrap()));
        assert!(counts(&|| fs::remove_dir_all(&cni).unwrap()));
        assert!(counts(&|| fs::create_dir_all(&net_d).unwrap()));
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let root = tempfile::tempdir().unwrap();
        let mut folders = Folders::open(root.path(), root.path()).unwrap();
        assert!(folders.arm());
        let path = root.path().join("a");
        let writing = tokio::task::spawn_blocking(move || fs::write(path, ""));
        tokio::time::timeout(caracal_wait::PATIENCE, folders.changed()).await.expect("an event");
        writing.await.unwrap().unwrap();
    }
}
