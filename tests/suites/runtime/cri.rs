//! The few calls of the container runtime interface (`runtime.v1`) that make and unmake sandboxes.
//!
//! The messages have the fields that are used here, by their numbers in the interface; protobuf skips the others.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};

/// The longest that a call may take: an ADD waits 30 s for the agent.
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Metadata {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) uid: String,
    #[prost(string, tag = "3")]
    pub(crate) namespace: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Config {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
    #[prost(string, tag = "2")]
    hostname: String,
    #[prost(message, optional, tag = "8")]
    linux: Option<Linux>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Linux {
    #[prost(string, tag = "1")]
    cgroup_parent: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RunRequest {
    #[prost(message, optional, tag = "1")]
    config: Option<Config>,
}

/// Of many calls both request and answer: the sandbox.
#[derive(Clone, PartialEq, prost::Message)]
struct SandboxId {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusRequest {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(bool, tag = "2")]
    verbose: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<SandboxStatus>,
    #[prost(map = "string, string", tag = "2")]
    info: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SandboxStatus {
    /// 0: ready.
    #[prost(int32, tag = "3")]
    state: i32,
    #[prost(message, optional, tag = "5")]
    network: Option<NetworkStatus>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NetworkStatus {
    #[prost(string, tag = "1")]
    ip: String,
    #[prost(message, repeated, tag = "2")]
    more: Vec<PodIp>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodIp {
    #[prost(string, tag = "1")]
    ip: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

#[derive(Clone, PartialEq, prost::Message)]
struct Listed {
    #[prost(message, repeated, tag = "1")]
    items: Vec<SandboxId>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RuntimeStatus {
    #[prost(message, optional, tag = "1")]
    status: Option<Conditions>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Conditions {
    #[prost(message, repeated, tag = "1")]
    conditions: Vec<Condition>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Condition {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(bool, tag = "2")]
    status: bool,
    #[prost(string, tag = "4")]
    message: String,
}

/// A sandbox as the runtime tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sandbox {
    pub(crate) ready: bool,
    /// All of its addresses, the first one first.
    pub(crate) addresses: Vec<std::net::IpAddr>,
    /// Its first process; 0 when it has ended.
    pub(crate) pid: u64,
}

/// The runtime of one node.
#[derive(Debug, Clone)]
pub(crate) struct Cri {
    channel: Channel,
}

impl Cri {
    /// Connects.
    pub(crate) async fn connect(socket: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket).await.context("connecting to containerd")?;
        let mut stream = Some(stream);
        let connector = tower::service_fn(move |_| {
            let opened = stream.take().ok_or_else(|| io::Error::other("containerd closed the connection"));
            async move { opened.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://containerd").timeout(PATIENCE);
        let channel = endpoint.connect_with_connector(connector).await.context("speaking with containerd")?;
        Ok(Self { channel })
    }

    /// RunPodSandbox; answers its id.
    pub(crate) async fn run(&self, metadata: Metadata) -> anyhow::Result<String> {
        let hostname = metadata.name.clone();
        let linux = Some(Linux { cgroup_parent: "/pods".into() });
        let config = Some(Config { metadata: Some(metadata), hostname, linux });
        let made: SandboxId = self.call("RunPodSandbox", RunRequest { config }).await?;
        Ok(made.id)
    }

    /// StopPodSandbox.
    pub(crate) async fn stop(&self, id: &str) -> anyhow::Result<()> {
        let Nothing {} = self.call("StopPodSandbox", SandboxId { id: id.into() }).await?;
        Ok(())
    }

    /// RemovePodSandbox.
    pub(crate) async fn remove(&self, id: &str) -> anyhow::Result<()> {
        let Nothing {} = self.call("RemovePodSandbox", SandboxId { id: id.into() }).await?;
        Ok(())
    }

    /// PodSandboxStatus.
    pub(crate) async fn status(&self, id: &str) -> anyhow::Result<Sandbox> {
        let request = StatusRequest { id: id.into(), verbose: true };
        let StatusResponse { status, info } = self.call("PodSandboxStatus", request).await?;
        let status = status.context("PodSandboxStatus without a status")?;
        let network = status.network.unwrap_or_default();
        let texts = std::iter::once(network.ip).chain(network.more.into_iter().map(|one| one.ip));
        let addresses = texts.filter(|text| !text.is_empty()).map(|text| text.parse());
        let addresses = addresses.collect::<Result<_, _>>().context("reading the sandbox's addresses")?;
        let detail: serde_json::Value = serde_json::from_str(info.get("info").map_or("{}", String::as_str))
            .context("reading its info")?;
        let pid = detail.get("pid").and_then(serde_json::Value::as_u64).unwrap_or_default();
        Ok(Sandbox { ready: status.state == 0, addresses, pid })
    }

    /// ListPodSandbox: the ids.
    pub(crate) async fn list(&self) -> anyhow::Result<Vec<String>> {
        let Listed { items } = self.call("ListPodSandbox", Nothing {}).await?;
        Ok(items.into_iter().map(|one| one.id).collect())
    }

    /// Status: why no sandbox could be made now, if none could.
    pub(crate) async fn not_ready(&self) -> anyhow::Result<Option<String>> {
        let RuntimeStatus { status } = self.call("Status", Nothing {}).await?;
        let conditions = status.context("Status without a status")?.conditions;
        let bad = conditions.iter().find(|condition| !condition.status);
        Ok(bad.map(|condition| format!("{}: {}", condition.kind, condition.message)))
    }

    async fn call<Q, A>(&self, name: &'static str, question: Q) -> anyhow::Result<A>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let path = format!("/runtime.v1.RuntimeService/{name}");
        let path = path.parse().with_context(|| format!("naming the call {name}"))?;
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.with_context(|| format!("{name}: containerd is not there"))?;
        let codec = tonic_prost::ProstCodec::<Q, A>::default();
        let answer = grpc.unary(tonic::Request::new(question), path, codec).await;
        answer.map(tonic::Response::into_inner).with_context(|| format!("{name} by containerd"))
    }
}
