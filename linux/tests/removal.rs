//! Devices removed by number, alone and many together, against a real kernel.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

mod sandbox;

use caracal_linux::namespace::Namespace;
use caracal_linux::netlink::client::{Client, Veth, VethEnd};
use caracal_linux::netlink::removal::{DOOMED, Removal};
use futures::future::join_all;
use sandbox::{device, ip, namespace};

/// Pairs of devices: `a0`, `a1` and so on here, the other ends in the pods' namespace. Their numbers.
async fn pairs(host: &Namespace, pods: &Namespace, count: usize) -> Vec<u32> {
    let client = Client::open(Some(host)).unwrap();
    let mut indexes = Vec::new();
    for number in 0..count {
        let peer = VethEnd { name: device(&format!("b{number}")), mac: None, mtu: None, namespace: pods };
        let name = device(&format!("a{number}"));
        let veth = Veth { name, mac: None, mtu: None, alias: None, up: true, peer };
        indexes.push(client.create_veth(&veth).await.unwrap().index);
    }
    indexes
}

fn index(host: &Namespace, name: &str) -> u32 {
    ip(host, &format!("-o link show {name}")).split(':').next().unwrap().parse().unwrap()
}

fn devices(namespace: &Namespace) -> usize {
    ip(namespace, "-o link show").lines().count() - 1
}

fn start(host: &Namespace) -> Removal {
    host.run(Removal::start).unwrap().unwrap()
}

#[tokio::test]
async fn many_go_together_with_their_other_ends_and_nobody_else_does() {
    let (host, pods) = (namespace(), namespace());
    let indexes = pairs(&host, &pods, 10).await;
    let removal = start(&host);
    let before = devices(&host);
    ip(&host, "link add stays type bridge");
    ip(&host, "link del a7");
    let removed = join_all(indexes.iter().map(|index| removal.remove(*index))).await;
    let gone: Vec<usize> = removed
        .into_iter()
        .enumerate()
        .filter(|(_, removed)| !removed.as_ref().unwrap())
        .map(|(at, _)| at)
        .collect();
    assert_eq!(gone, [7], "it was gone before, and all others were not");
    assert_eq!((devices(&host), devices(&pods)), (before - 10 + 1, 0));
    assert!(ip(&host, "link show stays").contains("stays"));
    assert!(!removal.remove(indexes[0]).await.unwrap(), "it is gone already");
}

#[tokio::test]
async fn what_is_gone_meanwhile_or_cannot_go_does_not_keep_the_others() {
    let (host, pods) = (namespace(), namespace());
    let indexes = pairs(&host, &pods, 4).await;
    let removal = start(&host);
    ip(&host, "link del a1");
    // The loopback device cannot be removed.
    let asked = [indexes[0], indexes[1], index(&host, "lo"), indexes[2], indexes[3]];
    let removed = join_all(asked.iter().map(|index| removal.remove(*index))).await;
    let words: Vec<String> = removed
        .iter()
        .map(|removed| removed.as_ref().map_or_else(|_| "refused".to_owned(), bool::to_string))
        .collect();
    assert_eq!(words, ["true", "false", "refused", "true", "true"]);
    assert_eq!((devices(&host), devices(&pods)), (0, 0));
    assert!(!ip(&host, "-d link show group default").is_empty(), "lo is in no group of ours");
    assert_eq!(ip(&host, &format!("link show group {DOOMED}")), "");
}

#[tokio::test]
async fn a_device_of_another_in_the_group_stays() {
    let (host, pods) = (namespace(), namespace());
    let indexes = pairs(&host, &pods, 5).await;
    let removal = start(&host);
    ip(&host, "link add theirs type bridge");
    ip(&host, &format!("link set theirs group {DOOMED}"));
    let removed = join_all(indexes.iter().map(|index| removal.remove(*index))).await;
    assert!(removed.into_iter().all(|removed| removed.unwrap()));
    assert_eq!(devices(&host), 1);
    assert!(ip(&host, "link show theirs").contains("theirs"), "it is not ours to remove");
}

#[tokio::test]
async fn what_a_killed_run_left_in_the_group_is_taken_out_of_it() {
    let (host, pods) = (namespace(), namespace());
    let indexes = pairs(&host, &pods, 4).await;
    ip(&host, &format!("link set a0 group {DOOMED}"));
    let removal = start(&host);
    assert_eq!(ip(&host, &format!("link show group {DOOMED}")), "");
    let removed = join_all(indexes[1..].iter().map(|index| removal.remove(*index))).await;
    assert!(removed.into_iter().all(|removed| removed.unwrap()));
    assert!(ip(&host, "link show a0").contains("a0"), "it was asked for by nobody");
}
