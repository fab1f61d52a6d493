//! Listings: everything at the start, after lost events, and as a slow backstop; one device when it may have lost routes
//! without a word.
//!
//! The kernel tells of IPv4 routes that go with their device, its last address or its being up by no event at all, so these
//! are occasions to list what we have on that device.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use netlink_packet_route::neighbour::NeighbourMessage;
use tracing::{debug, warn};

use crate::kernel::keeper::Keeper;
use crate::netlink::Error;
use crate::object::address::Address;
use crate::object::link::{IfName, Link};
use crate::object::neighbour::SeenNeighbour;
use crate::object::route::{Family, Route, RouteKey, TABLE_MAIN, message};
use crate::table::Owner;

/// Between two full listings lies at least this, and ten times what the last one took: a host that changes faster than we
/// can list shall not keep us listing.
const REST: Duration = Duration::from_millis(100);

/// Between two searches for the owner of a route in our way.
const LOOKUP_REST: Duration = Duration::from_secs(1);

/// Routes as they were listed.
type Listed = Vec<(RouteKey, Route)>;

/// What has to be listed, and when.
pub(super) struct Due {
    backstop: Duration,
    next_backstop: Instant,
    /// Events were lost.
    lost: bool,
    /// Not before this.
    rested: Instant,
    devices: BTreeSet<IfName>,
    /// Devices to be listed once more, and when.
    again: BTreeMap<IfName, Instant>,
    lookup_rested: Instant,
}

impl Due {
    pub(super) fn new(backstop: Duration) -> Self {
        let now = Instant::now();
        Self {
            backstop,
            next_backstop: now + backstop,
            lost: false,
            rested: now,
            devices: BTreeSet::new(),
            again: BTreeMap::new(),
            lookup_rested: now,
        }
    }

    /// Events were lost, or meanings changed: list everything.
    pub(super) fn everything(&mut self) {
        self.lost = true;
    }

    /// This device may have lost routes.
    pub(super) fn device(&mut self, device: IfName) {
        self.devices.insert(device);
    }

    /// This device has gone down. The kernel says so before it takes the routes away, and lists without a lock: what is listed
    /// at once may be gone a moment later.
    pub(super) fn fallen(&mut self, device: IfName) {
        self.devices.insert(device);
        self.again.insert(device, Instant::now() + REST);
    }

    /// When to list even if nothing happens.
    pub(super) fn deadline(&self) -> Instant {
        self.again.values().copied().chain([self.full()]).min().unwrap_or(self.next_backstop)
    }

    /// When to list everything.
    fn full(&self) -> Instant {
        if self.lost { self.rested } else { self.next_backstop }
    }
}

impl Keeper {
    /// Lists what is due; true if anything was.
    pub(super) fn resync_due(&mut self, now: Instant) -> Result<bool, Error> {
        if now >= self.due.full() {
            // A listing that keeps changing is put off, not fatal.
            return match self.resync_all(now) {
                Ok(()) => Ok(true),
                Err(error @ (Error::Socket { .. } | Error::Refused { .. })) => Err(error),
                Err(error) => {
                    warn!(%error, "listing what is in the kernel failed; trying again");
                    self.due.lost = true;
                    self.due.rested = Instant::now() + LOOKUP_REST;
                    Ok(false)
                }
            };
        }
        let mut devices = std::mem::take(&mut self.due.devices);
        devices.extend(self.due.again.extract_if(.., |_, at| *at <= now).map(|(device, _)| device));
        let any = !devices.is_empty();
        for device in devices {
            self.resync_device(device)?;
        }
        Ok(any)
    }

    /// Lists links, addresses, our routes, and neighbours.
    pub(super) fn resync_all(&mut self, now: Instant) -> Result<(), Error> {
        let lost = std::mem::take(&mut self.due.lost);
        self.due.devices.clear();
        self.list_links()?;
        self.resync_tunnels()?;
        if lost {
            // What we know of others may be out of date as well. It is asked for again when it stands in our way.
            self.tables.routes.forget_foreign();
        }
        let (mut found, mut others) = (Vec::new(), Vec::new());
        for family in Family::BOTH {
            let (own, of_others) = self.list_by_owner(family, None)?;
            found.extend(own);
            others.extend(of_others);
        }
        self.tables.routes.resync_own(|_, _| true, found);
        self.others.resync(None, others);
        let found = self.list_neighbours()?;
        self.tables.neighbours.resync(|_, _| true, found);
        self.retry_all();
        let took = now.elapsed();
        self.due.rested = Instant::now() + REST.max(took * 10);
        self.due.next_backstop = Instant::now() + self.due.backstop;
        self.counts.resyncs += 1;
        debug!(?took, lost, "listed what is in the kernel");
        Ok(())
    }

