//! What the kernel does to pods that one would not expect, each time beside our guard against it (`docs/datapath.md`).

use caracal_linux::sysctl;
use caracal_wait::eventually;

use super::POOLS;
use crate::rig::{Node, Pod, host_device, in_namespace, ip, run};

/// Whether the pod reaches its node's address, with an ARP request or neighbour solicitation where it has to ask.
fn reaches_its_node(pod: &Pod, to: &str) -> bool {
    pod.namespace.run(|| run("ping", &format!("-c 1 -W 1 {to}")).0).unwrap()
}

#[test]
fn proxy_arp_answers_for_nothing_that_the_node_has_no_route_to_and_pods_do_not_ask() {
    in_namespace(|| async {
        let node = Node::new(&POOLS).await;
        let agent = node.agent().await;
        let pod = Pod::new("web-0", "c1");
        agent.add(&pod).await;
        assert!(!ip("route show").contains("default"), "this node is to have no default route");
        eventually("the pod reaches its node", || reaches_its_node(&pod, "192.0.2.1")).await;
        eventually("and by IPv6", || reaches_its_node(&pod, "2001:db8::1")).await;

        // Without its permanent neighbour it has to ask for its gateway, and the node does not answer.
        pod.ip("neigh del 169.254.1.1 dev eth0");
        assert!(!reaches_its_node(&pod, "192.0.2.1"), "the kernel answers now for what it has no route to");
        // With a route of any kind to it, it does: pods that flush their tables go on where there is a default route.
        ip("route add 169.254.1.1/32 dev lo");
        eventually("the node answers", || reaches_its_node(&pod, "192.0.2.1")).await;
        agent.stop().await;
        node.stop().await;
    });
}

#[test]
fn a_host_may_forbid_derived_link_local_addresses_and_pods_have_their_gateway_all_the_same() {
    in_namespace(|| async {
        // As NetworkManager and some images set it for every new device.
        sysctl::write("net/ipv6/conf/default/addr_gen_mode", "1").unwrap();
        ip("link add probe type veth peer name other");
        ip("link set probe up");
        ip("link set other up");
        assert_eq!(ip("-6 addr show dev probe"), "", "the kernel derives one all the same");

        let node = Node::new(&POOLS).await;
        let agent = node.agent().await;
        let pod = Pod::new("web-0", "c1");
        let result = agent.add(&pod).await;
        let addresses = ip(&format!("-6 addr show dev {}", host_device(&result)));
        assert!(addresses.contains("fe80::ecee:eeff:feee:eeee/64"), "{addresses}");
        eventually("the pod reaches its node", || reaches_its_node(&pod, "2001:db8::1")).await;
        agent.stop().await;
        node.stop().await;
    });
}
