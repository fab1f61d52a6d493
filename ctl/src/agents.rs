//! The agents that a question about the whole cluster goes to: that of this machine by its socket, and with `--all-nodes` those
//! of all other nodes.
//!
//! An agent answers on a socket of its own machine, and opens no port. So other nodes are reached by a command, of the
//! administrator's own rights, that ends there in `caracalctl pipe`: `kubectl exec` unless another is named. What speaks over its
//! standard input and output is the same connection as over a socket. A node that is not reached is told by name, never left out
//! in silence.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use caracal_proto::v1::ShowRequest;
use caracal_proto::v1::ipam_service_client::IpamServiceClient;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::arguments::{ClusterArgs, NodesArgs};
use crate::audit::{Local, LocalBlock};
use crate::cluster::{AgentPod, Cluster};
use crate::connection::{self, LARGEST_ANSWER};
use crate::failure::Failure;

/// How many nodes are asked at the same time.
const AT_ONCE: usize = 16;
/// How long one node may take to be reached and to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a command that failed may take to say why, and how much of it is read.
const LAST_WORDS: Duration = Duration::from_secs(1);
const LONGEST_WORDS: u64 = 4096;

/// One agent.
pub(crate) struct Agent {
    pub(crate) node: String,
    pub(crate) channel: Channel,
    /// What carries the channel, if it is no socket; it ends with this.
    _command: Option<Child>,
}

/// Those that were reached, and why others were not.
#[derive(Default)]
pub(crate) struct Agents {
    pub(crate) reached: Vec<Agent>,
    pub(crate) unreached: BTreeMap<String, String>,
}

impl Agents {
    /// Reaches that of this machine, if there is a socket of one, and all others if that is asked.
    pub(crate) async fn open(
        socket: &Path,
        cluster: &Cluster,
        by: &ClusterArgs,
        nodes: &NodesArgs,
    ) -> Result<Self, Failure> {
        let mut agents = Self::default();
        match connection::open(socket).await {
            Ok(channel) => {
                let node = show(channel.clone()).await?.node;
                agents.reached.push(Agent { node, channel, _command: None });
            }
            // On a machine that is no node there is nothing to ask.
            Err(Failure::NoSocket { .. }) => {}
            Err(failure) => return Err(failure),
        }
        if nodes.all_nodes {
            let pods = cluster.agent_pods().await?;
            let mut others = cluster.node_names().await?;
            others.retain(|node| agents.of(node).is_none());
            let kubeconfig = by.kubeconfig.clone();
            let through = nodes.through.clone();
            let reached = each(others, move |node| {
                let words = words(&through, &node, pods.get(&node));
                let kubeconfig = kubeconfig.clone();
                async move {
                    let reached = match words {
                        Ok(words) => reach(&node, &words, kubeconfig.as_deref()).await,
                        Err(why) => Err(why),
                    };
                    (node, reached)
                }
            });
            for (node, reached) in reached.await {
                match reached {
                    Ok(agent) => agents.reached.push(agent),
                    Err(why) => drop(agents.unreached.insert(node, why)),
                }
            }
            agents.reached.sort_by(|a, b| a.node.cmp(&b.node));
        }
        Ok(agents)
    }

    /// That of a node.
    pub(crate) fn of(&self, node: &str) -> Option<&Agent> {
        self.reached.iter().find(|agent| agent.node == node)
    }

    /// What each says of its node now, and why some do not any more.
    pub(crate) async fn ask(&self) -> (Vec<Local>, BTreeMap<String, String>) {
        let agents = self.reached.iter().map(|agent| (agent.node.clone(), agent.channel.clone())).collect();
        let answers = each(agents, |(node, channel)| async move {
            let answer = match tokio::time::timeout(PATIENCE, show(channel)).await {
                Ok(answer) => answer.map_err(|failure| failure.to_string()),
                Err(_) => Err(too_late()),
            };
            (node, answer)
        });
        let (mut locals, mut silent) = (Vec::new(), self.unreached.clone());
        for (node, answer) in answers.await {
            match answer {
                Ok(local) => locals.push(local),
                Err(why) => drop(silent.insert(node, why)),
            }
        }
        locals.sort_by(|a, b| a.node.cmp(&b.node));
        (locals, silent)
    }
}

/// Does this for each, some at the same time; in no order.
async fn each<T, R, F>(items: Vec<T>, work: impl Fn(T) -> F) -> Vec<R>
where
    R: Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut under_way = JoinSet::new();
    for item in items {
        let (turns, work) = (Arc::clone(&turns), work(item));
        under_way.spawn(async move {
            // The semaphore is never closed, so a turn always comes.
            let _turn = turns.acquire().await.ok();
            work.await
        });
    }
    under_way.join_all().await
}

