//! Both ends of a pod's link, made by one thread that may wait for the kernel, with a socket on either side.

use caracal_linux::namespace::Visitor;
use caracal_linux::netlink;
use caracal_linux::netlink::client::{Veth, VethEnd};
use caracal_linux::netlink::hand::{Changes, Hand};
use caracal_linux::object::link::IfName;
use caracal_linux::sysctl;

use super::{Entered, WiringError};
use crate::desired::pod::{End, PodNetwork, Sysctl};

/// What became of it.
pub(super) enum Made {
    /// Everything is in place.
    All,
    /// There is a device of that name already, as the kernel says, and nothing was made.
    NothingButTaken(netlink::Error),
}

/// Makes both ends and what belongs to them; the host's end goes up last.
pub(super) fn make(
    visitor: &mut Visitor<Hand>,
    wanted: &PodNetwork,
    entered: &mut Entered,
) -> Result<Made, WiringError> {
    let (host, pod) = (&wanted.host, &wanted.pod);
    let peer =
        VethEnd { name: pod.device, mac: Some(pod.mac), mtu: Some(pod.mtu), namespace: &entered.namespace };
    let (name, alias) = (host.device, Some(wanted.alias.clone()));
    let veth = Veth { name, mac: Some(host.mac), mtu: Some(host.mtu), alias, up: false, peer };
    let link = match visitor.own.create_veth(&veth) {
        Err(error) if error.already_exists() => return Ok(Made::NothingButTaken(error)),
        made => made?,
    };
    let gone = || netlink::Error::NoDevice { doing: veth.doing(), device: pod.device };
    let inside = link.peer_index.ok_or_else(gone)?;
    write(&host.sysctls)?;
    visitor.visit(&entered.namespace, || write(&pod.sysctls))??;
    entered.hand.perform(of_the_pod(pod, inside)?)?;
    visitor.own.perform(of_the_host(host, link.index))?;
    Ok(Made::All)
}

/// Up, addresses, neighbours, routes: in this order each finds what it stands on.
fn of_the_pod(pod: &End, index: u32) -> Result<Changes, netlink::Error> {
    let mut changes = Changes::of(pod.device, index);
    if let Some(shape) = pod.shape {
        changes.shape(shape);
    }
    changes.up(IfName::LOOPBACK);
    changes.up(pod.device);
    for address in &pod.addresses {
        changes.address(*address);
    }
    for (key, value) in &pod.neighbours {
        changes.neighbour(key, value);
    }
    for (key, route) in &pod.routes {
        changes.route(key, route)?;
    }
    Ok(changes)
}

/// Routes and neighbours of the host are the kernel thread's to keep.
fn of_the_host(host: &End, index: u32) -> Changes {
    let mut changes = Changes::of(host.device, index);
    if let Some(shape) = host.shape {
        changes.shape(shape);
    }
    changes.up(host.device);
    for address in &host.addresses {
        changes.address(*address);
    }
    changes
}

/// Writes settings in the namespace of the calling thread.
fn write(settings: &[Sysctl]) -> Result<(), sysctl::Error> {
    for setting in settings {
        match sysctl::write(&setting.path, &setting.value.to_string()) {
            Ok(()) => {}
            Err(error) if setting.optional && error.is_missing() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
