//! Pods attached to a node by its real CNI socket: what the kernel holds then, and what is left when they go.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

mod agent_kills;
mod chain;
mod conflist;
mod delegate;
mod facts;
mod grants;
mod kills;
mod process;
mod refusals;
mod rig;
mod runtime;
mod spoof;
mod undone;

use std::collections::BTreeSet;

use caracal_agent::cni::release;
use caracal_wait::eventually;
use futures::future::join_all;
use rig::{Node, Pod, addresses, host_device, in_namespace, ip, lines, run};
use serde_json::json;

const POOLS: [(&str, &str, u8); 2] = [("four", "10.244.0.0/16", 26), ("six", "fd00:244::/48", 122)];

#[test]
fn a_pod_and_its_host_hold_exactly_what_is_promised_and_nothing_after_del() {
    in_namespace(|| async {
        let node = Node::new(&POOLS).await;
        let agent = node.agent().await;
        let pod = Pod::new("web-0", "c1");
        let result = agent.add(&pod).await;
        let (device, addresses) = (host_device(&result), addresses(&result));
        let [v4, v6] = &addresses[..] else { panic!("two families: {result}") };
        let mac = result["interfaces"][1]["mac"].as_str().unwrap().to_owned();
        assert_eq!(result["interfaces"][1]["sandbox"], "/run/netns/pod");
        assert_eq!(
            (&result["interfaces"][1]["mtu"], &result["ips"][1]["interface"]),
            (&json!(1450), &json!(1))
        );

        eventually("the pod's link has a carrier", || !pod.ip("link show eth0").contains("NO-CARRIER")).await;
        let link_local = pod.ip("-6 -br addr show dev eth0 scope link");
        let link_local =
            link_local.split_whitespace().find(|word| word.starts_with("fe80")).unwrap().to_owned();
        let inside = lines(&pod.ip("-br addr show dev eth0"))[0].replacen("eth0@if", "", 1);
        assert!(inside.ends_with(&format!("UP {v4}/32 {v6}/128 {link_local}")), "{inside}");
        assert!(pod.ip("link show lo").contains("LOWER_UP"));
        assert_eq!(
            lines(&pod.ip("route show table main")),
            ["169.254.1.1 dev eth0 scope link", "default via 169.254.1.1 dev eth0"]
        );
        let wanted = lines(&format!(
            "{v6} dev eth0 proto kernel metric 256 pref medium\n\
             fe80::/64 dev eth0 proto kernel metric 256 pref medium\n\
             default via fe80::ecee:eeff:feee:eeee dev eth0 metric 1024 pref medium"
        ));
        assert_eq!(lines(&pod.ip("-6 route show table main")), wanted);
        let neighbours = lines(&pod.ip("neigh show nud permanent"));
        let both = ["169.254.1.1", "fe80::ecee:eeff:feee:eeee"];
        let both = both.map(|address| format!("{address} dev eth0 lladdr ee:ee:ee:ee:ee:ee PERMANENT"));
        assert!(both.iter().all(|line| neighbours.contains(line)), "{neighbours:?}");

        assert!(ip(&format!("link show {device}")).contains("ee:ee:ee:ee:ee:ee"));
        assert_eq!(lines(&ip(&format!("route show dev {device}"))), [format!("{v4} proto 67 scope link")]);
        let routes = ip(&format!("-6 route show dev {device}"));
        assert!(routes.contains(&format!("{v6} proto 67 metric 1024")), "{routes}");
        let host = ip(&format!("-6 addr show dev {device}"));
        assert!(host.contains("fe80::ecee:eeff:feee:eeee/64") && !host.contains("tentative"), "{host}");
        let neighbours = ip(&format!("neigh show dev {device}"));
        for address in &addresses {
            assert!(neighbours.contains(&format!("{address} lladdr {mac} ")), "{neighbours}");
        }
        for (setting, value) in [
            ("ipv4/conf/{}/proxy_arp", "1"),
            ("ipv4/neigh/{}/proxy_delay", "0"),
            ("ipv4/conf/{}/forwarding", "1"),
            ("ipv4/conf/{}/route_localnet", "0"),
            ("ipv6/conf/{}/proxy_ndp", "1"),
            ("ipv6/conf/{}/forwarding", "1"),
            ("ipv6/conf/{}/accept_ra", "0"),
            ("ipv6/conf/{}/accept_dad", "0"),
        ] {
            let path = setting.replace("{}", &device);
            let found = caracal_linux::sysctl::read(&format!("net/{path}")).unwrap();
            assert_eq!(found, value, "{path}");
        }
        for address in &addresses {
            eventually("the host reaches the pod", || run("ping", &format!("-c 1 -W 1 {address}")).0).await;
        }
        for own in ["192.0.2.1", "2001:db8::1"] {
            assert!(
                pod.namespace.run(|| run("ping", &format!("-c 1 -W 2 {own}")).0).unwrap(),
                "pod to {own}"
            );
        }

        agent.del(&pod, true).await;
        assert_eq!(lines(&ip("-br link")).len(), 1, "only lo is left");
        assert!(!pod.ip("-br link").contains("eth0"));
        assert_eq!(lines(&ip("route show proto 67")), Vec::<String>::new());
        assert_eq!(agent.attachments().await, 0);
        agent.del(&pod, true).await;
        agent.del(&pod, false).await;
        agent.stop().await;
        node.stop().await;
    });
}

