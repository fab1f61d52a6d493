//! Pods that ask for what they cannot get: the error says why, and so does an Event on the pod.

use caracal_wait::{PATIENCE, until};
use serde_json::{Value, json};

use crate::POOLS;
use crate::rig::{Agent, Node, Pod, addresses, in_namespace};

/// ADD of a pod with one annotation.
async fn add(agent: &Agent, pod: &Pod, annotation: &str, value: &str) -> (u8, Value) {
    let annotations = json!({format!("caracal.dev/{annotation}"): value});
    let runtime = json!({"io.kubernetes.cri.pod-annotations": annotations});
    let extra = json!({"ipam": {"assign_ipv6": false}, "runtimeConfig": runtime});
    agent.call("ADD", pod, extra, true).await
}

/// What the controller finds against a pool that came too late.
const OVERLAP: &str = "10.244.0.0/17 overlaps pool four (10.244.0.0/16), which is older";

/// Pools of which none serves, a reservation, and another node's block.
async fn cluster_with_traps(node: &Node) {
    node.pool("off", json!({"cidr": "10.98.0.0/24", "blockSize": 28, "disabled": true})).await;
    node.pool("tiny", json!({"cidr": "10.99.0.0/30", "blockSize": 30, "assignmentMode": "Manual"})).await;
    node.create("caracal.dev", "IPReservation", "kept", json!({"reservedCIDRs": ["10.244.77.0/24"]})).await;
    node.pool("rack", json!({"cidr": "10.97.0.0/24", "nodeSelector": "rack == 'z'"})).await;
    let late = json!({"cidr": "10.244.0.0/17"});
    node.judged_pool("late", late, ("False", "CIDROverlap", OVERLAP)).await;
    let owner = json!({"kind": "Node", "name": "n9", "nodeUID": "u9"});
    let block = json!({"cidr": "10.244.200.0/26", "pool": "four", "poolUID": "u", "owner": owner});
    node.create("caracal.dev", "IPAMBlock", "10-244-200-0-26", block).await;
}

#[test]
fn bad_input_is_told_by_the_error_and_as_an_event_on_the_pod() {
    in_namespace(|| async {
        let node = Node::new(&POOLS).await;
        cluster_with_traps(&node).await;
        let agent = node.agent().await;
        let first = Pod::new("first", "first");
        let taken = addresses(&agent.add(&first).await)[0].clone();
        for number in 0..4 {
            let name = format!("tiny-{number}");
            let (exit, result) = add(&agent, &Pod::new(&name, &name), "ipv4pools", r#"["tiny"]"#).await;
            assert_eq!(exit, 0, "{result}");
        }
        let held = agent.attachments().await;
        let taken_by = format!(r#"["{taken}"]"#);
        let another = "Ask for another address";
        // Annotation, its value, the reason, and what the words name: pool, block, address, node, holder, remedy.
        let table: [(&str, &str, &str, &[&str]); 10] = [
            (
                "ipv4pools",
                r#"["nowhere"]"#,
                "PoolNotFound",
                &["nowhere", "node n1", "Correct the annotation"],
            ),
            ("ipv4pools", r#"["off"]"#, "NoPool", &["pool off", "disabled", "node n1", "Change the pool"]),
            ("ipv4pools", r#"["tiny"]"#, "PoolsClosed", &["pool tiny", "node n1", "Add an IPPool"]),
            ("ipv4pools", r#"["late"]"#, "NoPool", &["pool late", OVERLAP, "node n1", "Change the pool"]),
            (
                "ipAddrs",
                r#"["10.97.0.5"]"#,
                "AddressNotServed",
                &["pool rack", "rack == 'z'", "node n1", another],
            ),
            (
                "ipAddrs",
                r#"["203.0.113.9"]"#,
                "AddressNotServed",
                &["203.0.113.9", "no IPPool", "node n1", another],
            ),
            (
                "ipAddrs",
                r#"["10.244.77.7"]"#,
                "AddressNotServed",
                &["10.244.77.7", "IPReservation", "node n1", another],
            ),
            (
                "ipAddrs",
                &taken_by,
                "AddressTaken",
                &[
                    &taken,
                    "pool four",
                    "node n1",
                    "pod default/first (net.first.eth0)",
                    "block 10-244-",
                    "Free it",
                ],
            ),
            (
                "ipAddrs",
                r#"["10.244.200.7"]"#,
                "AddressElsewhere",
                &["pool four", "node n1", "block 10-244-200-0-26", "node n9", "Run the pod there"],
            ),
            ("ipAddrs", "10.244.0.9", "BadRequest", &["ipAddrs", "10.244.0.9", "must be a JSON list"]),
        ];
        for (number, (annotation, value, reason, named)) in table.into_iter().enumerate() {
            let name = format!("bad-{number}");
            let pod = Pod::new(&name, &name);
            let (exit, error) = add(&agent, &pod, annotation, value).await;
            assert_eq!((exit, error["details"].as_str()), (1, Some(reason)), "{value}: {error}");
            let said = error["msg"].as_str().unwrap();
            assert!(named.iter().all(|word| said.contains(word)), "{named:?}: {said}");
            let told = (reason.to_owned(), said.to_owned());
            let events = async || node.events_of(&name).await;
            until(&format!("an Event on {name}"), PATIENCE, async || !events().await.is_empty()).await;
            assert_eq!(events().await[0], told);
        }
        assert_eq!(agent.attachments().await, held, "nothing stays of what was refused");
        agent.stop().await;
        node.stop().await;
    });
}
