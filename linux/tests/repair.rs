//! The kernel thread against other hands, links that come and go, and events that get lost: with `ip` as the other hand.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

mod sandbox;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use caracal_linux::kernel::{Kernel, ObjectKey, Settings, Wanted};
use caracal_linux::namespace::Namespace;
use caracal_linux::object::route::{Route, RouteKey};
use caracal_linux::table::Refusal;
use caracal_wait::until;
use sandbox::wants::*;
use sandbox::{device, ip, namespace, wire};

#[tokio::test]
async fn what_another_hand_removes_is_back_within_a_second() {
    let host = namespace();
    wire(&host, "cali1");
    let kernel = start(&host);
    let routes: Vec<Wanted> = (0..200_u32)
        .flat_map(|n| {
            let v4 = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n));
            let v6 = IpAddr::V6(Ipv6Addr::from((0xfd00_u128 << 112) + u128::from(n)));
            [v4, v6].map(|ip| Wanted::Route(RouteKey::main(ip.into()), Some(Route::direct(device("cali1")))))
        })
        .collect();
    assert_eq!(kernel.want(routes).await.unwrap(), []);
    kernel.settle(vec![neighbour("cali1", "10.0.0.1")]).await.unwrap();
    for _ in 0..3 {
        ip(&host, "-4 route flush proto 67");
        ip(&host, "-6 route flush proto 67");
        ip(&host, "neigh flush nud permanent dev cali1");
        until("the repair", SECOND, async || {
            ours(&host).lines().count() == 400 && ip(&host, "neigh show nud permanent").contains("10.0.0.1")
        })
        .await;
    }
    until("no refusal", SECOND, async || kernel.refusals().borrow().total == 0).await;
    assert_eq!(kernel.status().await.unwrap().resyncs, 1, "events alone must do");
}

#[tokio::test]
async fn what_another_hand_changes_is_put_right_and_left_alone_if_it_goes_on() {
    let host = namespace();
    wire(&host, "cali1");
    wire(&host, "cali2");
    let kernel = start(&host);
    kernel.settle(vec![direct("10.0.0.1/32", "cali1"), direct("10.0.0.2/32", "cali1")]).await.unwrap();
    let began = Instant::now();
    let mut repairs = 0;
    while kernel.conflicts().is_empty() {
        assert!(began.elapsed() < PATIENCE, "never reported, after {repairs} repairs");
        ip(&host, "route replace 10.0.0.1/32 dev cali2 proto 67");
        until("the repair or the report", SECOND, async || {
            !kernel.conflicts().is_empty() || ours(&host).contains("10.0.0.1 dev cali1")
        })
        .await;
        repairs += 1;
    }
    assert!(repairs >= 5, "reported after {repairs} changes");
    let conflicts = kernel.conflicts();
    assert_eq!(conflicts[0].code(), "RouteContended");
    assert_eq!(conflicts[0].object, ObjectKey::Route(key("10.0.0.1/32")));
    assert!(ours(&host).contains("10.0.0.1 dev cali2"), "left alone");
    // Another key is not drawn into it, and a contest over what is withdrawn is over.
    ip(&host, "route del 10.0.0.2/32");
    until("the repair", SECOND, async || ours(&host).contains("10.0.0.2 dev cali1")).await;
    kernel.settle(vec![Wanted::Route(key("10.0.0.1/32"), None)]).await.unwrap();
    assert!(!ours(&host).contains("10.0.0.1 "), "{}", ours(&host));
}

#[tokio::test]
async fn what_goes_down_with_a_link_is_back_within_a_second_of_its_coming_up() {
    let host = namespace();
    wire(&host, "cali1");
    wire(&host, "eth0");
    ip(&host, "addr add 192.0.2.1/24 dev eth0");
    let kernel = start(&host);
    kernel.settle(pod("cali1")).await.unwrap();
    let through = route("10.1.0.0/26", Route::via("192.0.2.9".parse().unwrap(), device("eth0")));
    kernel.settle(vec![through, blackhole("10.2.0.0/26")]).await.unwrap();
    // More often than would be a contest, were it another hand's doing.
    for _ in 0..7 {
        ip(&host, "link set cali1 down");
        ip(&host, "link set eth0 down");
        assert!(!pod_is_there(&host));
        ip(&host, "link set cali1 up");
        ip(&host, "link set eth0 up");
        until("the repair", SECOND, async || {
            pod_is_there(&host) && ours(&host).contains("10.1.0.0/26 via 192.0.2.9")
        })
        .await;
    }
    assert_eq!(kernel.conflicts(), []);
    until("no refusal", SECOND, async || kernel.refusals().borrow().total == 0).await;
}

#[tokio::test]
async fn while_a_link_is_down_its_routes_are_told_to_wait_for_it() {
    let host = namespace();
    wire(&host, "cali1");
    let kernel = start(&host);
    kernel.settle(pod("cali1")).await.unwrap();
    ip(&host, "link set cali1 down");
    until("the report", SECOND, async || {
        let refusals = kernel.refusals().borrow().clone();
        refusals.total == 4 && refusals.first.iter().all(|r| r.why == Refusal::LinkDown(device("cali1")))
    })
    .await;
}