#[test]
fn a_hundred_adds_at_once_give_two_hundred_different_addresses() {
    in_namespace(|| async {
        let node = Node::new(&POOLS).await;
        let agent = node.agent().await;
        let pods: Vec<Pod> = (0..100).map(|n| Pod::new(&format!("p{n}"), &format!("c{n}"))).collect();
        let results = join_all(pods.iter().map(|pod| agent.add(pod))).await;
        let unique: BTreeSet<String> = results.iter().flat_map(addresses).collect();
        assert_eq!(unique.len(), 200);
        assert_eq!(lines(&ip("route show proto 67")).len(), 100);
        join_all(pods.iter().map(|pod| agent.del(pod, false))).await;
        assert_eq!(lines(&ip("-br link")).len(), 1);
        assert_eq!((lines(&ip("route show proto 67")).len(), agent.attachments().await), (0, 0));
        agent.stop().await;
        node.stop().await;
    });
}

#[test]
fn a_second_add_is_refused_and_a_late_del_of_the_old_sandbox_spares_the_new_one() {
    in_namespace(|| async {
        let node = Node::new(&POOLS).await;
        let agent = node.agent().await;
        let old = Pod::new("web-0", "old");
        let first = agent.add(&old).await;
        let device = host_device(&first);
        // The kernel tells of a carrier a little later than there is one, and derives an address then.
        let settled = || {
            let inside = old.ip("addr show dev eth0");
            let both =
                [&ip(&format!("link show {device}")), &inside].iter().all(|end| end.contains("state UP"));
            both && inside.contains("inet6 fe80") && !inside.contains("tentative")
        };
        eventually("both ends have a carrier", settled).await;
        let before = (ip("-br link"), ip("route show"), old.ip("addr show"));
        let (exit, error) = agent.call("ADD", &old, json!({}), true).await;
        assert_eq!((exit, &error["code"]), (1, &json!(103)), "{error}");
        assert_eq!((ip("-br link"), ip("route show"), old.ip("addr show")), before);

        let new = Pod::new("web-0", "new");
        let second = agent.add(&new).await;
        assert_eq!(host_device(&first), host_device(&second), "the name is the pod's");
        let routes = ip("route show proto 67");
        assert!(
            !routes.contains(&addresses(&first)[0]) && routes.contains(&addresses(&second)[0]),
            "{routes}"
        );
        agent.del(&old, true).await;
        assert_eq!(ip("route show proto 67"), routes);
        let (exit, error) = agent.call("CHECK", &new, json!({"prevResult": second}), true).await;
        assert_eq!(exit, 0, "{error}");
        agent.del(&new, true).await;
        assert_eq!(lines(&ip("-br link")).len(), 1);
        agent.stop().await;
        node.stop().await;
    });
}

#[test]
fn check_names_what_is_missing_and_passes_over_what_others_added() {
    in_namespace(|| async {
        let node = Node::new(&POOLS).await;
        let agent = node.agent().await;
        let pod = Pod::new("web-0", "c1");
        let result = agent.add(&pod).await;
        let check = || agent.call("CHECK", &pod, json!({"prevResult": result}), true);
        pod.ip("route add 198.51.100.0/24 via 169.254.1.1 dev eth0");
        pod.ip("addr add 198.51.100.7/32 dev eth0");
        assert_eq!(check().await.0, 0);
        let v4 = &addresses(&result)[0];
        let breaks = [
            ("neigh del 169.254.1.1 dev eth0".to_owned(), "neighbour 169.254.1.1"),
            ("route del default via 169.254.1.1".to_owned(), "0.0.0.0/0"),
            (format!("addr del {v4}/32 dev eth0"), v4),
            ("link del eth0".to_owned(), "device eth0 in the pod is gone"),
        ];
        for (change, named) in breaks {
            pod.ip(&change);
            let (exit, error) = check().await;
            assert_eq!((exit, &error["code"]), (1, &json!(102)));
            assert!(error["msg"].as_str().unwrap().contains(named), "{change}: {error}");
        }
        agent.del(&pod, true).await;
        let (_, error) = check().await;
        assert_eq!(error["code"], 3, "{error}");
        agent.stop().await;
        node.stop().await;
    });
}

