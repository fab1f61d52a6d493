//! Removing devices, many at a time.
//!
//! For each request that removes a device the kernel waits until no processor uses it any more, holding the lock of all links and
//! routes meanwhile: fifty removals are fifty such waits, and whoever wants to make a device waits among them. For all devices of
//! one group (`IFLA_GROUP`) it waits once. So those that are to go while a removal is under way are put into [`DOOMED`] together,
//! and the group is removed.
//!
//! A device is named by its number: what took its name meanwhile is not meant. Nobody else's device may be in the group, which is
//! looked at each time after it was filled: if another one is there, and whenever the kernel refuses the group, devices go one by
//! one. What a run that was killed left there is taken out of it when the next one begins ([`Removal::start`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::thread;

use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use crate::netlink::batch::{Failure, Request, Writer};
use crate::netlink::error::{Error, Refused};

/// The group of devices that are about to go: "cara", a number that no one else is likely to use.
pub const DOOMED: u32 = 0x6361_7261;
/// The group in which every device is born.
const DEFAULT: u32 = 0;
/// How many may go together: while they go, the kernel changes no other link.
const MOST: usize = 64;
/// Further ones wait at their callers.
const QUEUE: usize = 256;

/// One device that is to go, and who waits for it.
struct Order {
    index: u32,
    outcome: oneshot::Sender<Result<bool, Error>>,
}

/// Removes devices in one namespace, on a thread of its own, which ends with the last clone of this.
#[derive(Clone)]
pub struct Removal {
    orders: mpsc::Sender<Order>,
}

impl fmt::Debug for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Removal")
    }
}

impl Removal {
    /// Works in the namespace of the calling thread, where nobody else may do so.
    ///
    /// # Errors
    /// When there is no socket, or no thread.
    pub fn start() -> Result<Self, Error> {
        let failed =
            |source| Error::Socket { doing: "opening the socket that removes devices".to_owned(), source };
        let mut remover = Remover { writer: Writer::open().map_err(failed)? };
        let left: Vec<u32> = remover.doomed()?.into_iter().collect();
        if !left.is_empty() {
            warn!(devices = left.len(), "their removal was cut off: they stay until they are removed again");
            remover.set_group(&left, DEFAULT)?;
        }
        let (orders, taken) = mpsc::channel(QUEUE);
        thread::Builder::new()
            .name("removal".to_owned())
            .spawn(move || remover.run(taken))
            .map_err(failed)?;
        Ok(Self { orders })
    }

