//! `BgpService` over a speaker's [`Handle`], written once for every program that runs a speaker.

use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use caracal_proto::prost_types::Timestamp;
use caracal_proto::v1::bgp_service_server::{BgpService, BgpServiceServer};
use caracal_proto::v1::{
    self, ListPeersRequest, ListPeersResponse, ListRoutesRequest, ListRoutesResponse, RefreshPeerRequest,
    RefreshPeerResponse, ResetPeerRequest, ResetPeerResponse, StartPeerRequest, StartPeerResponse,
    StopPeerRequest, StopPeerResponse,
};
use futures::{Stream, TryStreamExt};
use ipnetwork::IpNetwork;
use tonic::{Request, Response, Status};

use crate::bfd::Hops;
use crate::config::{Families, Family, PeerKey, PeerOrigin};
use crate::net::FaultRecord;
use crate::rib::Source;
use crate::speaker::{
    BfdStatus, ControlError, Handle, PeerStatus, RangeStatus, RouteQuery, RouteStatus, Stopped,
};
use crate::wire::error::Section;

/// How many routes one piece of an answer carries.
const PIECE: usize = 1000;

/// The service.
#[derive(Clone, Debug)]
pub struct Bgp {
    speaker: Handle,
}

impl Bgp {
    /// A service over this speaker.
    pub fn new(speaker: Handle) -> Self {
        Self { speaker }
    }

    /// As a server for [`tonic`].
    pub fn into_server(self) -> BgpServiceServer<Self> {
        BgpServiceServer::new(self)
    }
}

/// The peer that people mean by an address or a name.
async fn find(handle: &Handle, wanted: &str) -> Result<PeerKey, Status> {
    let peers = handle.peers().await.map_err(stopped)?;
    let key: Option<PeerKey> = wanted.parse().ok();
    let meant = |peer: &&PeerStatus| match key {
        // A link-local address alone may be that of several.
        Some(PeerKey::Address(address)) => peer.key.address() == address,
        Some(key) => peer.key == key,
        None => peer.name == wanted || peer.key.to_string() == wanted,
    };
    let found: Vec<PeerKey> = peers.iter().filter(meant).map(|peer| peer.key).collect();
    match found.as_slice() {
        [only] => Ok(*only),
        [] => {
            let known: Vec<String> = peers.iter().map(|p| format!("{} ({})", p.key, p.name)).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Err(Status::not_found(format!("there is no BGP peer '{wanted}'; the peers are: {known}")))
        }
        several => {
            let keys: Vec<String> = several.iter().map(PeerKey::to_string).collect();
            Err(Status::invalid_argument(format!(
                "'{wanted}' is the name of {} BGP peers: say which by its address: {}",
                keys.len(),
                keys.join(", ")
            )))
        }
    }
}

fn stopped(error: Stopped) -> Status {
    Status::unavailable(error.to_string())
}

fn refused(error: &ControlError) -> Status {
    match error {
        ControlError::UnknownPeer(_) => Status::not_found(error.to_string()),
        ControlError::NotEstablished(_) | ControlError::RefreshNotSupported(_) => {
            Status::failed_precondition(error.to_string())
        }
        ControlError::Stopped(_) => Status::unavailable(error.to_string()),
    }
}

#[tonic::async_trait]
impl BgpService for Bgp {
    async fn list_peers(&self, _: Request<ListPeersRequest>) -> Result<Response<ListPeersResponse>, Status> {
        let mut peers = self.speaker.peers().await.map_err(stopped)?;
        peers.sort_by_key(|peer| peer.key);
        let ranges = self.speaker.ranges().await.map_err(stopped)?;
        Ok(Response::new(ListPeersResponse {
            peers: peers.into_iter().map(peer).collect(),
            ranges: ranges.into_iter().map(range).collect(),
        }))
    }

    type ListRoutesStream = Pin<Box<dyn Stream<Item = Result<ListRoutesResponse, Status>> + Send>>;