#[test]
fn an_exhausted_pool_is_told_by_name_and_leaves_nothing_behind() {
    in_namespace(|| async {
        let node = Node::new(&[("tiny", "10.9.0.0/30", 30), POOLS[1]]).await;
        let agent = node.agent().await;
        let pods: Vec<Pod> = (0..5).map(|n| Pod::new(&format!("p{n}"), &format!("c{n}"))).collect();
        for pod in &pods[..4] {
            agent.add(pod).await;
        }
        let (exit, error) = agent.call("ADD", &pods[4], json!({}), true).await;
        let msg = error["msg"].as_str().unwrap();
        assert!(exit == 1 && msg.contains("tiny") && msg.contains("n1"), "{error}");
        assert!(!pods[4].ip("-br link").contains("eth0"));
        assert_eq!(agent.attachments().await, 4);
        let held = agent.ipam.show().await.blocks.iter().map(|block| block.allocations.len()).sum::<usize>();
        assert_eq!(held, 8, "the other family has addresses enough, and nothing of it stays");
        agent.stop().await;
        node.stop().await;
    });
}

#[test]
fn gc_keeps_what_is_listed_and_a_restart_keeps_what_lives() {
    in_namespace(|| async {
        let node = Node::new(&POOLS).await;
        let agent = node.agent().await;
        let pods: Vec<Pod> = (0..4).map(|n| Pod::new(&format!("p{n}"), &format!("c{n}"))).collect();
        let mut results = Vec::new();
        for pod in &pods {
            results.push(agent.add(pod).await);
        }
        let elsewhere = Pod::new("elsewhere", "c-other");
        let of_another = || json!({"name": "another"});
        assert_eq!(agent.call("ADD", &elsewhere, of_another(), true).await.0, 0);
        let valid = json!([{"containerID": "c0", "ifname": "eth0"}, {"containerID": "c1", "ifname": "eth0"},
                           {"containerID": "c2", "ifname": "eth0"}]);
        let (exit, error) =
            agent.call("GC", &pods[0], json!({"cni.dev/valid-attachments": valid}), false).await;
        assert_eq!(exit, 0, "{error}");
        assert_eq!(agent.attachments().await, 4, "what belongs to another network is left");
        assert_eq!(agent.call("DEL", &elsewhere, of_another(), true).await.0, 0);
        assert_eq!(agent.attachments().await, 3);
        assert_eq!(lines(&ip("route show proto 67")).len(), 3);
        agent.stop().await;

        // While no agent runs, one pod's device goes.
        ip(&format!("link del {}", host_device(&results[2])));
        let agent = node.agent().await;
        assert_eq!((agent.recovered.living, agent.recovered.freed), (2, 1));
        assert_eq!(agent.attachments().await, 2);
        let routes = ip("route show proto 67");
        for result in &results[..2] {
            assert!(routes.contains(&addresses(result)[0]), "{routes}");
            assert!(run("ping", &format!("-c 1 -W 2 {}", addresses(result)[0])).0);
        }
        let next = agent.add(&Pod::new("next", "c9")).await;
        for result in &results[..2] {
            assert_ne!(addresses(result), addresses(&next), "a living pod's address is not given again");
        }
        agent.stop().await;
        node.stop().await;
    });
}

#[test]
fn an_address_is_released_on_demand_only_when_no_device_has_it_any_more() {
    in_namespace(|| async {
        let node = Node::new(&POOLS).await;
        let agent = node.agent().await;
        let pod = Pod::new("web-0", "c1");
        let result = agent.add(&pod).await;
        let (device, address) = (host_device(&result), addresses(&result)[0].parse().unwrap());
        let release = |handle: &'static str| release(&agent.context, address, handle);

        let words = release("net.c1.eth0").await.unwrap_err().to_string();
        assert!(words.contains(&format!("its device {device} is up; delete the pod")), "{words}");
        let words = release("net.c2.eth0").await.unwrap_err().to_string();
        assert!(words.contains("net.c2.eth0 does not hold it on n1; net.c1.eth0 does"), "{words}");
        assert_eq!(agent.attachments().await, 1);

        ip(&format!("link del {device}"));
        let done = release("net.c1.eth0").await.unwrap();
        assert_eq!(done, "attachment net.c1.eth0 had no device any more and was undone");
        assert_eq!(agent.attachments().await, 0, "both families are free");
        assert_eq!(ip(&format!("route show {address}")), "");
        let words = release("net.c1.eth0").await.unwrap_err().to_string();
        assert!(words.contains("nobody does"), "{words}");
        agent.stop().await;
        node.stop().await;
    });
}
