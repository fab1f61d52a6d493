//! A route collector in few lines: takes sessions from the peers it is given and prints what they announce and withdraw,
//! and what is best of it.
//!
//! ```text
//! cargo run --example route_collector -- 64512 192.0.2.1:1179 65001@192.0.2.2 65002@192.0.2.3
//! ```
//!
//! The first argument is the own AS, the second the address to listen on, whose IPv4 address is also the router id; the
//! others are the peers. Nothing is announced to them: their export policy rejects everything.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use caracal_bgp::policy::Policy;
use caracal_bgp::speaker::Handle;
use caracal_bgp::{Asn, Config, PeerConfig, PeerKey, RouterId};

const USAGE: &str = "usage: route_collector AS LISTEN-ADDRESS:PORT AS@PEER-ADDRESS…";

fn config(arguments: &[String]) -> Result<Config, Box<dyn Error>> {
    let [local_as, listen, peers @ ..] = arguments else { return Err(USAGE.into()) };
    let (local_as, listen): (u32, SocketAddr) = (local_as.parse()?, listen.parse()?);
    let IpAddr::V4(router_id) = listen.ip() else {
        return Err("the address to listen on is the router id: IPv4".into());
    };
    let mut config =
        Config { listen: vec![listen], ..Config::new(Asn(local_as), RouterId::try_from(router_id)?) };
    for peer in peers {
        let (asn, address) = peer.split_once('@').ok_or(USAGE)?;
        let address: IpAddr = address.parse()?;
        let peer = PeerConfig {
            // Who dials is the peers' affair, and how far away they are too.
            passive: true,
            multihop: Some(255),
            export: Arc::new(Policy::reject_all()),
            ..PeerConfig::new(SocketAddr::new(address, listen.port()), Asn(local_as), Asn(asn.parse()?))
        };
        config.peers.insert(PeerKey::from(address), peer);
    }
    Ok(config)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let speaker = Handle::start(config(&arguments)?)?;
    let mut feed = speaker.feed().await?;
    loop {
        for change in feed.pull(1000).await?.changes {
            match change.best {
                None => println!("- {}", change.prefix),
                Some(best) => {
                    let hops: Vec<String> =
                        best.paths.iter().filter_map(|path| Some(path.next_hop?.to_string())).collect();
                    println!("+ {} by {}", change.prefix, hops.join(", "));
                }
            }
        }
    }
}
