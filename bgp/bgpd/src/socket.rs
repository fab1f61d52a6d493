//! What `caracalctl` asks this daemon: `BgpService` on a unix socket that is root's alone.

use caracal_bgp::grpc::Bgp;
use caracal_bgp::speaker::Handle;
use caracal_proto::FILE_DESCRIPTOR_SET;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The service cannot be described to clients: a mistake in the contract's build.
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
pub async fn serve(listener: UnixListener, speaker: Handle) -> Result<(), ServeError> {
    let described = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .with_service_name("caracal.v1.BgpService");
    Server::builder()
        .add_service(described.build_v1()?)
        .add_service(Bgp::new(speaker).into_server())
        .serve_with_incoming(UnixListenerStream::new(listener))
        .await?;
    Ok(())
}