    /// Removes the device of this number, and with it its other end; false if there was none.
    ///
    /// # Errors
    /// When the kernel refuses, or does not answer: it may be there or not.
    pub async fn remove(&self, index: u32) -> Result<bool, Error> {
        let ended = || Error::Socket { doing: doing(index), source: io::ErrorKind::NotConnected.into() };
        let (outcome, answer) = oneshot::channel();
        self.orders.send(Order { index, outcome }).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

fn doing(index: u32) -> String {
    format!("removing device {index}")
}

struct Remover {
    writer: Writer,
}

impl Remover {
    fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut waiting = Vec::new();
        while orders.blocking_recv_many(&mut waiting, MOST) > 0 {
            let indexes: BTreeSet<u32> = waiting.iter().map(|order| order.index).collect();
            let mut results = match self.remove(&indexes) {
                Ok(results) => results,
                Err(error) => {
                    warn!(%error, devices = indexes.len(), "removing devices");
                    BTreeMap::new()
                }
            };
            for Order { index, outcome } in waiting.drain(..) {
                let unknown = || Err(Error::Overrun { doing: doing(index) });
                // Whoever asked may have gone.
                outcome.send(results.remove(&index).unwrap_or_else(unknown)).ok();
            }
        }
    }

    /// What came of each.
    fn remove(&mut self, indexes: &BTreeSet<u32>) -> Result<BTreeMap<u32, Result<bool, Error>>, Error> {
        let list: Vec<u32> = indexes.iter().copied().collect();
        if let [_] = list[..] {
            return self.one_by_one(&list);
        }
        let put = self.set_group(&list, DOOMED)?;
        let there: BTreeSet<u32> =
            put.iter().filter(|(_, result)| result.is_ok()).map(|(index, _)| *index).collect();
        match self.doomed() {
            // One that goes by itself between the two is out of both.
            Ok(found) if found.is_subset(&there) => {
                if !found.is_empty() && self.group()? {
                    debug!(devices = found.len(), "removed together");
                    // What could not be put into the group is tried by itself, and tells why.
                    let rest: Vec<u32> = list.into_iter().filter(|index| !there.contains(index)).collect();
                    let mut results = self.one_by_one(&rest)?;
                    results.extend(there.iter().map(|index| (*index, Ok(found.contains(index)))));
                    return Ok(results);
                }
            }
            Ok(found) => {
                let others = found.difference(&there).count();
                warn!(
                    others,
                    group = DOOMED,
                    "devices that are to stay are in the group of those that go: one by one"
                );
            }
            Err(error) => debug!(%error, "who else is in the group is not known: one by one"),
        }
        let results = self.one_by_one(&list)?;
        let stay: Vec<u32> =
            results.iter().filter(|(_, result)| result.is_err()).map(|(index, _)| *index).collect();
        if !stay.is_empty() {
            self.set_group(&stay, DEFAULT)?;
        }
        Ok(results)
    }

    /// Removes the whole group; whether the kernel did.
    fn group(&mut self) -> Result<bool, Error> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::Group(DOOMED));
        let results = self.perform(vec![RouteNetlinkMessage::DelLink(message)])?;
        Ok(match results.into_iter().next() {
            Some(Ok(())) => true,
            Some(Err(Failure::Refused(refused))) => {
                debug!(refused = refused.words(), "the kernel does not remove devices by their group");
                false
            }
            // One by one it is known of each.
            Some(Err(Failure::NoAnswer)) | None => false,
        })
    }

    fn one_by_one(&mut self, indexes: &[u32]) -> Result<BTreeMap<u32, Result<bool, Error>>, Error> {
        let request = |index: &u32| {
            let mut message = LinkMessage::default();
            message.header.index = *index;
            RouteNetlinkMessage::DelLink(message)
        };
        let results = self.perform(indexes.iter().map(request).collect())?;
        let verdict = |(index, result): (&u32, Result<(), Failure>)| {
            let doing = doing(*index);
            let result = match result {
                Ok(()) => Ok(true),
                Err(Failure::Refused(Refused { errno: libc::ENODEV, .. })) => Ok(false),
                Err(Failure::Refused(refused)) => Err(Error::Refused { doing, refused }),
                Err(Failure::NoAnswer) => Err(Error::Overrun { doing }),
            };
            (*index, result)
        };
        Ok(indexes.iter().zip(results).map(verdict).collect())
    }

    /// Puts devices into a group, all in one datagram; what came of each.
    fn set_group(
        &mut self,
        indexes: &[u32],
        group: u32,
    ) -> Result<BTreeMap<u32, Result<(), Failure>>, Error> {
        let request = |index: &u32| {
            let mut message = LinkMessage::default();
            message.header.index = *index;
            message.attributes.push(LinkAttribute::Group(group));
            RouteNetlinkMessage::SetLink(message)
        };
        let results = self.perform(indexes.iter().map(request).collect())?;
        Ok(indexes.iter().copied().zip(results).collect())
    }

    /// The devices in the group now.
    fn doomed(&mut self) -> Result<BTreeSet<u32>, Error> {
        let mut query = LinkMessage::default();
        query.header.interface_family = AddressFamily::Unspec;
        query.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let listed = self.writer.list(
            "listing the devices to be removed",
            &RouteNetlinkMessage::GetLink(query),
            |found| match found {
                RouteNetlinkMessage::NewLink(link) => {
                    let doomed =
                        |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::Group(DOOMED));
                    link.attributes.iter().any(doomed).then_some(link.header.index)
                }
                _ => None,
            },
        );
        Ok(listed?.into_iter().collect())
    }

    fn perform(&mut self, messages: Vec<RouteNetlinkMessage>) -> Result<Vec<Result<(), Failure>>, Error> {
        let requests = messages.into_iter().map(|message| Request { message, flags: 0 }).collect();
        let doing = || "removing devices".to_owned();
        self.writer.perform(requests).map_err(|source| Error::Socket { doing: doing(), source })
    }
}
