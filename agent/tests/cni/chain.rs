//! The real plugin in chains with Debian's stock ones, in every version, and with addresses of other IPAM plugins.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use caracal_cni::Version;
use caracal_wait::eventually;
use serde_json::{Value, json};

use crate::POOLS;
use crate::rig::{Agent, Node, Pod, addresses, host_device, in_namespace, ip, lines, run};
use crate::runtime::{Runtime, inside};

/// For machines with other work to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// Our plugin as a list's first.
fn caracal(agent: &Agent, extra: Value) -> Value {
    let mut plugin = json!({
        "type": "caracal", "socket": agent.socket,
        "capabilities": {"ips": true, "mac": true, "bandwidth": true, "io.kubernetes.cri.pod-annotations": true},
    });
    plugin.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    plugin
}

#[test]
fn each_version_has_its_operations_and_gets_its_own_shape() {
    in_namespace(|| async {
        let node = Node::new(&POOLS).await;
        let agent = node.agent().await;
        for version in Version::ALL {
            let runtime = Runtime::new(version.as_str(), json!([caracal(&agent, json!({}))]));
            let pod = Pod::new("web-0", &format!("c-{version}"));
            let none = json!({});
            let result = runtime.add(&pod, &none).await.unwrap();
            assert_eq!(result["cniVersion"], version.as_str());
            for (number, address) in result["ips"].as_array().unwrap().iter().enumerate() {
                let family = (version < Version::V1_0_0).then(|| json!(["4", "6"][number]));
                assert_eq!(address.get("version"), family.as_ref(), "{version}: {address}");
                assert_eq!(address["interface"], 1);
            }
            let mtu = result["interfaces"][1].get("mtu");
            assert_eq!(mtu.is_some(), version >= Version::V1_1_0, "{result}");
            let code = |refused: Value| refused["said"]["code"].as_u64();
            let checked = runtime.check(&pod, &none, &result).await.map_err(code);
            assert_eq!(checked, if version.has_check() { Ok(()) } else { Err(Some(1)) }, "{version}");
            let bare = runtime.stdin(0, &none, None);
            let valid = json!([{"containerID": pod.container, "ifname": "eth0"}]);
            let mut listed = bare.clone();
            listed["cni.dev/valid-attachments"] = valid;
            let collected = runtime.one("GC", &pod, listed).await.map_err(code);
            assert_eq!(collected, if version.has_gc_and_status() { Ok(None) } else { Err(Some(1)) });
            assert_eq!(agent.attachments().await, 1, "{version}");
            let again = runtime.add(&pod, &none).await.map_err(code);
            assert_eq!(again, Err(Some(103)));
            // With the result and without, again and again.
            runtime.del(&pod, &none, Some(&result)).await.unwrap();
            runtime.del(&pod, &none, None).await.unwrap();
            assert_eq!((agent.attachments().await, lines(&ip("-br link")).len()), (0, 1), "{version}");
        }
        agent.stop().await;
        node.stop().await;
    });
}

