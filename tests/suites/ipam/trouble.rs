//! What happens to a cluster: agents are killed, the API server is cut off, restarts, forgets, loses answers.

use std::time::Duration;

use anyhow::Context;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, fault};
use tokio::sync::watch;

/// For the API server to be back.
const SOON: Duration = Duration::from_secs(30);

/// Numbers that look random and are the same for the same seed (splitmix64).
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let rest = (mixed ^ (mixed >> 31)) % u64::try_from(end.max(1)).unwrap_or(u64::MAX);
        usize::try_from(rest).unwrap_or_default()
    }
}

/// Makes trouble until `over`; then everything is whole again. Gives the rounds and how many agents were killed.
pub(crate) async fn make(
    lab: &Lab,
    seed: u64,
    mut over: watch::Receiver<bool>,
) -> anyhow::Result<(u32, u32)> {
    let mut random = Random(seed);
    let (mut rounds, mut killed) = (0, 0);
    while !*over.borrow_and_update() {
        rounds += 1;
        match rounds % 6 {
            // Nobody reaches the API server; no connection is closed.
            0 => {
                fault::partition(lab.control()).await?;
                kill_one(lab, &mut random).await?;
                killed += 1;
                pause(&mut random, &mut over, 1200).await?;
                fault::restore(lab.control()).await?;
            }
            // It restarts: connections close, the port is closed for a while, and old revisions are gone.
            2 => {
                lab.control().trouble("POST", "compact", "").await?;
                lab.control().trouble("POST", "down?forMs=700", "").await?;
                pause(&mut random, &mut over, 1000).await?;
            }
            // It does what it is asked, and the answers get lost.
            4 => {
                let rule = r#"{"pathPrefix": "/apis/caracal.dev", "methods": ["POST", "PUT", "PATCH"],
                               "lose": "reply", "times": 8}"#;
                lab.control().trouble("POST", "faults", rule).await?;
            }
            _ => {
                kill_one(lab, &mut random).await?;
                killed += 1;
            }
        }
        pause(&mut random, &mut over, 800).await?;
    }
    // A restart of the API server takes longer than the pause that the last round was given.
    wait::until(SOON, "the API server answers again", || async {
        lab.control().trouble("DELETE", "faults", "").await.map_err(NotYet::from)
    })
    .await?;
    Ok((rounds, killed))
}

/// SIGKILL for one agent, which is started again at once.
async fn kill_one(lab: &Lab, random: &mut Random) -> anyhow::Result<()> {
    let nodes = lab.nodes();
    let node = nodes.get(random.below(nodes.len())).context("the lab has no node")?;
    node.agent().kill().await?;
    node.agent().start().await
}

/// The trouble lasts for a while, or until all is over.
async fn pause(random: &mut Random, over: &mut watch::Receiver<bool>, most: usize) -> anyhow::Result<()> {
    let millis = u64::try_from(200 + random.below(most)).unwrap_or(200);
    // Either way it goes on: the caller looks.
    tokio::time::timeout(Duration::from_millis(millis), over.wait_for(|over| *over))
        .await
        .map_or(Ok(()), |outcome| outcome.map(drop).context("the churn has ended without a word"))
}
