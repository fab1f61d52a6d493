//! caracal as the IPAM plugin of Debian's stock `ptp` and `bridge`, with the agent as it is shipped.

use std::collections::BTreeSet;
use std::net::IpAddr;

use caracal_wait::eventually;
use ipnetwork::IpNetwork;
use serde_json::{Value, json};

use crate::process::Process;
use crate::rig::{Node, Pod, addresses, in_namespace, ip, lines, run};
use crate::runtime::{Runtime, inside};

/// Pods of ours and of `ptp` share the first two, `bridge` has the others for itself.
const POOLS: [(&str, &str, u8); 4] = [
    ("four", "10.244.0.0/24", 26),
    ("six", "fd00:244::/120", 122),
    ("z4", "10.245.0.0/24", 28),
    ("z6", "fd00:245::/120", 124),
];

fn ptp(socket: &Value, version: &str) -> Runtime {
    Runtime::new(version, json!([{"type": "ptp", "socket": socket, "ipam": {"type": "caracal"}}]))
}

fn bridge(socket: &Value) -> Runtime {
    let ipam = json!({"type": "caracal", "ipv4_pools": ["z4"], "ipv6_pools": ["z6"]});
    Runtime::new(
        "1.0.0",
        json!([{"type": "bridge", "bridge": "cni0", "isGateway": true, "isDefaultGateway": true, "socket": socket, "ipam": ipam}]),
    )
}

/// Waits until a pod reaches addresses.
async fn reaches(pod: &Pod, addresses: &[String]) {
    for address in addresses {
        let line = format!("-c 1 -W 1 {address}");
        let mut reached = false;
        for _ in 0..60 {
            let line = line.clone();
            reached = inside(&pod.namespace, move || run("ping", &line).0).await;
            if reached {
                break;
            }
        }
        assert!(reached, "{} reaches {address}", pod.name);
    }
}

/// The subnet that a result names, and its gateway.
fn subnet(result: &Value, number: usize) -> (IpNetwork, IpAddr) {
    let ip = &result["ips"][number];
    let network: IpNetwork = ip["address"].as_str().unwrap().parse().unwrap();
    let network = IpNetwork::new(network.network(), network.prefix()).unwrap();
    (network, ip["gateway"].as_str().unwrap().parse().unwrap())
}

/// The addresses that containers hold: those of subnets are the node's own.
fn held_by_containers(agent: &Process) -> Vec<(String, String)> {
    agent.held().into_iter().filter(|(handle, _)| !handle.starts_with("-subnet.")).collect()
}

/// Both pods are in one block, whose gateway is none of theirs, nor an end of it.
fn one_subnet_holds(of_x: &Value, of_y: &Value) {
    for number in [0, 1] {
        let [subnet, other] = [of_x, of_y].map(|result| subnet(result, number));
        assert_eq!(subnet, other, "{of_x} {of_y}");
        let (block, gateway) = subnet;
        assert!(POOLS[2..].iter().any(|(_, pool, size)| {
            let pool: IpNetwork = pool.parse().unwrap();
            block.prefix() == *size && pool.contains(block.network())
        }));
        let of_all = [of_x, of_y].map(|result| addresses(result)[number].parse::<IpAddr>().unwrap());
        let ends = [block.network(), if number == 0 { block.broadcast() } else { block.network() }];
        assert!(block.contains(gateway) && !ends.contains(&gateway) && !of_all.contains(&gateway));
        assert!(of_all.iter().all(|address| block.contains(*address) && !ends.contains(address)));
    }
}

/// What the other plugin cannot use it gives back; what is asked for twice is refused; CHECK misses what is not told.
async fn refusals_change_nothing(agent: &Process, socket: &Value, a: &Pod, of_a: &Value) {
    let none = json!({});
    let before = held_by_containers(agent);
    let taken = Pod::new("taken", "taken");
    taken.ip("link add eth0 type veth peer name other");
    assert!(ptp(socket, "1.0.0").add(&taken, &none).await.is_err());
    let again = ptp(socket, "1.0.0").delegated("ADD", a, ptp(socket, "1.0.0").stdin(0, &none, None)).await;
    let said: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(said["code"], 103, "{said}");
    let mut lacking = of_a.clone();
    lacking["ips"].as_array_mut().unwrap().pop();
    let stdin = ptp(socket, "1.0.0").stdin(0, &none, Some(&lacking));
    let checked = ptp(socket, "1.0.0").delegated("CHECK", a, stdin).await;
    let said: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(said["code"], 102, "{said}");
    assert_eq!(held_by_containers(agent), before);
}

/// GC as a later `ptp` passes it on: this release knows none.
async fn gc_leaves(agent: &Process, socket: &Value, kept: &[(&Pod, &Value)]) {
    let mut stdin = ptp(socket, "1.1.0").stdin(0, &json!({}), None);
    let valid: Vec<Value> =
        kept.iter().map(|(pod, _)| json!({"containerID": pod.container, "ifname": "eth0"})).collect();
    stdin["cni.dev/valid-attachments"] = json!(valid);
    let (nobody, _) = kept[0];
    let collected = ptp(socket, "1.1.0").delegated("GC", nobody, stdin).await;
    assert!(collected.status.success(), "{collected:?}");
    let left: BTreeSet<String> = held_by_containers(agent).into_iter().map(|(_, address)| address).collect();
    let wanted: BTreeSet<String> = kept.iter().flat_map(|(_, result)| addresses(result)).collect();
    assert_eq!(left, wanted);
}

