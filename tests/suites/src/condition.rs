//! What nodes say of themselves in their conditions.

use std::time::Duration;

use anyhow::Context;
use caracal_lab::Node;
use caracal_lab::wait;

/// One condition of a node, as `caracalctl node status` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// In one word, for programs.
    pub reason: String,
    /// In a sentence, for people.
    pub message: String,
}

impl Condition {
    /// What a node says at this moment, which is what it was like up to some tenths of a second ago: what has just come about is
    /// waited for ([`becomes`]).
    ///
    /// # Errors
    /// When the agent does not answer, or has no condition of this kind.
    pub async fn of(node: &Node, kind: &str) -> anyhow::Result<Self> {
        let status = node.ctl(&["node", "status"]).await?;
        let conditions = status["conditions"].as_array().map_or(&[][..], Vec::as_slice);
        let told = conditions.iter().find(|one| one["type"] == kind);
        let told = told.with_context(|| format!("{} has no condition {kind}: {status}", node.name()))?;
        let word = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
        Ok(Self { reason: word("reason"), message: word("message") })
    }

    /// It, if it has this reason.
    ///
    /// # Errors
    /// What it is instead.
    pub fn because(self, reason: &str) -> anyhow::Result<Self> {
        anyhow::ensure!(self.reason == reason, "{}: {}", self.reason, self.message);
        Ok(self)
    }
}

/// Waits until a node's condition has this reason: its message.
///
/// # Errors
/// When it has another one all this time.
pub async fn becomes(node: &Node, kind: &str, reason: &str, patience: Duration) -> anyhow::Result<String> {
    let what = format!("{}'s condition {kind} is {reason}", node.name());
    let told =
        wait::until(patience, &what, || async { Ok(Condition::of(node, kind).await?.because(reason)?) });
    told.await.map(|condition| condition.message)
}
