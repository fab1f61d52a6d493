//! What pods get beyond their addresses, where the administrator allows it: prefixes in whose name they may speak, and floating
//! addresses. The agent is the one that is shipped, with its nftables and its speaker.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use caracal_linux::namespace::Namespace;
use caracal_wait::eventually;
use serde_json::{Value, json};

use crate::POOLS;
use crate::process::Process;
use crate::rig::{Node, Pod, addresses, host_device, in_namespace, ip, run};
use crate::runtime::{Runtime, inside};
use crate::spoof::{heard, say, socket};

/// For machines with other work to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// The plugins as the agent configures them, with or without what may be asked for beyond the usual.
fn runtime(agent: &Process, allowed: bool) -> Runtime {
    let mut plugins = agent.plugins();
    plugins[0]["feature_control"] = json!({"floating_ips": allowed, "allowed_source_prefixes": allowed});
    Runtime::new("1.0.0", plugins)
}

fn asking(annotation: &str, values: &[&str]) -> Value {
    json!({"io.kubernetes.cri.pod-annotations": {format!("caracal.dev/{annotation}"): json!(values).to_string()}})
}

fn ruleset() -> String {
    run("nft", "list table inet caracal").1
}

/// What a pod's own stack must have to speak from there.
fn take(pod: &Pod, address: &str) {
    let address: IpAddr = address.parse().unwrap();
    let bits = if address.is_ipv4() { "32" } else { "128 nodad" };
    pod.ip(&format!("addr add {address}/{bits} dev eth0"));
}

/// Whether a word from this address comes through: the one that is sent after it from an address that may speak always does.
async fn comes_through(pod: &Pod, from: &str, own: &str, (ear, to): (&UdpSocket, &str)) -> bool {
    say(&pod.namespace, from, to, "first").await;
    say(&pod.namespace, own, to, "second").await;
    match heard(ear).await {
        word if word == format!("second from {own}") => false,
        word => {
            assert_eq!(word, format!("first from {from}"));
            assert_eq!(heard(ear).await, format!("second from {own}"));
            true
        }
    }
}

#[test]
fn a_pod_speaks_in_the_name_of_the_prefixes_that_it_was_allowed_and_of_no_others() {
    in_namespace(|| async {
        let node = Node::new(&POOLS).await;
        let mut agent = Process::start(&node).await;
        let runtime = runtime(&agent, true);
        let (none, prefixes) = (json!({}), ["198.51.100.0/24", "2001:db8:77::/64"]);
        let (router, ear) = (Pod::new("router", "c1"), Pod::new("ear", "c2"));
        let asks = asking("allowedSourcePrefixes", &prefixes);
        let result = runtime.add(&router, &asks).await.unwrap();
        let to = addresses(&runtime.add(&ear, &none).await.unwrap());
        let plain = Pod::new("plain", "c3");
        let of_plain = addresses(&runtime.add(&plain, &none).await.unwrap());
        eventually("the table says so", || ruleset().contains("198.51.100.0/24")).await;

        let own = addresses(&result);
        let named = [["198.51.100.7", "203.0.113.9"], ["2001:db8:77::7", "2001:db8:78::9"]];
        for [allowed, foreign] in named {
            for address in [allowed, foreign] {
                take(&router, address);
                take(&plain, address);
            }
        }
        let ears: Vec<UdpSocket> = {
            let mut all = Vec::new();
            for address in &to {
                let bound = socket(address, 9999);
                all.push(inside(&ear.namespace, move || UdpSocket::bind(bound).unwrap()).await);
            }
            all
        };
        for pod in [&router, &plain, &ear] {
            eventually("the pod's link has a carrier", || !pod.ip("link show eth0").contains("NO-CARRIER"))
                .await;
        }
        for again in [false, true] {
            if again {
                agent.restart().await;
            }
            for (family, [allowed, foreign]) in named.iter().enumerate() {
                let at = (&ears[family], to[family].as_str());
                assert!(comes_through(&router, allowed, &own[family], at).await, "{allowed}, again: {again}");
                assert!(
                    !comes_through(&router, foreign, &own[family], at).await,
                    "{foreign}, again: {again}"
                );
                for lie in [allowed, foreign] {
                    let lied = comes_through(&plain, lie, &of_plain[family], at).await;
                    assert!(!lied, "a pod without the annotation was heard as {lie}");
                }
            }
        }
        runtime.check(&router, &asks, &result).await.unwrap();

        // The pod's next sandbox asks for nothing, and its last one has not gone yet.
        let next = Pod::new("router", "c4");
        let result = runtime.add(&next, &none).await.unwrap();
        eventually("the table forgets it", || !ruleset().contains("198.51.100.0/24")).await;
        take(&next, "198.51.100.7");
        eventually("the pod's link has a carrier", || !next.ip("link show eth0").contains("NO-CARRIER"))
            .await;
        let at = (&ears[0], to[0].as_str());
        assert!(!comes_through(&next, "198.51.100.7", &addresses(&result)[0], at).await);
        drop(agent);
        node.stop().await;
    });
}