    async fn list_routes(
        &self,
        request: Request<ListRoutesRequest>,
    ) -> Result<Response<Self::ListRoutesStream>, Status> {
        let request = request.into_inner();
        let family = match request.family() {
            v1::Family::Unspecified => None,
            v1::Family::Ipv4Unicast => Some(Family::Ipv4Unicast),
            v1::Family::Ipv6Unicast => Some(Family::Ipv6Unicast),
        };
        let prefix = request.prefix.as_deref().map(prefix).transpose()?;
        let peer = match request.peer {
            Some(wanted) => Some(find(&self.speaker, &wanted).await?),
            None => None,
        };
        // A page is made when the one before was taken: whoever reads slowly costs no memory here.
        let listing = self.speaker.list_routes(RouteQuery { prefix, family, peer });
        let pages = futures::stream::try_unfold(listing, |mut listing| async move {
            let page = listing.next().await.map_err(stopped)?;
            Ok::<_, Status>(page.map(|page| (page, listing)))
        });
        let pieces = pages.map_ok(|page| {
            let pieces: Vec<_> = page.into_iter().map(route).collect();
            let pieces: Vec<_> =
                pieces.chunks(PIECE).map(|routes| ListRoutesResponse { routes: routes.to_vec() }).collect();
            futures::stream::iter(pieces.into_iter().map(Ok))
        });
        Ok(Response::new(Box::pin(pieces.try_flatten())))
    }

    async fn reset_peer(
        &self,
        request: Request<ResetPeerRequest>,
    ) -> Result<Response<ResetPeerResponse>, Status> {
        let request = request.into_inner();
        let key = find(&self.speaker, &request.peer).await?;
        self.speaker.reset(&key, request.message.as_deref()).await.map_err(|error| refused(&error))?;
        Ok(Response::new(ResetPeerResponse { key: key.to_string() }))
    }

    async fn stop_peer(
        &self,
        request: Request<StopPeerRequest>,
    ) -> Result<Response<StopPeerResponse>, Status> {
        let request = request.into_inner();
        let key = find(&self.speaker, &request.peer).await?;
        self.speaker.halt(&key, request.message.as_deref()).await.map_err(|error| refused(&error))?;
        Ok(Response::new(StopPeerResponse { key: key.to_string() }))
    }

    async fn start_peer(
        &self,
        request: Request<StartPeerRequest>,
    ) -> Result<Response<StartPeerResponse>, Status> {
        let key = find(&self.speaker, &request.into_inner().peer).await?;
        self.speaker.restore(&key).await.map_err(|error| refused(&error))?;
        Ok(Response::new(StartPeerResponse { key: key.to_string() }))
    }

    async fn refresh_peer(
        &self,
        request: Request<RefreshPeerRequest>,
    ) -> Result<Response<RefreshPeerResponse>, Status> {
        let key = find(&self.speaker, &request.into_inner().peer).await?;
        self.speaker.refresh(&key).await.map_err(|error| refused(&error))?;
        Ok(Response::new(RefreshPeerResponse { key: key.to_string() }))
    }
}

/// Reads a prefix, which must not have host bits: a typing error would else be answered with an empty list.
fn prefix(text: &str) -> Result<IpNetwork, Status> {
    let wrong = |why: String| Status::invalid_argument(format!("the prefix '{text}' {why}"));
    if !text.contains('/') {
        return Err(wrong("has no length: write for example 10.244.1.0/26".to_owned()));
    }
    let network: IpNetwork = text
        .parse()
        .map_err(|_| wrong("is not a network in CIDR form: write for example 10.244.1.0/26".to_owned()))?;
    if network.ip() != network.network() {
        let masked = format!("{}/{}", network.network(), network.prefix());
        return Err(wrong(format!("has bits set beyond its length: did you mean {masked}?")));
    }
    Ok(network)
}

fn family(family: Family) -> v1::Family {
    match family {
        Family::Ipv4Unicast => v1::Family::Ipv4Unicast,
        Family::Ipv6Unicast => v1::Family::Ipv6Unicast,
    }
}

fn state(words: &str) -> v1::SessionState {
    match words {
        "Idle" => v1::SessionState::Idle,
        "Connect" => v1::SessionState::Connect,
        "Active" => v1::SessionState::Active,
        "OpenSent" => v1::SessionState::OpenSent,
        "OpenConfirm" => v1::SessionState::OpenConfirm,
        "Established" => v1::SessionState::Established,
        _ => v1::SessionState::Unspecified,
    }
}

