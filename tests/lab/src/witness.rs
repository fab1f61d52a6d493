//! The witness: a TCP server on the outside host that tells whoever connects which address it sees. Where a pool says
//! `natOutgoing`, that must be the node's address, not the pod's.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use ipnetwork::IpNetwork;
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};

use crate::lab::Lab;
use crate::netns::Netns;
use crate::pod::Pod;

/// Where it listens, in both families.
pub const PORT: u16 = 8080;
/// For one question.
const PATIENCE: Duration = Duration::from_secs(3);
/// Pods that ask at a time.
const AT_ONCE: usize = 8;

/// What the outside saw of one pod in one family.
#[derive(Debug, Clone, Serialize)]
pub struct Sight {
    /// The pod.
    pub pod: String,
    /// Its own address.
    pub address: IpAddr,
    /// What the outside should see.
    pub expected: IpAddr,
    /// What it saw.
    pub seen: Option<IpAddr>,
    /// Why it saw nothing.
    pub failure: Option<String>,
}

impl Sight {
    /// Whether the outside saw what it should.
    pub fn is_right(&self) -> bool {
        self.seen == Some(self.expected)
    }

    /// One line for messages.
    pub fn in_words(&self) -> String {
        let Self { pod, address, expected, .. } = self;
        match (&self.seen, &self.failure) {
            (Some(seen), _) => format!("outside sees {pod} ({address}) as {seen}, not as {expected}"),
            (None, why) => {
                let why = why.as_deref().unwrap_or("for no reason told");
                format!("{pod} ({address}) does not reach the outside: {why}")
            }
        }
    }
}

/// Starts the server; it ends with the lab.
pub(crate) async fn start(outside: &Netns) -> anyhow::Result<()> {
    outside
        .on_a_thread(|| {
            let listener = listen().with_context(|| format!("listening on port {PORT}"))?;
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    // One that went away does not want to know.
                    stream.and_then(answer).ok();
                }
            });
            Ok(())
        })
        .await
}

/// One socket for both families.
fn listen() -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), PORT).into())?;
    socket.listen(64)?;
    Ok(socket.into())
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let peer = stream.peer_addr()?.ip().to_canonical();
    stream.set_write_timeout(Some(PATIENCE))?;
    writeln!(stream, "{peer}")
}

/// Asks from inside a namespace which address the outside sees.
pub async fn ask(from: &Netns, outside: IpAddr) -> anyhow::Result<IpAddr> {
    from.on_a_thread(move || {
        let server = SocketAddr::new(outside, PORT);
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE)
            .with_context(|| format!("connecting to {server}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut text = String::new();
        stream.read_to_string(&mut text).with_context(|| format!("reading from {server}"))?;
        text.trim().parse().with_context(|| format!("{server} said `{}`", text.trim()))
    })
    .await
}

/// Has every pod that the outside can answer ask. It cannot answer a pod that is not masqueraded, unless the routers
/// know the way back.
pub async fn ask_from_all(lab: &Lab) -> anyhow::Result<Vec<Sight>> {
    let mut questions = Vec::new();
    for pod in lab.pods() {
        for address in pod.addresses() {
            let outside = lab.outside().address(address.is_ipv6());
            let outside =
                outside.with_context(|| format!("the outside host has no address like {address}"))?;
            if let Some(expected) = expected(lab, pod, *address)? {
                questions.push((pod, *address, outside, expected));
            }
        }
    }
    let asked = stream::iter(questions).map(|(pod, address, outside, expected)| async move {
        let (seen, failure) = match ask(pod.netns(), outside).await {
            Ok(seen) => (Some(seen), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        anyhow::Ok(Sight { pod: pod.name().to_owned(), address, expected, seen, failure })
    });
    asked.buffered(AT_ONCE).try_collect().await
}

/// What the outside should see of a pod; nothing where it sees nothing.
fn expected(lab: &Lab, pod: &Pod, address: IpAddr) -> anyhow::Result<Option<IpAddr>> {
    let pools = &lab.topology().pools;
    let pool = pools.iter().find(|pool| pool.cidr.contains(address));
    let pool = pool.with_context(|| format!("{address} of {} is in no pool", pod.name()))?;
    if pool.nat_outgoing {
        let node = lab.node(pod.node())?.machine();
        let found =
            node.addresses().iter().map(IpNetwork::ip).find(|node| node.is_ipv4() == address.is_ipv4());
        return found.map(Some).with_context(|| format!("{} has no address like {address}", node.name()));
    }
    let known = lab.topology().design.tells_routers();
    Ok(known.then_some(address))
}
