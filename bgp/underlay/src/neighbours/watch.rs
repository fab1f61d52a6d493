//! The tasks that look for neighbours: one a device, as long as a peer is known by it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use caracal_bgp::Interface;
use caracal_linux::kernel::Underlay;
use caracal_linux::object::link::{IfName, Mac};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep_until;

use super::link::{Action, Event, Link, Sight};
use super::message::Message;
use super::socket::NeighbourSocket;

/// How often a socket is tried that could not be had.
const RETRY: Duration = Duration::from_secs(5);

/// What is known of the neighbours on each device.
pub type Sightings = BTreeMap<Interface, Sighting>;

/// What is known of the neighbours on one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// Nobody can be seen, for this reason.
    Blind(Arc<str>),
    /// These are.
    Seen(Sight),
}

/// Looks for neighbours on the devices it is told to. With it, all of that ends.
#[derive(Debug)]
pub struct Neighbours {
    underlay: watch::Receiver<Arc<Underlay>>,
    told: Arc<watch::Sender<Arc<Sightings>>>,
    tasks: BTreeMap<Interface, JoinHandle<()>>,
}

impl Neighbours {
    /// One that looks nowhere yet; `underlay` says which devices there are.
    pub fn new(underlay: watch::Receiver<Arc<Underlay>>) -> Self {
        Neighbours { underlay, told: Arc::default(), tasks: BTreeMap::new() }
    }

    /// What is seen, whenever that changes.
    pub fn sightings(&self) -> watch::Receiver<Arc<Sightings>> {
        self.told.subscribe()
    }

    /// Looks on these devices and on no others.
    ///
    /// Must be called on a tokio runtime.
    pub fn look(&mut self, interfaces: &BTreeSet<Interface>) {
        self.tasks.retain(|interface, task| {
            let wanted = interfaces.contains(interface);
            if !wanted {
                task.abort();
                tell(&self.told, *interface, None);
            }
            wanted
        });
        for interface in interfaces {
            self.tasks.entry(*interface).or_insert_with(|| {
                tokio::spawn(run(*interface, self.underlay.clone(), Arc::clone(&self.told)))
            });
        }
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        self.tasks.values().for_each(JoinHandle::abort);
    }
}

fn tell(told: &watch::Sender<Arc<Sightings>>, interface: Interface, news: Option<Sighting>) {
    told.send_if_modified(|all| {
        let changed = all.get(&interface) != news.as_ref();
        if changed {
            let all = Arc::make_mut(all);
            match news {
                Some(news) => drop(all.insert(interface, news)),
                None => drop(all.remove(&interface)),
            }
        }
        changed
    });
}

/// A device by which packets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Passage {
    device: IfName,
    index: u32,
    mac: Option<Mac>,
    own: Ipv6Addr,
}

/// The device, if packets pass by it, else why they do not.
fn passage(interface: Interface, underlay: &Underlay) -> Result<Passage, String> {
    let device = IfName::new(interface.as_str()).map_err(|error| error.to_string())?;
    let wait = |what: &str| format!("waiting for device {interface}, which {what}");
    let link = underlay.link(&device).ok_or_else(|| wait("is not there"))?;
    if !link.up {
        return Err(wait("is down"));
    }
    if !link.carrier {
        return Err(wait("has no carrier"));
    }
    let own = underlay.addresses_of(&device).filter(|address| !address.tentative);
    let own = own.filter_map(|address| match address.network.ip() {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Some(ip),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    });
    let own =
        own.min().ok_or_else(|| wait("has no link-local address, or is not yet sure that it is its own"))?;
    Ok(Passage { device, index: link.index, mac: link.mac, own })
}

async fn run(
    interface: Interface,
    mut underlay: watch::Receiver<Arc<Underlay>>,
    told: Arc<watch::Sender<Arc<Sightings>>>,
) {
    let mut link = Link::new(rand::random());
    let mut socket: Option<NeighbourSocket> = None;
    loop {
        let around = passage(interface, &underlay.borrow_and_update().clone());
        let mut retry = None;
        let seen = match around {
            Err(why) => {
                socket = None;
                on(&mut link, Event::Down, None);
                Sighting::Blind(why.into())
            }
            Ok(passage) => {
                // A new device of the same name is another link.
                if socket.as_ref().is_some_and(|socket| socket.index() != passage.index) {
                    socket = None;
                    on(&mut link, Event::Down, None);
                }
                match socket.take().map_or_else(|| open(&passage), Ok) {
                    Ok(open) => {
                        on(&mut link, Event::Up(passage.own), Some(&open));
                        socket = Some(open);
                        Sighting::Seen(link.sight())
                    }
                    Err(why) => {
                        retry = Some(Instant::now() + RETRY);
                        Sighting::Blind(why.into())
                    }
                }
            }
        };
        tell(&told, interface, Some(seen));
        let event = tokio::select! {
            changed = underlay.changed() => match changed {
                Ok(()) => None,
                Err(_) => return,
            },
            heard = hear(socket.as_ref()) => match heard {
                Ok((message, from)) => Some(Event::Heard(message, from)),
                Err(error) => {
                    tracing::debug!(%interface, %error, "hearing neighbours failed: the socket is made anew");
                    socket = None;
                    None
                }
            },
            () = until(link.deadline().into_iter().chain(retry).min()) => Some(Event::Tick),
        };
        if let Some(event) = event {
            on(&mut link, event, socket.as_ref());
        }
    }
}

fn open(passage: &Passage) -> Result<NeighbourSocket, String> {
    NeighbourSocket::open(passage.device, passage.index, passage.mac).map_err(|error| error.to_string())
}

/// Gives an event to the machine and says what it says.
fn on(link: &mut Link, event: Event, socket: Option<&NeighbourSocket>) {
    let mut actions: Vec<Action> = Vec::new();
    link.on(Instant::now(), event, &mut actions);
    for action in actions {
        // A device that is about to go, or full: the next time is soon.
        if let Some(Err(error)) = socket.map(|socket| socket.say(action)) {
            tracing::debug!(?action, %error, "something could not be said to neighbours");
        }
    }
}

async fn hear(socket: Option<&NeighbourSocket>) -> std::io::Result<(Message, Ipv6Addr)> {
    match socket {
        Some(socket) => socket.hear().await,
        None => pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}
