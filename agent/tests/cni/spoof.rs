//! A pod that speaks with addresses that are not its own: nothing of it comes through, by IPv4, IPv6, ARP or neighbour
//! discovery.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::Duration;

use caracal_agent::desired::filter::filter;
use caracal_agent::desired::surroundings::Surroundings;
use caracal_linux::namespace::Namespace;
use caracal_linux::nft::Nftables;
use caracal_wait::eventually;

use crate::POOLS;
use crate::rig::{Node, Pod, addresses, host_device, in_namespace, ip};
use crate::runtime::inside;

/// Sends one word from an address; a pod's own stack must have it.
pub(crate) async fn say(namespace: &Namespace, from: &str, to: &str, word: &'static str) {
    let (from, to) = (socket(from, 0), socket(to, 9999));
    inside(namespace, move || {
        let socket = UdpSocket::bind(&from).unwrap_or_else(|error| panic!("binding {from}: {error}"));
        socket.send_to(word.as_bytes(), &to).unwrap_or_else(|error| panic!("sending to {to}: {error}"));
    })
    .await;
}

pub(crate) fn socket(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// What is heard next.
pub(crate) async fn heard(socket: &UdpSocket) -> String {
    let socket = socket.try_clone().unwrap();
    let heard = tokio::task::spawn_blocking(move || {
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut buffer = [0; 64];
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        format!("{} from {}", String::from_utf8_lossy(&buffer[..length]), from.ip())
    });
    heard.await.unwrap()
}

#[test]
fn a_pod_is_heard_by_its_own_addresses_only() {
    in_namespace(|| async {
        let node = Node::new(&POOLS).await;
        let agent = node.agent().await;
        // What the agent wants of nftables, as it wants it.
        let nftables = Nftables::start(None).unwrap();
        let table = filter(
            &Default::default(),
            &Surroundings::default(),
            &BTreeSet::new(),
            &Default::default(),
            &[],
            true,
        );
        nftables.want(table).await.unwrap();
        for device in ["all", "default"] {
            caracal_linux::sysctl::write(&format!("net/ipv4/conf/{device}/forwarding"), "1").unwrap();
            caracal_linux::sysctl::write(&format!("net/ipv6/conf/{device}/forwarding"), "1").unwrap();
        }
        let (liar, victim, listener) =
            (Pod::new("liar", "c1"), Pod::new("victim", "c2"), Pod::new("ear", "c3"));
        let result = agent.add(&liar).await;
        let (own, device) = (addresses(&result), host_device(&result));
        let victims = addresses(&agent.add(&victim).await);
        let ears = addresses(&agent.add(&listener).await);
        let nodes = ["192.0.2.1", "2001:db8::1"];
        let nowhere = ["198.51.100.9", "2001:db8:9::9"];
        for family in 0..2 {
            let gateway = ["169.254.1.1", "fe80::ecee:eeff:feee:eeee"][family];
            let bits = ["32", "128 nodad"][family];
            let at_host = UdpSocket::bind(socket(nodes[family], 9999)).unwrap();
            let bound = socket(&ears[family], 9999);
            let in_pod = inside(&listener.namespace, move || UdpSocket::bind(bound).unwrap()).await;
            for (target, ear) in [(nodes[family], &at_host), (ears[family].as_str(), &in_pod)] {
                // Until the link carries, packets of any address are lost.
                eventually("the pod's link has a carrier", || {
                    !liar.ip("link show eth0").contains("NO-CARRIER")
                })
                .await;
                for lie in [victims[family].as_str(), nodes[family], nowhere[family]] {
                    if lie == target {
                        continue;
                    }
                    liar.ip(&format!("addr add {lie}/{bits} dev eth0"));
                    say(&liar.namespace, lie, target, "a lie").await;
                    // Packets of one device stay in order: what is heard first tells whether the lie came through.
                    say(&liar.namespace, &own[family], target, "the truth").await;
                    assert_eq!(
                        heard(ear).await,
                        format!("the truth from {}", own[family]),
                        "after {lie} to {target}"
                    );

                    // Asking for the gateway in another's name.
                    liar.ip(&format!("neigh del {gateway} dev eth0"));
                    say(&liar.namespace, lie, target, "a lie").await;
                    liar.ip(&format!(
                        "neigh replace {gateway} lladdr ee:ee:ee:ee:ee:ee nud permanent dev eth0"
                    ));
                    say(&liar.namespace, &own[family], target, "the truth").await;
                    assert_eq!(
                        heard(ear).await,
                        format!("the truth from {}", own[family]),
                        "asking as {lie}"
                    );
                    let neighbours = ip(&format!("neigh show dev {device}"));
                    assert!(!neighbours.contains(&format!("{lie} ")), "{neighbours}");
                    liar.ip(&format!("addr del {lie}/{} dev eth0", bits.split(' ').next().unwrap()));
                }
            }
        }
        agent.stop().await;
        node.stop().await;
    });
}