/// Waits until the host reaches all of them.
async fn the_host_reaches(results: &[&Value]) {
    for address in results.iter().flat_map(|result| addresses(result)) {
        let line = format!("-c 1 -W 1 {address}");
        eventually(&format!("the host reaches {address}"), || run("ping", &line).0).await;
    }
}

#[test]
fn ptp_and_bridge_get_addresses_of_our_blocks_and_give_them_back() {
    in_namespace(|| async {
        let node = Node::new(&POOLS).await;
        let mut agent = Process::start(&node).await;
        let none = json!({});
        let ours = Runtime::new("1.1.0", agent.plugins());
        let socket = agent.plugins()[0]["socket"].clone();

        // The first container of a block: the block's ends are no host's, and the gateway is none of it either.
        let plain = Pod::new("plain", "plain");
        let bridged = bridge(&socket);
        let (x, y) = (Pod::new("x", "x"), Pod::new("y", "y"));
        let of_x = bridged.add(&x, &none).await.unwrap();
        let of_y = bridged.add(&y, &none).await.unwrap();
        one_subnet_holds(&of_x, &of_y);
        let (block, gateway) = subnet(&of_x, 0);
        let route = format!("route get {}", addresses(&of_x)[0]);
        assert!(
            ip(&route).contains("dev cni0"),
            "the bridge comes before the block's blackhole: {}",
            ip("route")
        );
        let standing = format!("{}/{}", block.network(), block.prefix());
        eventually("the block's blackhole stands behind the bridge", || {
            ip(&format!("route show {standing}")).contains("metric 32768")
        })
        .await;

        let of_plain = ours.add(&plain, &none).await.unwrap();
        let mut seen: BTreeSet<String> = [&of_x, &of_y, &of_plain].into_iter().flat_map(addresses).collect();
        let (a, b) = (Pod::new("a", "a"), Pod::new("b", "b"));
        let of_a = ptp(&socket, "1.0.0").add(&a, &none).await.unwrap();
        let of_b = ptp(&socket, "0.4.0").add(&b, &none).await.unwrap();
        assert_eq!((&of_a["cniVersion"], &of_b["cniVersion"]), (&json!("1.0.0"), &json!("0.4.0")));
        assert_eq!(of_b["ips"][0]["version"], "4", "{of_b}");
        seen.extend([&of_a, &of_b].into_iter().flat_map(addresses));
        assert_eq!(seen.len(), 10, "each has addresses of its own: {seen:?}");

        the_host_reaches(&[&of_a, &of_b, &of_x, &of_y, &of_plain]).await;
        for (pod, others) in [(&a, [&of_b, &of_plain]), (&plain, [&of_a, &of_x]), (&x, [&of_y, &of_a])] {
            for other in others {
                reaches(pod, &addresses(other)).await;
            }
        }
        ptp(&socket, "1.0.0").check(&a, &none, &of_a).await.unwrap();
        bridged.check(&x, &none, &of_x).await.unwrap();

        // Nothing is forgotten by a restart, nor given again.
        agent.restart().await;
        let c = Pod::new("c", "c");
        let of_c = ptp(&socket, "0.3.1").add(&c, &none).await.unwrap();
        assert!(addresses(&of_c).into_iter().all(|address| seen.insert(address)), "{of_c} {seen:?}");
        ptp(&socket, "1.0.0").check(&a, &none, &of_a).await.unwrap();
        reaches(&x, &addresses(&of_a)).await;
        assert!(ip(&route).contains("dev cni0"));
        // Nor is it forgotten that the block is on a link: the agent wants its blackhole behind that, now as before.
        ip(&format!("route del blackhole {standing} metric 32768"));
        eventually("the block's blackhole is back behind the bridge", || {
            ip(&format!("route show {standing}")).contains("metric 32768")
        })
        .await;
        assert!(ip(&route).contains("dev cni0"));

        refusals_change_nothing(&agent, &socket, &a, &of_a).await;

        let kept = [(&b, &of_b), (&x, &of_x), (&y, &of_y), (&plain, &of_plain)];
        gc_leaves(&agent, &socket, &kept).await;

        for (runtime, pod) in
            [(ptp(&socket, "1.0.0"), &a), (ptp(&socket, "0.4.0"), &b), (ptp(&socket, "0.3.1"), &c)]
        {
            runtime.del(pod, &none, None).await.unwrap();
            runtime.del(pod, &none, None).await.unwrap();
        }
        bridged.del(&x, &none, Some(&of_x)).await.unwrap();
        bridged.del(&y, &none, None).await.unwrap();
        ours.del(&plain, &none, None).await.unwrap();
        assert_eq!(held_by_containers(&agent), []);
        let devices = lines(&ip("-br link"));
        assert!(
            devices.iter().all(|line| line.starts_with("lo ") || line.starts_with("cni0 ")),
            "{devices:?}"
        );
        // The bridge keeps its address, so nobody else may have it.
        let again = addresses(&bridged.add(&Pod::new("z", "z"), &none).await.unwrap());
        assert!(!again.contains(&gateway.to_string()), "{again:?}");
        drop(agent);
        node.stop().await;
    });
}