#[test]
fn stock_plugins_work_behind_ours_and_a_new_mac_is_followed() {
    in_namespace(|| async {
        let node = Node::new(&POOLS).await;
        let agent = node.agent().await;
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new(
            "1.0.0",
            json!([
                caracal(&agent, json!({"capabilities": {}})),
                {"type": "tuning", "dataDir": folder.path(), "sysctl": {"net.core.somaxconn": "500"}},
                {"type": "bandwidth", "capabilities": {"bandwidth": true}},
                {"type": "firewall", "backend": "iptables"},
                {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true},
            ]),
        );
        let capabilities = json!({
            "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
            "bandwidth": {"ingressRate": 80_000_000, "ingressBurst": 80_000_000, "egressRate": 80_000_000, "egressBurst": 80_000_000},
        });
        let pod = Pod::new("web-0", "c1");
        let result = runtime.add(&pod, &capabilities).await.unwrap();
        let device = host_device(&result);
        // Ours alone: this release of `portmap` looks for its IPv4 rules among those of IPv6.
        runtime.one("CHECK", &pod, runtime.stdin(0, &capabilities, Some(&result))).await.unwrap();
        // By hand: this release of `tuning` takes the interface down for it, and its routes are lost with that.
        pod.ip("link set eth0 address c2:11:22:33:44:55");
        // The kernel has dropped the pod's neighbours with that; by proxy the host answers for the gateway where it has a
        // default route itself.
        ip("route add default dev lo");
        for address in addresses(&result) {
            let wanted = format!("{address} lladdr c2:11:22:33:44:55 ");
            eventually("the host's neighbour has followed", || {
                ip(&format!("neigh show dev {device} nud permanent")).contains(&wanted)
            })
            .await;
            eventually("the host reaches the pod", || run("ping", &format!("-c 1 -W 1 {address}")).0).await;
        }
        assert!(
            run("tc", &format!("qdisc show dev {device}")).1.contains("tbf"),
            "stock bandwidth shapes our device"
        );

        let (ready, listening) = std::sync::mpsc::sync_channel(1);
        let served = pod.namespace.clone();
        let server = std::thread::spawn(move || {
            let answer = || {
                let listener = TcpListener::bind("0.0.0.0:80").unwrap();
                ready.send(()).unwrap();
                listener.accept().unwrap().0.write_all(b"hello").unwrap();
            };
            served.run(answer).unwrap();
        });
        listening.recv().unwrap();
        let said = tokio::task::spawn_blocking(|| {
            let host = "192.0.2.1:8080".parse().unwrap();
            let mut stream = TcpStream::connect_timeout(&host, PATIENCE).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut said = String::new();
            stream.read_to_string(&mut said).unwrap();
            said
        });
        assert_eq!(said.await.unwrap(), "hello", "by the host's port");
        server.join().unwrap();

        runtime.del(&pod, &capabilities, Some(&result)).await.unwrap();
        assert_eq!(agent.attachments().await, 0);
        assert_eq!(lines(&ip("-br link")).len(), 1, "only lo is left: {}", ip("-br link"));
        agent.stop().await;
        node.stop().await;
    });
}

#[test]
fn addresses_of_other_plugins_are_routed_and_given_back() {
    in_namespace(|| async {
        let node = Node::new(&POOLS).await;
        let agent = node.agent().await;
        let kept = tempfile::tempdir().unwrap();
        let ranges = agent.socket.with_file_name("pod-cidrs");
        eventually("the node's ranges are written", || ranges.exists()).await;
        let host_local = json!({
            "type": "host-local", "dataDir": kept.path(),
            "ranges": [[{"subnet": "usePodCidr"}], [{"subnet": "usePodCidrIPv6"}]],
        });
        let runtime = Runtime::new("1.0.0", json!([caracal(&agent, json!({"ipam": host_local}))]));
        let held = || {
            let names = std::fs::read_dir(kept.path().join("net")).into_iter().flatten();
            let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.filter(|name| name.starts_with("10.77.") || name.starts_with("fd00")).count()
        };
        let (pod, none) = (Pod::new("web-0", "c1"), json!({}));
        let result = runtime.add(&pod, &none).await.unwrap();
        let given = addresses(&result);
        assert!(given[0].starts_with("10.77.3.") && given[1].starts_with("fd00:77:3:"), "{given:?}");
        assert_eq!(held(), 2);
        for address in &given {
            eventually("the host reaches the pod", || run("ping", &format!("-c 1 -W 1 {address}")).0).await;
        }
        runtime.check(&pod, &none, &result).await.unwrap();

        // Refused by the other plugin, which has given to this container before; refused by ours, after the other has given.
        assert!(runtime.add(&pod, &none).await.is_err());
        assert_eq!(held(), 2);
        let annotations =
            json!({"io.kubernetes.cri.pod-annotations": {"caracal.dev/hwAddr": "01:00:00:00:00:00"}});
        let other = Pod::new("web-1", "c2");
        let refused = runtime.add(&other, &annotations).await.unwrap_err();
        assert_eq!(refused["said"]["code"], 7, "{refused}");
        assert_eq!((held(), agent.attachments().await), (2, 1), "what was given in vain is given back");

        runtime.del(&pod, &none, Some(&result)).await.unwrap();
        runtime.del(&pod, &none, None).await.unwrap();
        assert_eq!((held(), agent.attachments().await, lines(&ip("-br link")).len()), (0, 0, 1));

        let fixed = json!({"type": "static", "addresses": [{"address": "10.78.0.5/24"}], "dns": {"nameservers": ["10.0.0.2"]}});
        let runtime = Runtime::new("0.4.0", json!([caracal(&agent, json!({"ipam": fixed}))]));
        let result = runtime.add(&pod, &none).await.unwrap();
        assert_eq!(
            (result["ips"][0]["address"].as_str(), result["dns"]["nameservers"][0].as_str()),
            (Some("10.78.0.5/32"), Some("10.0.0.2"))
        );
        runtime.del(&pod, &none, Some(&result)).await.unwrap();

        let missing =
            Runtime::new("1.0.0", json!([caracal(&agent, json!({"ipam": {"type": "no-such-ipam"}}))]));
        let refused = missing.add(&pod, &none).await.unwrap_err();
        assert_eq!(refused["said"]["code"], 7, "{refused}");
        agent.stop().await;
        node.stop().await;
    });
}

