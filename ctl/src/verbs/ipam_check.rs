//! `caracalctl ipam check`: what does not fit together, what it means, and with `--fix` doing away with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ipam_fix;
use crate::agents::Agents;
use crate::arguments::{CheckArgs, ClusterArgs, NodesArgs};
use crate::audit::{Evidence, Finding, Problem, audit};
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::output::{Answer, Section};
use crate::table::{Cell, Table, Tone};

/// What was found, and done.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// When, RFC 3339.
    checked_at: String,
    /// The node whose agent was asked too, if it was one only.
    node: Option<String>,
    /// The nodes whose agents were asked too.
    #[serde(default)]
    asked: Vec<String>,
    /// The nodes whose agents were to be asked and did not answer, and why.
    #[serde(default)]
    silent: BTreeMap<String, String>,
    /// What was looked at.
    looked_at: LookedAt,
    /// What does not fit.
    pub(crate) problems: Vec<Told>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct LookedAt {
    pools: usize,
    blocks: usize,
    nodes: usize,
    pods: usize,
}

/// One finding with its words, and what became of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Told {
    #[serde(flatten)]
    pub(crate) finding: Finding,
    meaning: String,
    remedy: String,
    /// What was done about it; `None`: nothing was to be.
    #[serde(default)]
    outcome: Option<ipam_fix::Done>,
}

/// Where to ask.
pub(crate) struct Sources {
    pub(crate) cluster: Cluster,
    pub(crate) agents: Agents,
}

impl Sources {
    /// Reaches the API server, and the agents that are to be asked.
    pub(crate) async fn open(socket: &Path, by: &ClusterArgs, nodes: &NodesArgs) -> Result<Self, Failure> {
        let cluster = Cluster::open(by.kubeconfig.as_deref()).await?;
        let agents = Agents::open(socket, &cluster, by, nodes).await?;
        Ok(Self { cluster, agents })
    }

    /// Everything as it is now.
    async fn evidence(&self) -> Result<Evidence, Failure> {
        let (locals, silent) = self.agents.ask().await;
        Ok(Evidence { locals, silent, ..self.cluster.evidence().await? })
    }

    /// What does not fit, also at a second look after `pause` where time alone may explain it.
    pub(crate) async fn look(&self, pause: Duration) -> Result<(Evidence, Vec<Finding>), Failure> {
        let (evidence, first) = self.look_once().await?;
        if pause.is_zero() || !first.iter().any(|finding| finding.problem.settles()) {
            return Ok((evidence, first));
        }
        tokio::time::sleep(pause).await;
        let (evidence, second) = self.look_once().await?;
        let known: BTreeSet<_> = first.iter().map(Finding::place).collect();
        let lasting = second.iter().filter(|f| !f.problem.settles() || known.contains(&f.place()));
        Ok((evidence, lasting.cloned().collect()))
    }

    async fn look_once(&self) -> Result<(Evidence, Vec<Finding>), Failure> {
        let evidence = self.evidence().await?;
        let found = audit(&evidence);
        Ok((evidence, found))
    }
}

/// Looks, does away with what may be done away with if that is asked, and writes a report if one is asked.
pub(crate) async fn ask(socket: &Path, args: &CheckArgs) -> Result<Report, Failure> {
    let sources = Sources::open(socket, &args.cluster, &args.nodes).await?;
    let (evidence, found) = sources.look(Duration::from_secs(args.again)).await?;
    let mut problems = Vec::with_capacity(found.len());
    for finding in found {
        let outcome = match (&finding.fix, args.fix) {
            (Some(fix), true) => Some(ipam_fix::fix(&sources, fix).await?),
            (Some(_) | None, _) => None,
        };
        let (meaning, remedy) = (finding.problem.meaning().to_owned(), finding.remedy());
        problems.push(Told { finding, meaning, remedy, outcome });
    }
    let asked: Vec<String> = evidence.locals.iter().map(|local| local.node.clone()).collect();
    let report = Report {
        checked_at: jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string(),
        node: <[String; 1]>::try_from(asked.clone()).ok().map(|[node]| node),
        asked,
        silent: evidence.silent.clone(),
        looked_at: LookedAt {
            pools: evidence.pools.len(),
            blocks: evidence.blocks.len(),
            nodes: evidence.nodes.len(),
            pods: evidence.pods.len(),
        },
        problems,
    };
    if let Some(path) = &args.report {
        report.write(path)?;
    }
    Ok(report)
}