/// The words of the command for one node.
fn words(through: &str, node: &str, pod: Option<&AgentPod>) -> Result<Vec<String>, String> {
    let place = |word: &str| -> Result<String, String> {
        let word = word.replace("{node}", node);
        if !word.contains("{pod}") && !word.contains("{namespace}") {
            return Ok(word);
        }
        let pod = pod.ok_or("no pod of the agent runs on it")?;
        Ok(word.replace("{pod}", &pod.name).replace("{namespace}", &pod.namespace))
    };
    through.split_whitespace().map(place).collect()
}

fn too_late() -> String {
    format!("no answer within {} s", PATIENCE.as_secs())
}

async fn reach(node: &str, words: &[String], kubeconfig: Option<&Path>) -> Result<Agent, String> {
    let (program, arguments) = words.split_first().ok_or("the command to reach it by is empty")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Or a command that hangs would outlive us.
    command.kill_on_drop(true);
    if let Some(path) = kubeconfig {
        command.env("KUBECONFIG", path);
    }
    let mut child = command.spawn().map_err(|error| format!("starting {program}: {error}"))?;
    let (stdin, stdout) = child.stdin.take().zip(child.stdout.take()).ok_or("the command has no pipes")?;
    let asking = async {
        let channel = connection::over(tokio::io::join(stdout, stdin)).await?;
        let local = show(channel.clone()).await.map_err(|failure| failure.to_string())?;
        Ok::<_, String>((channel, local.node))
    };
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(Ok((channel, found))) if found == node => {
            Ok(Agent { node: found, channel, _command: Some(child) })
        }
        Ok(Ok((_, found))) => {
            Err(format!("the agent that `{}` leads to is that of {found}", words.join(" ")))
        }
        Ok(Err(why)) => Err(last_words(child).await.unwrap_or(why)),
        Err(_) => Err(last_words(child).await.unwrap_or_else(too_late)),
    }
}

/// What a command that has failed said.
async fn last_words(mut child: Child) -> Option<String> {
    let mut said = Vec::new();
    let mut stderr = child.stderr.take()?.take(LONGEST_WORDS);
    // What was read until then counts.
    tokio::time::timeout(LAST_WORDS, stderr.read_to_end(&mut said)).await.ok();
    let text = String::from_utf8_lossy(&said);
    let words: Vec<&str> = text.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

async fn show(channel: Channel) -> Result<Local, Failure> {
    let mut client = IpamServiceClient::new(channel).max_decoding_message_size(LARGEST_ANSWER);
    let answer =
        client.show(ShowRequest {}).await.map_err(Failure::agent("asking the agent for its blocks"))?;
    let answer = answer.into_inner();
    let blocks = answer.blocks.into_iter().map(|block| LocalBlock {
        handles: block
            .allocations
            .into_iter()
            .filter_map(|held| Some((held.address.parse::<IpAddr>().ok()?, held.handle)))
            .collect(),
        name: block.name,
        state: block.state,
        dispute: block.dispute.map(|trouble| format!("{}: {}", trouble.code, trouble.message)),
    });
    Ok(Local { blocks: blocks.collect(), node: answer.node })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::THROUGH;

    #[test]
    fn the_command_names_the_node_or_the_pod_of_its_agent() {
        let pod = AgentPod { namespace: "caracal-system".into(), name: "caracal-agent-x7".into() };
        let told = words(THROUGH, "n1", Some(&pod)).unwrap().join(" ");
        assert_eq!(
            told,
            "kubectl --namespace caracal-system exec --stdin caracal-agent-x7 --container agent -- caracalctl pipe"
        );
        assert_eq!(words(THROUGH, "n1", None).unwrap_err(), "no pod of the agent runs on it");
        assert_eq!(words("ssh root@{node} caracalctl pipe", "n1", None).unwrap()[1], "root@n1");
    }

    #[tokio::test]
    async fn what_a_command_that_fails_said_is_why() {
        let word = |word: &str| word.to_owned();
        let script = [word("sh"), word("-c"), word("echo no such >&2; echo machine >&2; exit 1")];
        assert_eq!(reach("n1", &script, None).await.err().unwrap(), "no such machine");
        let nowhere = [word("/nonexistent/command")];
        let why = reach("n1", &nowhere, None).await.err().unwrap();
        assert!(why.starts_with("starting /nonexistent/command: "), "{why}");
    }
}
