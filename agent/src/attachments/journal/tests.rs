use std::path::PathBuf;

use caracal_api::{BlockOwner, IpamBlock, IpamBlockSpec, OwnerKind};
use caracal_ipam::{Allocation, Attributes, JournalTrust};

use super::*;
use crate::attachments::{Address, Extras, Phase, PodRef};

fn place(machine: &str, boot: &str) -> Place {
    Place { machine_id: Some(machine.to_owned()), boot_id: Some(boot.to_owned()) }
}

fn here() -> Place {
    place("m1", "b1")
}

fn attachment(container: &str, phase: Phase) -> Attachment {
    let key =
        AttachmentKey { network: "caracal".into(), container: container.into(), interface: "eth0".into() };
    let allocation = Allocation {
        address: "10.244.0.7".parse().unwrap(),
        block: "10-244-0-0-26".into(),
        block_cidr: "10.244.0.0/26".parse().unwrap(),
        block_uid: "u".into(),
        sequence: 42,
        pool: "v4".into(),
    };
    Attachment {
        key,
        pod: Some(PodRef { namespace: "default".into(), name: "web-0".into(), uid: String::new() }),
        netns: PathBuf::from("/run/netns/x"),
        host: "cali0123456789a".into(),
        addresses: vec![Address::Own(allocation), Address::Foreign("192.0.2.1/32".parse().unwrap())],
        attributes: Attributes { namespace: "default".into(), ..Attributes::default() },
        phase,
        mtu: 1450,
        mac: Some("02:00:00:00:00:07".parse().unwrap()),
        extras: Extras {
            sources: vec!["198.51.100.0/24".parse().unwrap()],
            floating: vec!["10.250.0.9".parse().unwrap()],
        },
    }
}

fn block() -> IpamBlock {
    let owner = BlockOwner {
        kind: OwnerKind::Node,
        name: "n1".into(),
        node_uid: "uid".into(),
        machine_id: "m1".into(),
        claim_token: "t".into(),
    };
    let spec = IpamBlockSpec {
        cidr: "10.244.0.0/26".into(),
        owner,
        pool: "v4".into(),
        pool_uid: "p".into(),
        lends: false,
        shared: false,
        revision: 0,
        allocations: Default::default(),
    };
    IpamBlock::new("10-244-0-0-26", spec)
}

struct Folder {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn folder() -> Folder {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/journal.redb");
    Folder { _folder: folder, path }
}

#[tokio::test]
async fn what_was_put_is_there_after_a_restart_and_what_was_removed_is_not() {
    let folder = folder();
    let (journal, fresh) = Journal::open_on(&folder.path, &here()).unwrap();
    assert_eq!(fresh.trust, JournalTrust::Lost, "a new journal knows nothing of what was promised before");
    journal.put(attachment("a", Phase::Adding)).await.unwrap();
    journal.put(attachment("b", Phase::Ready)).await.unwrap();
    journal.put(attachment("a", Phase::Ready)).await.unwrap();
    journal.remove(&attachment("b", Phase::Ready).key).await.unwrap();
    journal.keep_block(&block()).await.unwrap();
    journal.keep_node_uid("uid").await.unwrap();
    journal.keep_last_live(UNIX_EPOCH + std::time::Duration::from_secs(1000)).await.unwrap();
    assert_eq!(journal.all().await.unwrap(), [attachment("a", Phase::Ready)]);
    journal.close().await;

    let (journal, found) = Journal::open_on(&folder.path, &here()).unwrap();
    assert_eq!(found.attachments, [attachment("a", Phase::Ready)]);
    assert_eq!(found.blocks, [block()]);
    assert_eq!(found.trust, JournalTrust::Whole);
    assert_eq!((found.node_uid.as_str(), found.machine_id.as_str()), ("uid", "m1"));
    assert_eq!(found.claim_token, fresh.claim_token, "claims of before are still known as ours");
    assert_eq!(found.last_live, Some(UNIX_EPOCH + std::time::Duration::from_secs(1000)));
    assert!(!found.rebooted);
    assert_eq!(found.held().len(), 1, "foreign addresses are not the allocator's");
    journal.forget_block("10-244-0-0-26").await.unwrap();
    journal.close().await;
    let (_, found) = Journal::open_on(&folder.path, &here()).unwrap();
    assert!(found.blocks.is_empty());
}

#[tokio::test]
async fn many_waiting_writes_share_a_commit_and_all_are_kept() {
    let folder = folder();
    let (journal, _) = Journal::open_on(&folder.path, &here()).unwrap();
    let writes = (0..500).map(|n| journal.put(attachment(&format!("c{n:03}"), Phase::Ready)));
    for result in futures::future::join_all(writes).await {
        result.unwrap();
    }
    journal.close().await;
    let (_, found) = Journal::open_on(&folder.path, &here()).unwrap();
    assert_eq!(found.attachments.len(), 500);
}

#[tokio::test]
async fn a_second_process_is_refused_in_words() {
    let folder = folder();
    let (journal, _) = Journal::open_on(&folder.path, &here()).unwrap();
    let error = Journal::open_on(&folder.path, &here()).unwrap_err();
    assert!(matches!(error, JournalError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("two agents must never run on one node"), "{error}");
    journal.close().await;
    assert!(Journal::open_on(&folder.path, &here()).is_ok());
}

#[tokio::test]
async fn a_reboot_ends_every_pod_and_leaves_tunnels() {
    let folder = folder();
    let (journal, _) = Journal::open_on(&folder.path, &here()).unwrap();
    journal.put(attachment("pod", Phase::Ready)).await.unwrap();
    journal.put(attachment("tunnel", Phase::Tunnel)).await.unwrap();
    journal.close().await;
    let (journal, found) = Journal::open_on(&folder.path, &place("m1", "b2")).unwrap();
    assert!(found.rebooted);
    assert_eq!(found.attachments, [attachment("tunnel", Phase::Tunnel)]);
    assert_eq!(found.ended, [attachment("pod", Phase::Ready)]);
    assert_eq!(journal.all().await.unwrap(), [attachment("tunnel", Phase::Tunnel)]);
    journal.close().await;
}

#[tokio::test]
async fn a_damaged_file_is_moved_aside_and_told() {
    let folder = folder();
    std::fs::create_dir_all(folder.path.parent().unwrap()).unwrap();
    std::fs::write(&folder.path, b"this is no journal at all, but it is long enough to be looked at")
        .unwrap();
    let (journal, found) = Journal::open_on(&folder.path, &here()).unwrap();
    assert_eq!(found.trust, JournalTrust::Lost);
    let moved = found.damage.unwrap().moved_to.unwrap();
    assert!(std::fs::read(&moved).unwrap().starts_with(b"this is no journal"));
    journal.put(attachment("a", Phase::Ready)).await.unwrap();
    journal.close().await;
}

#[tokio::test]
async fn a_journal_of_another_machine_is_moved_aside() {
    let folder = folder();
    let (journal, first) = Journal::open_on(&folder.path, &here()).unwrap();
    journal.put(attachment("a", Phase::Ready)).await.unwrap();
    journal.close().await;
    let (_, found) = Journal::open_on(&folder.path, &place("m2", "b1")).unwrap();
    assert!(found.attachments.is_empty());
    assert_ne!(found.claim_token, first.claim_token);
    assert!(found.damage.unwrap().cause.contains("another machine"));
}
