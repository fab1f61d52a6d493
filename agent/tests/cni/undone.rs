//! What was left half done: by an ADD that failed, by an agent that was killed amid one, by a DEL that found no agent.

use std::os::fd::{AsFd, AsRawFd};

use caracal_wait::{PATIENCE, eventually, until};
use serde_json::json;

use crate::POOLS;
use crate::rig::{Agent, Node, Pod, addresses, host_device, in_namespace, ip, lines, run};
use crate::runtime::Runtime;

/// Addresses that the allocator counts as in use.
async fn held(agent: &Agent) -> usize {
    agent.ipam.show().await.blocks.iter().map(|block| block.allocations.len()).sum()
}

async fn is_bare(agent: &Agent) {
    assert_eq!((agent.attachments().await, held(agent).await), (0, 0));
    assert_eq!(lines(&ip("-br link")).len(), 1, "{}", ip("-br link"));
    assert_eq!(lines(&ip("route show proto 67 scope link")).len(), 0);
}

#[test]
fn an_add_that_fails_half_way_is_undone_and_says_where() {
    in_namespace(|| async {
        let node = Node::new(&POOLS).await;
        let agent = node.agent().await;
        let pod = Pod::new("web-0", "c1");
        // Addresses are given, the record is kept and both devices are made before the pod's route is refused.
        pod.ip("link add d0 type veth peer name d1");
        pod.ip("link set d1 up");
        pod.ip("link set d0 up");
        pod.ip("route add default dev d0");
        for _ in 0..2 {
            let (exit, error) = agent.call("ADD", &pod, json!({}), true).await;
            assert_eq!((exit, &error["code"]), (1, &json!(101)), "{error}");
            let said = error["msg"].as_str().unwrap();
            assert!(said.contains("web-0") && said.contains("route 0.0.0.0/0"), "{error}");
            is_bare(&agent).await;
            assert!(!pod.ip("-br link").contains("eth0"));
        }
        pod.ip("route del default dev d0");
        agent.add(&pod).await;
        agent.stop().await;
        node.stop().await;
    });
}

#[test]
fn a_half_made_device_gives_way_to_the_pods_next_sandbox_and_to_del() {
    in_namespace(|| async {
        let node = Node::new(&POOLS).await;
        let agent = node.agent().await;
        let first = Pod::new("web-0", "c1");
        let device = host_device(&agent.add(&first).await);
        agent.del(&first, true).await;
        // As an agent leaves it that is killed when the kernel has just made the pair.
        let half_made = |pod: &Pod| {
            let netns = format!("/proc/{}/fd/{}", std::process::id(), pod.namespace.as_fd().as_raw_fd());
            ip(&format!("link add {device} type veth peer name eth0 netns {netns}"));
        };
        // Its namespace lives for as long as the runtime has not given up the sandbox.
        let second = Pod::new("web-0", "c2");
        half_made(&second);
        assert!(ip("-br link").contains(&device));
        let next = Pod::new("web-0", "c3");
        let result = agent.add(&next).await;
        assert_eq!(host_device(&result), device);
        for address in addresses(&result) {
            eventually("the pod is reached", || run("ping", &format!("-c 1 -W 1 {address}")).0).await;
        }
        // A DEL of what nobody knows leaves the device of who has it now.
        agent.del(&second, false).await;
        assert!(ip("-br link").contains(&device));
        agent.del(&next, true).await;

        let last = Pod::new("web-0", "c4");
        half_made(&last);
        assert!(ip("-br link").contains(&device));
        agent.del(&last, false).await;
        is_bare(&agent).await;
        agent.stop().await;
        node.stop().await;
    });
}

#[test]
fn what_was_detached_while_no_agent_answered_is_freed_when_one_does() {
    in_namespace(|| async {
        let node = Node::new(&POOLS).await;
        let agent = node.agent().await;
        let none = json!({});
        let ours = Runtime::new("1.0.0", json!([{"type": "caracal", "socket": agent.socket}]));
        let delegates = Runtime::new(
            "1.0.0",
            json!([{"type": "ptp", "socket": agent.socket, "ipam": {"type": "caracal", "assign_ipv6": false}}]),
        );
        let (pod, of_ptp, stays) = (Pod::new("a", "c1"), Pod::new("b", "c2"), Pod::new("c", "c3"));
        ours.add(&pod, &none).await.unwrap();
        delegates.add(&of_ptp, &none).await.unwrap();
        let kept = ours.add(&stays, &none).await.unwrap();
        let before = held(&agent).await;

        // The plugins find nobody; the agent is there all the while.
        let aside = agent.socket.with_file_name("aside");
        std::fs::rename(&agent.socket, &aside).unwrap();
        ours.del(&pod, &none, None).await.unwrap();
        delegates.del(&of_ptp, &none, None).await.unwrap();
        std::fs::rename(&aside, &agent.socket).unwrap();
        until("what is gone is free", PATIENCE, async || held(&agent).await == before - 3).await;
        let device = host_device(&kept);
        let routes = || lines(&ip("route show proto 67 scope link"));
        eventually("no route is left but that of who stays", || routes().len() == 1).await;
        assert!(routes()[0].contains(&device));
        let left = || caracal_cni::detached::left(agent.socket.parent().unwrap()).unwrap().len();
        eventually("the words are taken away", || left() == 0).await;
        ours.check(&stays, &none, &kept).await.unwrap();

        // With no agent at all; nothing on the host tells that an interface of another plugin is gone.
        delegates.add(&of_ptp, &none).await.unwrap();
        let (folder, before) = (agent.socket.parent().unwrap().to_owned(), held(&agent).await);
        agent.stop().await;
        ours.del(&stays, &none, Some(&kept)).await.unwrap();
        delegates.del(&of_ptp, &none, None).await.unwrap();
        assert_eq!(caracal_cni::detached::left(&folder).unwrap().len(), 2);
        let agent = node.agent().await;
        until("all is free", PATIENCE, async || held(&agent).await == before - 3).await;
        agent.stop().await;
        node.stop().await;
    });
}