impl Report {
    fn write(&self, path: &Path) -> Result<(), Failure> {
        let failed = |reason: String| Failure::Report { doing: "writing", path: path.to_owned(), reason };
        let text = serde_json::to_string_pretty(self).map_err(|error| failed(error.to_string()))?;
        std::fs::write(path, text + "\n").map_err(|error| failed(error.to_string()))
    }

    /// A report that was written earlier.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let failed = |reason: String| Failure::Report { doing: "reading", path: path.to_owned(), reason };
        let text = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))
    }

    /// What is left, as the exit code tells it.
    pub(crate) fn verdict(&self) -> Result<(), Failure> {
        let left =
            self.problems.iter().filter(|told| !told.outcome.as_ref().is_some_and(ipam_fix::Done::is_done));
        match left.count() {
            0 if self.silent.is_empty() => Ok(()),
            0 => Err(Failure::Silent { count: self.silent.len() }),
            count => Err(Failure::Problems { count }),
        }
    }
}

impl Answer for Report {
    fn text(&self, wide: bool) -> Vec<Section> {
        let LookedAt { pools, blocks, nodes, pods } = self.looked_at;
        let mut headline = format!("Looked at {pools} pools, {blocks} blocks, {nodes} nodes and {pods} pods");
        match (&self.node, self.asked.len()) {
            (Some(node), _) => headline.push_str(&format!(", and asked the agent of {node}.")),
            (None, 0) if self.silent.is_empty() => {
                headline.push_str("; no agent was asked, since none runs on this machine.");
            }
            (None, 0) => headline.push_str("; no agent answered."),
            (None, count) => headline.push_str(&format!(", and asked the agents of {count} nodes.")),
        }
        let mut parts = vec![Section::Text(headline)];
        if !self.silent.is_empty() {
            let mut table = Table::new(["NOT ASKED", "WHY"]);
            for (node, why) in &self.silent {
                table.row([Cell::toned(node.clone(), Tone::Unsure), why.into()]);
            }
            parts.push(Section::Table(table));
        }
        if !self.problems.is_empty() {
            let mut headers = vec!["PROBLEM", "WHERE", "NODE", "FOUND"];
            if wide {
                headers.push("MEANING");
            }
            let done = self.problems.iter().any(|told| told.outcome.is_some());
            headers.push(if done { "OUTCOME" } else { "REMEDY" });
            let mut table = Table::new(headers);
            for told in &self.problems {
                let finding = &told.finding;
                let node = finding.node.clone().unwrap_or_else(|| "-".to_owned());
                let code = format!("{:?}", finding.problem);
                let mut row: Vec<Cell> = vec![
                    Cell::toned(code, tone(finding.problem)),
                    finding.subject().into(),
                    node.into(),
                    (&finding.found).into(),
                ];
                if wide {
                    row.push((&told.meaning).into());
                }
                row.push(match &told.outcome {
                    Some(outcome) => outcome.cell(),
                    None => (&told.remedy).into(),
                });
                table.row(row);
            }
            parts.push(Section::Table(table));
        }
        parts.push(Section::Text(format!("Check complete; found {} problems.", self.problems.len())));
        parts
    }

    fn names(&self) -> Vec<String> {
        self.problems.iter().map(|told| told.finding.subject()).collect()
    }
}

fn tone(problem: Problem) -> Tone {
    match problem {
        Problem::DoubledAddress
        | Problem::OverlappingBlocks
        | Problem::MissingRecord
        | Problem::OutsidePools
        | Problem::Disputed
        | Problem::Unreadable => Tone::Bad,
        Problem::PoolReplaced
        | Problem::AbsentNode
        | Problem::AbsentBorrower
        | Problem::LeakedAddress
        | Problem::StaleHandle
        | Problem::Unpublished
        | Problem::UnknownToAgent => Tone::Unsure,
    }
}