#[tokio::test]
async fn a_link_that_is_made_anew_under_its_old_name_gets_its_routes_again() {
    let host = namespace();
    wire(&host, "cali1");
    let kernel = start(&host);
    kernel.settle(pod("cali1")).await.unwrap();
    for _ in 0..6 {
        ip(&host, "link del cali1");
        wire(&host, "cali1");
        until("the pod's host side", SECOND, async || pod_is_there(&host)).await;
    }
    ip(&host, "link set cali1 down");
    ip(&host, "link set cali1 name other");
    ip(&host, "link set other up");
    wire_again(&host);
    until("the pod's host side", SECOND, async || pod_is_there(&host)).await;
}

fn wire_again(host: &Namespace) {
    ip(host, "link add cali1 type veth peer name cali1q");
    ip(host, "link set cali1 up");
    ip(host, "link set cali1q up");
}

#[tokio::test]
async fn routes_that_go_with_an_address_are_repaired() {
    let host = namespace();
    wire(&host, "eth0");
    ip(&host, "addr add 192.0.2.1/24 dev eth0");
    let kernel = start(&host);
    let source = "192.0.2.1".parse().unwrap();
    kernel
        .settle(vec![
            direct("10.0.0.1/32", "eth0"),
            route("10.1.0.0/26", Route { source: Some(source), ..Route::direct(device("eth0")) }),
        ])
        .await
        .unwrap();
    // With its last address the device loses all IPv4 routes, and the kernel tells nobody.
    ip(&host, "addr del 192.0.2.1/24 dev eth0");
    until("the direct route", SECOND, async || ours(&host).contains("10.0.0.1 dev eth0")).await;
    until("the refusal of the other", SECOND, async || kernel.refusals().borrow().total == 1).await;
    ip(&host, "addr add 192.0.2.1/24 dev eth0");
    until("the other", SECOND, async || {
        ours(&host).contains("10.1.0.0/26 dev eth0 scope link src 192.0.2.1")
    })
    .await;
    until("no refusal", SECOND, async || kernel.refusals().borrow().total == 0).await;
}

#[tokio::test]
async fn what_it_writes_itself_takes_no_room_among_the_events() {
    let host = namespace();
    wire(&host, "cali1");
    // Room for some dozens of events, where a turn of the thread makes hundreds.
    let kernel = Kernel::start(Settings { event_buffer: 16 << 10, ..settings(&host) }).unwrap();
    let routes = (0..2000_u32).map(|n| {
        let destination = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n));
        (RouteKey::main(destination.into()), Route::direct(device("cali1")))
    });
    let (create, delete): (Vec<_>, Vec<_>) =
        routes.map(|(key, route)| (Wanted::Route(key, Some(route)), Wanted::Route(key, None))).unzip();
    assert_eq!(kernel.want(create).await.unwrap(), []);
    assert_eq!(kernel.want(delete).await.unwrap(), []);
    assert_eq!(kernel.status().await.unwrap().overruns, 0);
    // Others are heard still.
    kernel.settle(vec![direct("10.0.0.1/32", "cali1"), neighbour("cali1", "10.0.0.1")]).await.unwrap();
    ip(&host, "route del 10.0.0.1/32 dev cali1");
    ip(&host, "neigh flush nud permanent dev cali1");
    until("the repair", SECOND, async || {
        ours(&host).contains("10.0.0.1 dev cali1")
            && ip(&host, "neigh show nud permanent").contains("10.0.0.1")
    })
    .await;
}

#[tokio::test]
async fn lost_events_are_made_good_by_a_listing() {
    let host = namespace();
    wire(&host, "cali1");
    let kernel = Kernel::start(Settings { event_buffer: 2048, ..settings(&host) }).unwrap();
    kernel.settle(pod("cali1")).await.unwrap();
    wire(&host, "eth1");
    let file = std::env::temp_dir().join(format!("caracal-lost-events-{}", std::process::id()));
    let noise: String = (0..1000).map(|n| format!("route add fd99::{n:x} dev eth1\n")).collect();
    // With the link all its routes go in one breath, which is more events than so small a buffer holds. The last line, which
    // is ours to repair, is told of by none.
    let commands = format!("{noise}link set eth1 down\nroute del 10.0.0.1/32 dev cali1\nlink set eth1 up\n");
    std::fs::write(&file, commands).unwrap();
    let began = Instant::now();
    while kernel.status().await.unwrap().overruns == 0 {
        assert!(began.elapsed() < PATIENCE, "no event was ever lost: this test says nothing");
        ip(&host, &format!("-batch {}", file.display()));
        until("the repair", PATIENCE, async || pod_is_there(&host)).await;
    }
    std::fs::remove_file(&file).unwrap();
    until("the repair", PATIENCE, async || pod_is_there(&host)).await;
}
