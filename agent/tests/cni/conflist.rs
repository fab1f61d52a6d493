//! The conflist that the agent keeps in the host's folder, whatever becomes of it.

use std::fs;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use caracal_agent::cni::conflist::{self, Place};
use caracal_cni::install::{CONFLIST, Conflist};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tokio::sync::watch;

use crate::rig::eventually;

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

fn place(folder: &Path) -> Place {
    Place {
        configurations: Some(folder.join("net.d")),
        plugins: folder.join("bin"),
        socket: "/run/caracal/cni.sock".into(),
        exclusive: true,
    }
}

#[test]
fn the_conflist_appears_once_the_agent_serves_and_comes_back_whatever_becomes_of_it() {
    among_own_mounts(|| async {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path());
        let net_d = place.configurations.clone().unwrap();
        fs::create_dir(&net_d).unwrap();
        fs::create_dir(&place.plugins).unwrap();
        let file = net_d.join(CONFLIST);
        let (heart, serves) = watch::channel(false);
        let keeping = tokio::spawn(conflist::keep(place.clone(), serves));
        // Long enough for an agent that would not wait.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!file.exists(), "no runtime may take the node for ready yet");

        heart.send(true).unwrap();
        let stands = || {
            let wanted = Conflist::for_node(&place.socket, &place.plugins).text();
            fs::read_to_string(&file).is_ok_and(|found| found == wanted)
        };
        eventually("the conflist is written", stands).await;
        fs::remove_file(&file).unwrap();
        eventually("a conflist that was removed is back", stands).await;
        fs::write(&file, "{}").unwrap();
        eventually("a conflist that was changed is as it was", stands).await;
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        eventually("an empty folder in its place gives way", stands).await;

        // What somebody keeps there is not ours to remove: told, and tried again.
        fs::remove_file(&file).unwrap();
        fs::create_dir_all(file.join("kept")).unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(file.join("kept").is_dir());
        fs::remove_dir(file.join("kept")).unwrap();
        eventually("it is written once the place is free", stands).await;

        fs::write(net_d.join("05-other.conf"), "{}").unwrap();
        let aside = net_d.join("05-other.conf.caracal_bak");
        eventually("what another plugin writes later is set aside", || aside.exists()).await;
        fs::write(place.plugins.join("portmap"), "").unwrap();
        eventually("a plugin that comes later is chained", stands).await;
        assert!(fs::read_to_string(&file).unwrap().contains("portmap"));
        keeping.abort();
        assert!(keeping.await.is_err(), "it is kept as long as the agent runs");
        assert!(stands(), "it stays when the agent ends");
    });
}

#[test]
fn a_folder_that_cannot_be_written_to_is_tried_again_until_it_can() {
    among_own_mounts(|| async {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path());
        let net_d = place.configurations.clone().unwrap();
        fs::create_dir(&net_d).unwrap();
        let mount_as = |flags| mount(Some("tmpfs"), &net_d, Some("tmpfs"), flags, None::<&str>).unwrap();
        mount_as(MsFlags::MS_RDONLY);
        let (_heart, serves) = watch::channel(true);
        let keeping = tokio::spawn(conflist::keep(place, serves));
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(fs::read_dir(&net_d).unwrap().count(), 0);
        mount_as(MsFlags::MS_REMOUNT);
        let file = net_d.join(CONFLIST);
        eventually("it is written once it can be", || file.exists()).await;
        keeping.abort();
        assert!(keeping.await.is_err());
        nix::mount::umount(&net_d).unwrap();
    });
}
