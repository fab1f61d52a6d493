//! The conflist that the agent keeps in the host's folder, whatever becomes of it.

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use caracal_agent::cni::conflist::{self, Kept, Place};
use caracal_cni::install::{CONFLIST, Conflist};
use caracal_wait::{PATIENCE, eventually};
use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// No test waits for it: what comes back without it came back upon an event.
const NEVER: Duration = Duration::from_secs(86_400);

/// Runs a test that mounts things, in a mount namespace of its own.
fn among_own_mounts<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).expect("this test makes a mount namespace: run it as root");
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Folders of a host, and what keeps the conflist there.
struct Host {
    root: tempfile::TempDir,
    place: Place,
    kept: watch::Receiver<Kept>,
    keeping: JoinHandle<()>,
}

impl Host {
    /// Begins to keep it in a folder that is there or not, for an agent that serves.
    fn keeping(backstop: Duration, prepare: impl FnOnce(&Path)) -> Self {
        let root = tempfile::tempdir().unwrap();
        let place = place(root.path(), backstop);
        prepare(&net_d(root.path()));
        let (kept_sender, kept) = watch::channel(Kept::default());
        // It needs no heart any more when that has beaten once.
        let (_heart, serves) = watch::channel(true);
        let keeping = tokio::spawn(conflist::keep(place.clone(), serves, kept_sender));
        Self { root, place, kept, keeping }
    }

    fn net_d(&self) -> PathBuf {
        net_d(self.root.path())
    }

    fn stands(&self) -> bool {
        stands(&self.place)
    }

    /// Waits until it has failed so many more times, each for this reason.
    async fn fails_again(&mut self, times: u32, why: &str) {
        let before = self.kept.borrow().failures;
        let failed = self.kept.wait_for(|kept| kept.failures >= before + times);
        let kept = tokio::time::timeout(PATIENCE, failed).await.expect("it is tried again").unwrap();
        assert!(kept.failed.as_ref().unwrap().contains(why), "{kept:?}");
    }

    async fn end(self) {
        self.keeping.abort();
        assert!(self.keeping.await.is_err(), "it is kept as long as the agent runs");
    }
}

fn net_d(root: &Path) -> PathBuf {
    root.join("cni/net.d")
}

fn place(root: &Path, backstop: Duration) -> Place {
    Place {
        configurations: Some(net_d(root)),
        plugins: root.join("bin"),
        socket: "/run/caracal/cni.sock".into(),
        exclusive: true,
        features: Default::default(),
        backstop,
    }
}

fn stands(place: &Place) -> bool {
    let wanted = Conflist::for_node(&place.socket, &place.plugins, place.features).text();
    let file = place.configurations.as_ref().unwrap().join(CONFLIST);
    fs::read_to_string(file).is_ok_and(|found| found == wanted)
}

#[tokio::test]
async fn the_conflist_appears_once_the_agent_serves_and_stays_when_it_ends() {
    let root = tempfile::tempdir().unwrap();
    let place = place(root.path(), NEVER);
    fs::create_dir_all(net_d(root.path())).unwrap();
    let (heart, serves) = watch::channel(false);
    let (kept_sender, kept) = watch::channel(Kept::default());
    {
        let mut keeping = pin!(conflist::keep(place.clone(), serves, kept_sender));
        assert!(futures::poll!(keeping.as_mut()).is_pending());
        assert_eq!(kept.borrow().begun, 0, "no runtime may take the node for ready yet");
        heart.send(true).unwrap();
        let written = eventually("the conflist is written", || stands(&place));
        tokio::select! {
            () = keeping => panic!("it is kept as long as the agent runs"),
            () = written => {}
        }
    }
    assert!(kept.has_changed().is_err(), "nobody keeps it any more");
    assert!(stands(&place), "it stays when the agent ends");
}

#[tokio::test]
async fn the_conflist_comes_back_at_once_whatever_becomes_of_it() {
    let mut host = Host::keeping(NEVER, |net_d| fs::create_dir_all(net_d).unwrap());
    let (net_d, bin) = (host.net_d(), host.place.plugins.clone());
    let file = net_d.join(CONFLIST);
    eventually("the conflist is written", || host.stands()).await;
    fs::remove_file(&file).unwrap();
    eventually("a conflist that was removed is back", || host.stands()).await;
    fs::write(&file, "{}").unwrap();
    eventually("a conflist that was changed is as it was", || host.stands()).await;
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    eventually("an empty folder in its place gives way", || host.stands()).await;

    // What somebody keeps there is not ours to remove: told, and tried again.
    let theirs = host.root.path().join("theirs");
    fs::create_dir_all(theirs.join("kept")).unwrap();
    // Between the two it may be back already.
    eventually("somebody puts a folder there", || {
        fs::remove_file(&file).ok();
        fs::rename(&theirs, &file).is_ok()
    })
    .await;
    host.fails_again(2, "with something in it").await;
    assert!(file.join("kept").is_dir());
    fs::remove_dir(file.join("kept")).unwrap();
    eventually("it is written once the place is free", || host.stands()).await;
    eventually("and that is told", || {
        (host.kept.borrow().failures, &host.kept.borrow().failed) == (0, &None)
    })
    .await;

    fs::write(net_d.join("05-other.conf"), "{}").unwrap();
    let aside = net_d.join("05-other.conf.caracal_bak");
    eventually("what another plugin writes later is set aside", || aside.exists()).await;
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join("portmap"), "").unwrap();
    eventually("a plugin that comes later is chained", || host.stands()).await;
    assert!(fs::read_to_string(&file).unwrap().contains("portmap"));
    fs::rename(&net_d, host.root.path().join("moved")).unwrap();
    fs::create_dir(&net_d).unwrap();
    eventually("it comes into a folder that replaces its own", || host.stands()).await;
    host.end().await;
}

#[test]
fn a_folder_that_cannot_be_written_to_is_tried_again_until_it_can() {
    among_own_mounts(|| async {
        let mount_as =
            |at: &Path, flags| mount(Some("tmpfs"), at, Some("tmpfs"), flags, None::<&str>).unwrap();
        let mut host = Host::keeping(NEVER, |net_d| {
            fs::create_dir_all(net_d).unwrap();
            mount_as(net_d, MsFlags::MS_RDONLY);
        });
        host.fails_again(2, "Read-only").await;
        assert_eq!(fs::read_dir(host.net_d()).unwrap().count(), 0);
        mount_as(&host.net_d(), MsFlags::MS_REMOUNT);
        eventually("it is written once it can be", || host.stands()).await;
        let net_d = host.net_d();
        host.end().await;
        umount(&net_d).unwrap();
    });
}

#[test]
fn what_comes_without_an_event_is_found_by_looking_all_the_same() {
    among_own_mounts(|| async {
        let soon = Duration::from_millis(50);
        let host = Host::keeping(soon, |net_d| fs::create_dir_all(net_d).unwrap());
        eventually("the conflist is written", || host.stands()).await;
        let net_d = host.net_d();
        mount(Some("tmpfs"), &net_d, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        eventually("it is written into what was mounted over the folder", || host.stands()).await;
        host.end().await;
        umount(&net_d).unwrap();
    });
}