#[test]
fn a_pod_gets_the_hardware_address_and_the_limits_that_it_asks_for() {
    in_namespace(|| async {
        let node = Node::new(&POOLS).await;
        let agent = node.agent().await;
        let runtime = Runtime::new("1.0.0", json!([caracal(&agent, json!({"bandwidth": true}))]));
        let capabilities = json!({"mac": "02:00:00:00:00:01", "io.kubernetes.cri.pod-annotations": {
            "cni.projectcalico.org/hwAddr": "02:aa:bb:cc:dd:01",
            "kubernetes.io/ingress-bandwidth": "4M", "kubernetes.io/egress-bandwidth": "10M",
        }});
        let pod = Pod::new("web-0", "c1");
        let result = runtime.add(&pod, &capabilities).await.unwrap();
        let device = host_device(&result);
        assert_eq!(result["interfaces"][1]["mac"], "02:aa:bb:cc:dd:01", "the annotation is asked first");
        let neighbours = || ip(&format!("neigh show dev {device} nud permanent"));
        assert!(neighbours().contains("02:aa:bb:cc:dd:01"), "{}", neighbours());
        assert!(run("tc", &format!("qdisc show dev {device}")).1.contains("rate 4Mbit"));
        let within = inside(&pod.namespace, || run("tc", "qdisc show dev eth0").1).await;
        assert!(within.contains("rate 10Mbit"), "{within}");

        // 512 KiB, of which the burst lets pass 128 at once: the rest takes at least 0.7 s at 4 Mbit/s.
        let listener = inside(&pod.namespace, || TcpListener::bind("0.0.0.0:80").unwrap()).await;
        let to = format!("{}:80", addresses(&result)[0]).parse().unwrap();
        let taken = tokio::task::spawn_blocking(move || {
            // Before anything is sent: what is sent may pass while nobody here looks.
            let begun = Instant::now();
            let sender = std::thread::spawn(move || {
                let mut stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
                stream.write_all(&vec![0; 512 << 10]).unwrap();
            });
            let mut stream = listener.accept().unwrap().0;
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 512 << 10);
            sender.join().unwrap();
            begun.elapsed()
        });
        let taken = taken.await.unwrap();
        assert!(taken > Duration::from_millis(600), "512 KiB passed within {taken:?}");

        agent.stop().await;
        let agent = node.agent().await;
        assert_eq!(agent.recovered.living, 1);
        assert!(neighbours().contains("02:aa:bb:cc:dd:01"), "{}", neighbours());
        runtime.check(&pod, &capabilities, &result).await.unwrap();
        runtime.del(&pod, &capabilities, Some(&result)).await.unwrap();
        agent.stop().await;
        node.stop().await;
    });
}
