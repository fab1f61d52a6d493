//! `caracalctl version`.

use std::path::Path;

use caracal_proto::v1::GetStatusRequest;
use caracal_proto::v1::node_service_client::NodeServiceClient;
use serde::Serialize;

use crate::connection;
use crate::failure::Failure;
use crate::output::{Answer, Format, Section, print};

/// The version of this program.
const CLIENT: &str = env!("CARGO_PKG_VERSION");

/// The versions, as `-o json` prints them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    client_version: &'static str,
    agent_version: Option<String>,
    node: Option<String>,
}

/// Prints them. An agent that cannot be reached is an error only after the client's own version is out.
pub(crate) async fn run(socket: &Path, client_only: bool, format: Format) -> Result<(), Failure> {
    let asked = if client_only { None } else { Some(ask(socket).await) };
    let (agent, failure) = match asked {
        None => (None, None),
        Some(Ok(agent)) => (Some(agent), None),
        Some(Err(failure)) => (None, Some(failure)),
    };
    let (agent_version, node) = agent.unzip();
    print(&Versions { client_version: CLIENT, agent_version, node }, format)?;
    failure.map_or(Ok(()), Err)
}

async fn ask(socket: &Path) -> Result<(String, String), Failure> {
    let channel = connection::open(socket).await?;
    let answer = NodeServiceClient::new(channel)
        .get_status(GetStatusRequest {})
        .await
        .map_err(Failure::agent("asking for the agent's version"))?
        .into_inner();
    Ok((answer.version, answer.node))
}

impl Answer for Versions {
    fn text(&self, _wide: bool) -> Vec<Section> {
        let mut lines = vec![format!("Client Version:    {}", self.client_version)];
        if let (Some(version), Some(node)) = (&self.agent_version, &self.node) {
            lines.push(format!("Agent Version:     {version}"));
            lines.push(format!("Node:              {node}"));
        }
        vec![Section::Text(lines.join("\n"))]
    }

    fn names(&self) -> Vec<String> {
        vec![self.client_version.to_owned()]
    }
}
