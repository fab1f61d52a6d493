//! What administrators ask this node: gRPC services on a unix socket that is root's alone.
//!
//! The services read what the owners tell of themselves (speaker, allocator, journal, snapshots) and own nothing. The
//! contract is `proto/caracal/v1`; `caracalctl` is its usual client, and reflection lets any gRPC tool speak it.

mod auth;
mod ipam;
mod node;
mod resources;
mod system;

use std::sync::Arc;
use std::time::SystemTime;

use caracal_bgp::grpc::Bgp;
use caracal_bgp::speaker::Handle;
use caracal_linux::features::Features;
pub use caracal_linux::root_socket::{ListenError, bind};
use caracal_proto::FILE_DESCRIPTOR_SET;
use caracal_proto::v1::bgp_service_server::BgpServiceServer;
use caracal_proto::v1::ipam_service_server::IpamServiceServer;
use caracal_proto::v1::node_service_server::NodeServiceServer;
use caracal_proto::v1::resource_service_server::ResourceServiceServer;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::InterceptorLayer;
use tonic::transport::Server;

use crate::attachments::Journal;
use crate::cluster::Cluster;
use crate::cni::CniContext;
use crate::desired::surroundings::Surroundings;
use crate::ipam::Ipam;
use crate::status::Reading;

/// Whom the services ask.
#[derive(Clone)]
pub struct AdminContext {
    /// Name of the Kubernetes Node.
    pub node: String,
    /// When the agent started.
    pub started: SystemTime,
    /// The speaker.
    pub speaker: Handle,
    /// The allocator.
    pub ipam: Ipam,
    /// The attachments.
    pub journal: Journal,
    /// The pods, to see whether one still uses an address.
    pub cni: Arc<CniContext>,
    /// What the API server said last.
    pub cluster: Cluster,
    /// How the node fares.
    pub readings: watch::Receiver<Reading>,
    /// What the kernel can do.
    pub features: Arc<Features>,
    /// What is asked of it.
    pub surroundings: watch::Receiver<Arc<Surroundings>>,
}

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The services cannot be described to clients: a mistake in the contract's build.
    #[error("serving administrators: the contract's description cannot be read: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The server failed.
    #[error("serving administrators: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Answers administrators until the process ends.
///
/// # Errors
/// [`ServeError`]; it does not return otherwise.
pub async fn serve(listener: UnixListener, context: AdminContext) -> Result<(), ServeError> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<NodeServiceServer<node::Node>>().await;
    reporter.set_serving::<BgpServiceServer<Bgp>>().await;
    reporter.set_serving::<IpamServiceServer<ipam::IpamUse>>().await;
    reporter.set_serving::<ResourceServiceServer<resources::Resources>>().await;
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Server::builder()
        .layer(InterceptorLayer::new(auth::only_root))
        .add_service(health)
        .add_service(described().build_v1()?)
        .add_service(described().build_v1alpha()?)
        .add_service(NodeServiceServer::new(node::Node::new(context.clone())))
        .add_service(Bgp::new(context.speaker.clone()).into_server())
        .add_service(IpamServiceServer::new(ipam::IpamUse::new(context.clone())))
        .add_service(ResourceServiceServer::new(resources::Resources::new(context.cluster)))
        .serve_with_incoming(UnixListenerStream::new(listener))
        .await?;
    Ok(())
}