    fn list_links(&mut self) -> Result<(), Error> {
        let mut query = LinkMessage::default();
        query.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let links =
            self.writer.list("listing links", &RouteNetlinkMessage::GetLink(query), |found| match found {
                RouteNetlinkMessage::NewLink(found) => Link::from_message(&found),
                _ => None,
            })?;
        let query = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let addresses = self.writer.list("listing addresses", &query, |found| match found {
            RouteNetlinkMessage::NewAddress(found) => Some(found),
            _ => None,
        })?;
        self.links.clear();
        for link in links {
            self.links.put(link);
        }
        for found in addresses {
            let index = found.header.index;
            if let Some(address) =
                self.links.known(index).and_then(|name| Address::from_message(&found, name))
            {
                self.links.put_address(index, address);
            }
        }
        self.underlay_changed = true;
        Ok(())
    }

    /// Lists all routes: those of ours, and those of others. One listing of everything costs the kernel no more than one of
    /// ours, which it finds by looking at everything.
    fn list_by_owner(&mut self, family: Family, device: Option<u32>) -> Result<(Listed, Listed), Error> {
        let found = self.list_routes(family, None, device)?;
        Ok(found.into_iter().partition(|(_, route)| self.owner(route) == Owner::Ours))
    }

    fn list_routes(
        &mut self,
        family: Family,
        protocol: Option<u8>,
        device: Option<u32>,
    ) -> Result<Vec<(RouteKey, Route)>, Error> {
        let query = message::query(family, Some(TABLE_MAIN), protocol, device);
        let links = &self.links;
        let found =
            self.writer.list("listing routes", &RouteNetlinkMessage::GetRoute(query), |found| match found {
                RouteNetlinkMessage::NewRoute(found) => message::read(&found, |index| links.name(index)),
                _ => None,
            });
        match found {
            // A kernel without IPv6 knows no such routes, and an empty table may not exist.
            Err(Error::Refused { refused, .. })
                if matches!(refused.errno, libc::ENOENT | libc::EAFNOSUPPORT | libc::EOPNOTSUPP) =>
            {
                Ok(Vec::new())
            }
            // The filter is not trusted alone: an old kernel does not heed it.
            found => Ok(found?
                .into_iter()
                .filter(|(key, route)| {
                    key.table == TABLE_MAIN && protocol.is_none_or(|protocol| route.protocol == protocol)
                })
                .collect()),
        }
    }

    fn list_neighbours(
        &mut self,
    ) -> Result<
        Vec<(crate::object::neighbour::NeighbourKey, crate::object::neighbour::Neighbour, Owner)>,
        Error,
    > {
        let query = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        let links = &self.links;
        let found = self.writer.list("listing neighbours", &query, |found| match found {
            RouteNetlinkMessage::NewNeighbour(found) => {
                SeenNeighbour::from_message(&found, links.known(found.header.ifindex)?)
            }
            _ => None,
        })?;
        Ok(found.into_iter().filter_map(|seen| self.judge(&seen)).collect())
    }

    /// Lists our routes on one device, if we have or want any there.
    fn resync_device(&mut self, device: IfName) -> Result<(), Error> {
        if !self.tables.routes.any(|_, route| route.uses(&device)) && !self.others.use_device(&device) {
            return Ok(());
        }
        let (mut found, mut others) = (BTreeMap::new(), BTreeMap::new());
        if let Some(index) = self.links.index(&device) {
            for family in Family::BOTH {
                match self.list_by_owner(family, Some(index)) {
                    Ok((own, of_others)) => {
                        found.extend(own);
                        others.extend(of_others);
                    }
                    // It has gone meanwhile, and everything on it.
                    Err(Error::Refused { refused, .. }) if refused.errno == libc::ENODEV => {}
                    Err(error @ (Error::Socket { .. } | Error::Refused { .. })) => return Err(error),
                    Err(error) => {
                        debug!(%error, %device, "listing the routes of one device failed: listing everything");
                        self.due.everything();
                        return Ok(());
                    }
                }
            }
        }
        let found = found.into_iter().filter(|(_, route)| route.uses(&device));
        self.tables.routes.resync_own(|_, route| route.uses(&device), found);
        self.others.resync(Some(&device), others);
        Ok(())
    }

    /// Finds out whose routes stand where ours should be.
    pub(super) fn look_up(&mut self, now: Instant) -> Result<(), Error> {
        if self.unexplained.is_empty() || now < self.due.lookup_rested {
            return Ok(());
        }
        let keys = std::mem::take(&mut self.unexplained);
        self.due.lookup_rested = now + LOOKUP_REST;
        for family in Family::BOTH {
            let v6 = family == Family::V6;
            if !keys.iter().any(|key| key.destination.is_ipv6() == v6) {
                continue;
            }
            for (key, route) in self.list_routes(family, None, None)? {
                if keys.contains(&key) {
                    let owner = self.owner(&route);
                    self.tables.routes.saw(now, key, Some(route), owner);
                }
            }
        }
        Ok(())
    }
}