/// A server of a pod, which greets whoever comes and says from where.
async fn serve(pod: &Pod) {
    // IPv4 comes there, too.
    let listener = inside(&pod.namespace, || TcpListener::bind("[::]:80").unwrap()).await;
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let from = stream.peer_addr().unwrap().ip().to_canonical();
            // Whoever asked may have gone.
            stream.write_all(format!("hello {from}").as_bytes()).ok();
        }
    });
}

/// What a server says, if it is reached.
fn greeting(address: &str) -> Option<String> {
    let to = socket(address, 80).parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    Some(said)
}

async fn is_greeted(by: &str, from: Option<&Namespace>, who: &str) {
    let wanted = format!("hello {who}");
    eventually(&format!("{by} greets {who}"), || {
        let said = match from {
            Some(namespace) => namespace.run(|| greeting(by)).unwrap(),
            None => greeting(by),
        };
        said.as_deref() == Some(&wanted)
    })
    .await;
}

#[test]
fn a_floating_address_leads_to_its_pod_from_everywhere_and_goes_with_it() {
    in_namespace(|| async {
        let node = Node::new(&POOLS).await;
        node.pool("floats", json!({"cidr": "10.250.0.0/24", "disabled": true})).await;
        node.pool("floats6", json!({"cidr": "fd00:250::/64", "assignmentMode": "Manual"})).await;
        let mut agent = Process::start(&node).await;
        let runtime = runtime(&agent, true);
        let none = json!({});
        let floating = ["10.250.0.9", "fd00:250::9"];
        let asks = asking("floatingIPs", &floating);
        let (web, other) = (Pod::new("web-0", "c1"), Pod::new("other", "c2"));
        let result = runtime.add(&web, &asks).await.unwrap();
        serve(&web).await;
        let of_other = addresses(&runtime.add(&other, &none).await.unwrap());
        let announced = |agent: &Process, address: &str| {
            agent.ctl(&["bgp", "routes"]).to_string().contains(&format!("{address}/"))
        };
        for again in [false, true] {
            if again {
                agent.restart().await;
                eventually("the agent answers", || agent.answers()).await;
            }
            for (family, address) in floating.iter().enumerate() {
                is_greeted(address, Some(&other.namespace), &of_other[family]).await;
                is_greeted(address, None, ["192.0.2.1", "2001:db8::1"][family]).await;
                // A pod that speaks to itself by it is answered by it.
                is_greeted(address, Some(&web.namespace), address).await;
                eventually(&format!("{address} is announced"), || announced(&agent, address)).await;
            }
        }
        runtime.check(&web, &asks, &result).await.unwrap();

        let table = [
            ("other-1", true, asks.clone(), "leads to attachment"),
            ("other-2", true, asking("floatingIPs", &["10.244.0.77"]), "any pod may get"),
            ("other-3", false, asking("floatingIPs", &["10.250.0.10"]), "--cni-floating-ips"),
        ];
        for (name, allowed, asks, says) in table {
            let runtime = self::runtime(&agent, allowed);
            let refused = runtime.add(&Pod::new(name, name), &asks).await.unwrap_err();
            assert_eq!(refused["said"]["code"], 7, "{refused}");
            assert!(refused["said"]["msg"].as_str().unwrap().contains(says), "{refused}");
        }
        assert_eq!(agent.held().len(), 4, "what was refused holds no address");

        // The pod's next sandbox comes before its last one goes, and takes the address over.
        let next = Pod::new("web-0", "c3");
        let second = runtime.add(&next, &asks).await.unwrap();
        serve(&next).await;
        runtime.del(&web, &none, Some(&result)).await.unwrap();
        is_greeted(floating[0], Some(&other.namespace), &of_other[0]).await;
        runtime.del(&next, &none, Some(&second)).await.unwrap();
        for address in floating {
            eventually("the table forgets it", || !ruleset().contains(address)).await;
            eventually("it is withdrawn", || !announced(&agent, address)).await;
            let device = host_device(&second);
            assert!(!ip("route show").contains(address) && !ip("-6 route show").contains(&device));
        }
        drop(agent);
        node.stop().await;
    });
}