fn peer(status: PeerStatus) -> v1::Peer {
    let origin = match status.origin {
        PeerOrigin::Mesh => v1::PeerOrigin::Mesh,
        PeerOrigin::Configured => v1::PeerOrigin::Configured,
        PeerOrigin::Range(_) => v1::PeerOrigin::Dynamic,
    };
    let range = match status.origin {
        PeerOrigin::Range(prefix) => Some(prefix.to_string()),
        PeerOrigin::Mesh | PeerOrigin::Configured => None,
    };
    let of_family = |of| {
        let counts = status.counts(of);
        v1::FamilyCounts {
            family: family(of).into(),
            received: counts.received,
            accepted: counts.accepted,
            announced: counts.announced,
        }
    };
    let counts = Families::dual().iter().map(of_family).collect();
    let (last_down, last_down_reason) = status.last_down.unzip();
    v1::Peer {
        key: status.key.to_string(),
        origin: origin.into(),
        remote_as: status.remote_as.map_or(0, |asn| asn.0),
        local_as: status.local_as.0,
        state: state(status.state).into(),
        since: Some(Timestamp::from(status.since)),
        router_id: status.router_id.map(|id| id.to_string()),
        families: status.families.iter().map(|of| family(of).into()).collect(),
        counts,
        hold_time_seconds: status.hold_time.seconds().into(),
        transitions: status.transitions,
        messages_received: status.messages_in,
        messages_sent: status.messages_out,
        features: status.features,
        stopped: status.halted,
        bfd: status.bfd.map(bfd),
        range,
        faults: status.faults.into_iter().map(fault).collect(),
        name: status.name,
        last_error: status.last_error,
        last_down: last_down.map(Timestamp::from),
        last_down_reason,
    }
}

fn range(status: RangeStatus) -> v1::PeerRange {
    v1::PeerRange {
        prefix: status.prefix.to_string(),
        name: status.name,
        peers: status.peers,
        max_peers: status.max_peers,
        refused: status.refused,
        last_refusal: status.last_refusal,
    }
}

fn bfd(status: BfdStatus) -> v1::Bfd {
    let BfdStatus { session, trouble } = status;
    let micros = |time: Option<Duration>| time.map_or(0, |time| time.as_micros() as u64);
    v1::Bfd {
        state: session.state.to_string(),
        remote_state: session.remote_state.to_string(),
        diagnostic: session.diagnostic.to_string(),
        multihop: session.hops == Hops::Many,
        discriminator: session.discriminator.get(),
        remote_discriminator: session.remote_discriminator,
        transmit_interval_micros: micros(session.transmit_interval),
        detection_time_micros: micros(session.detection_time),
        age_millis: session.age.as_millis() as u64,
        ups: session.ups,
        downs: session.downs,
        packets_sent: session.sent,
        packets_received: session.received,
        trouble,
    }
}

fn fault(record: FaultRecord) -> v1::WireFault {
    v1::WireFault {
        disposition: record.disposition.code().to_owned(),
        section: record.section.to_string(),
        attribute: match record.section {
            Section::Attribute(code) => Some(code.into()),
            _ => None,
        },
        rfc: record.rfc.to_owned(),
        words: record.words,
        offset: u32::try_from(record.offset).unwrap_or(u32::MAX),
        count: record.count,
        last: Some(Timestamp::from(record.last)),
    }
}

/// A link-local next hop has the device behind it (RFC 4007 §11.2), where the peer's key has.
fn next_hop(address: IpAddr, peer: Option<PeerKey>) -> String {
    match (address, peer.and_then(|peer| peer.interface())) {
        (IpAddr::V6(address), Some(interface)) if address.is_unicast_link_local() => {
            PeerKey::LinkLocal(address, interface).to_string()
        }
        (IpAddr::V4(_) | IpAddr::V6(_), _) => address.to_string(),
    }
}

fn route(status: RouteStatus) -> v1::Route {
    let source = match status.source {
        Source::Local => v1::RouteSource::Local,
        Source::Ebgp => v1::RouteSource::Ebgp,
        Source::Ibgp => v1::RouteSource::Ibgp,
    };
    v1::Route {
        prefix: status.prefix.to_string(),
        next_hop: status.next_hop.map(|address| next_hop(address, status.peer)),
        peer: status.peer.map(|key| key.to_string()),
        source: source.into(),
        as_path: status.as_path,
        origin: status.origin.to_ascii_lowercase(),
        local_pref: status.local_pref,
        med: status.med,
        communities: status.communities,
        best: status.best,
        standing: status.standing.to_owned(),
        why_not: status.why_not,
        age: caracal_proto::prost_types::Duration::try_from(status.age).ok(),
        stale: status.stale,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_with_a_typing_error_is_refused_with_what_was_meant() {
        assert_eq!(prefix("10.244.1.0/26").unwrap().to_string(), "10.244.1.0/26");
        let said = |text| prefix(text).unwrap_err().message().to_owned();
        assert!(said("10.244.1.1/26").contains("did you mean 10.244.1.0/26?"));
        assert!(said("10.244.1.0").contains("has no length"));
        assert!(said("pods/26").contains("not a network"));
    }
}
