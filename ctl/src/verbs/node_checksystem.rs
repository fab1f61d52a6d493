//! `caracalctl node checksystem`.

use caracal_proto::v1::CheckSystemRequest;
use caracal_proto::v1::node_service_client::NodeServiceClient;
use serde::Serialize;
use tonic::transport::Channel;

use crate::failure::Failure;
use crate::output::{Answer, Section};
use crate::table::{Cell, Table, Tone};

/// What the node's kernel can do.
#[derive(Debug, Serialize)]
pub(crate) struct System {
    node: String,
    kernel: String,
    features: Vec<Feature>,
}

#[derive(Debug, Serialize)]
struct Feature {
    name: String,
    purpose: String,
    present: bool,
    needed: bool,
    reason: Option<String>,
}

/// Asks for it.
pub(crate) async fn ask(channel: Channel) -> Result<System, Failure> {
    let doing = Failure::agent("asking what the node's kernel can do");
    let answer = NodeServiceClient::new(channel)
        .check_system(CheckSystemRequest {})
        .await
        .map_err(doing)?
        .into_inner();
    let features = answer.features.into_iter().map(|one| Feature {
        name: one.name,
        purpose: one.purpose,
        present: one.present,
        needed: one.needed,
        reason: Some(one.reason).filter(|reason| !reason.is_empty()),
    });
    Ok(System { node: answer.node, kernel: answer.kernel, features: features.collect() })
}

impl System {
    /// Fails if something is missing that is needed.
    pub(crate) fn verdict(&self) -> Result<(), Failure> {
        let missing = self.features.iter().filter(|one| one.needed && !one.present);
        let missing: Vec<&str> = missing.map(|one| one.name.as_str()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Failure::System { node: self.node.clone(), missing: missing.join(", ") })
    }
}

impl Answer for System {
    fn text(&self, _wide: bool) -> Vec<Section> {
        let mut table = Table::new(["FEATURE", "PRESENT", "NEEDED", "FOR", "REASON"]);
        for one in &self.features {
            let tone = match (one.present, one.needed) {
                (true, _) => Tone::Good,
                (false, true) => Tone::Bad,
                (false, false) => Tone::Unsure,
            };
            let word = |is: bool| if is { "yes" } else { "no" };
            table.row([
                (&one.name).into(),
                Cell::toned(word(one.present), tone),
                word(one.needed).into(),
                (&one.purpose).into(),
                one.reason.as_deref().unwrap_or("-").into(),
            ]);
        }
        vec![Section::Text(format!("Node {}, kernel {}.", self.node, self.kernel)), Section::Table(table)]
    }

    fn names(&self) -> Vec<String> {
        self.features.iter().filter(|one| one.present).map(|one| one.name.clone()).collect()
    }
}
