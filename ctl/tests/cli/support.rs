//! An agent's services with fixed answers on a real socket, and a way to run the real `caracalctl` against it.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Output;

use caracal_proto::v1::bgp_service_server::{BgpService, BgpServiceServer};
use caracal_proto::v1::ipam_service_server::{IpamService, IpamServiceServer};
use caracal_proto::v1::node_service_server::{NodeService, NodeServiceServer};
use caracal_proto::v1::resource_service_server::{ResourceService, ResourceServiceServer};
use caracal_proto::v1::*;
use tempfile::TempDir;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

pub(crate) mod answers;

/// Serves the fixed answers as long as it lives.
pub(crate) struct Agent {
    folder: TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Agent {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = {
            let _inside = runtime.enter();
            tokio::net::UnixListener::bind(folder.path().join("admin.sock")).unwrap()
        };
        runtime.spawn(
            tonic::transport::Server::builder()
                .add_service(NodeServiceServer::new(Fixed))
                .add_service(BgpServiceServer::new(Fixed))
                .add_service(IpamServiceServer::new(Fixed))
                .add_service(ResourceServiceServer::new(Fixed))
                .serve_with_incoming(UnixListenerStream::new(listener)),
        );
        Self { folder, _runtime: runtime }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("admin.sock")
    }

    /// Runs the program with these words and returns what it printed; it must succeed.
    pub(crate) fn ask(&self, words: &str) -> String {
        let output = run(&self.socket(), words);
        assert!(output.status.success(), "caracalctl {words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same, but it must fail: its exit code and what it said.
    pub(crate) fn refused(&self, words: &str) -> (i32, String) {
        failed(&self.socket(), words)
    }
}

/// How a text differs from its file in `tests/cli/golden`, in words; nothing if it does not. With `UPDATE_GOLDEN` the file is
/// written.
pub(crate) fn difference(name: &str, found: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cli/golden/{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    (found != wanted).then(|| format!("--- {}\n{wanted}+++ found\n{found}", path.display()))
}

/// A text is as in its file.
pub(crate) fn compare(name: &str, found: &str) {
    if let Some(words) = difference(name, found) {
        panic!("{words}");
    }
}

pub(crate) fn failed(socket: &Path, words: &str) -> (i32, String) {
    let output = run(socket, words);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

pub(crate) fn run(socket: &Path, words: &str) -> Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_caracalctl"))
        .env("CARACAL_SOCKET", socket)
        .env("TZ", "UTC")
        .env_remove("CLICOLOR_FORCE")
        .args(words.split_whitespace())
        .output()
        .unwrap()
}

struct Fixed;

#[tonic::async_trait]
impl NodeService for Fixed {
    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        Ok(Response::new(answers::status()))
    }

    async fn check_system(
        &self,
        _: Request<CheckSystemRequest>,
    ) -> Result<Response<CheckSystemResponse>, Status> {
        Ok(Response::new(answers::system()))
    }
}

#[tonic::async_trait]
impl BgpService for Fixed {
    async fn list_peers(&self, _: Request<ListPeersRequest>) -> Result<Response<ListPeersResponse>, Status> {
        Ok(Response::new(ListPeersResponse { peers: answers::peers(), ranges: Vec::new() }))
    }

    type ListRoutesStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<ListRoutesResponse, Status>> + Send>>;

    /// Answers in pieces of one route, filtered as asked.
    async fn list_routes(
        &self,
        request: Request<ListRoutesRequest>,
    ) -> Result<Response<Self::ListRoutesStream>, Status> {
        let wanted = request.into_inner();
        let v6 = |route: &Route| route.prefix.contains(':');
        let chosen = answers::routes().into_iter().filter(move |route| {
            wanted.prefix.as_ref().is_none_or(|prefix| *prefix == route.prefix)
                && (wanted.peer.is_none() || wanted.peer == route.peer)
                && match wanted.family() {
                    Family::Unspecified => true,
                    Family::Ipv4Unicast => !v6(route),
                    Family::Ipv6Unicast => v6(route),
                }
        });
        let pieces = chosen.map(|route| Ok(ListRoutesResponse { routes: vec![route] }));
        Ok(Response::new(Box::pin(tokio_stream::iter(pieces.collect::<Vec<_>>()))))
    }

    async fn reset_peer(
        &self,
        request: Request<ResetPeerRequest>,
    ) -> Result<Response<ResetPeerResponse>, Status> {
        let wanted = request.into_inner().peer;
        match answers::peers().into_iter().find(|peer| peer.name == wanted || peer.key == wanted) {
            Some(peer) => Ok(Response::new(ResetPeerResponse { key: peer.key })),
            None => Err(Status::not_found(format!("there is no BGP peer '{wanted}'"))),
        }
    }

    async fn stop_peer(
        &self,
        request: Request<StopPeerRequest>,
    ) -> Result<Response<StopPeerResponse>, Status> {
        let StopPeerRequest { peer, message } = request.into_inner();
        match message.as_deref() {
            Some("noon") => Ok(Response::new(StopPeerResponse { key: peer })),
            other => Err(Status::invalid_argument(format!("the words came as {other:?}"))),
        }
    }

    async fn start_peer(
        &self,
        request: Request<StartPeerRequest>,
    ) -> Result<Response<StartPeerResponse>, Status> {
        Ok(Response::new(StartPeerResponse { key: request.into_inner().peer }))
    }

    async fn refresh_peer(
        &self,
        request: Request<RefreshPeerRequest>,
    ) -> Result<Response<RefreshPeerResponse>, Status> {
        let wanted = request.into_inner().peer;
        Err(Status::failed_precondition(format!("the session with BGP peer {wanted} is not established")))
    }
}

#[tonic::async_trait]
impl IpamService for Fixed {
    async fn show(&self, _: Request<ShowRequest>) -> Result<Response<ShowResponse>, Status> {
        Ok(Response::new(answers::ipam()))
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Result<Response<ReleaseResponse>, Status> {
        let what =
            format!("attachment {} had no device any more and was undone", request.into_inner().handle);
        Ok(Response::new(ReleaseResponse { what }))
    }

    async fn publish(&self, _: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        Ok(Response::new(PublishResponse {}))
    }
}

#[tonic::async_trait]
impl ResourceService for Fixed {
    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let request = request.into_inner();
        let documents = answers::documents(&request.kind);
        let chosen = documents.into_iter().filter(|document| {
            let name = document["metadata"]["name"].as_str().unwrap().to_owned();
            request.names.is_empty() || request.names.contains(&name)
        });
        let chosen: Vec<String> = chosen.map(|document| document.to_string()).collect();
        if chosen.len() < request.names.len() {
            return Err(Status::not_found(format!("there is no such name among the {}", request.kind)));
        }
        Ok(Response::new(ListResponse { documents: chosen, synced: request.kind != "ipamconfigs" }))
    }

    async fn get(&self, _: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        Err(Status::unimplemented("Get"))
    }
}
