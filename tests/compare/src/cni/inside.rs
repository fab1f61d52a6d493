//! Addresses without plugins: the agent's own allocator and journal in this process, with as many threads as it has, asked
//! as its ADD and DEL ask them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use caracal_agent::attachments::{Address, Attachment, AttachmentKey, Extras, Journal, Phase};
use caracal_agent::cluster::Cluster;
use caracal_agent::ipam::{Ipam, Start};
use caracal_agent::settings::ApiAccess;
use caracal_ipam::{Attributes, BlockState, Want, WantFamilies};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::host::API;
use crate::report::{Figure, OURS, Report, words};

/// The node that it plays.
pub(crate) const NODE: &str = "n2";
/// The agent's threads.
const THREADS: usize = 2;
/// For the first block.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many ask at the same time, and how often each, without and with the journal.
const LOADS: [(&str, usize, usize, usize); 2] =
    [("one asks", 1, 20_000, 500), ("100 ask at once", 100, 500, 40)];
/// Pods that come at once.
const PODS: usize = 1000;
/// That load, in tables.
const BURST: &str = "in process, 1,000 pods at once";

/// Measures it so often, with the API server of the host in this folder; figures go into the report after `case` others.
pub(crate) fn measure(folder: &Path, rounds: u16, case: usize, report: &mut Report) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    runtime.block_on(async {
        let parts = Parts::start(folder).await?;
        for round in 0..=rounds {
            for (place, journal) in [None, Some(&parts.journal)].into_iter().enumerate() {
                let name = if journal.is_some() {
                    "in process, each with an fsync"
                } else {
                    "in process, memory alone"
                };
                let mut figures = Vec::new();
                for (metric, askers, alone, kept) in LOADS {
                    let turns = if journal.is_some() { kept } else { alone };
                    let value = rate(&parts.ipam, journal, askers, turns).await?;
                    figures.push(Figure { metric, unit: "ADD+DEL/s", value });
                }
                println!("round {round}, {name}: {}", words(&figures));
                if round > 0 {
                    report.add((case + place, 0), name, OURS, &figures);
                }
            }
            let figures = [requests(&parts.ipam).await?];
            println!("round {round}, {BURST}: {}", words(&figures));
            if round > 0 {
                report.add((case + 2, 0), BURST, OURS, &figures);
            }
        }
        parts.journal.close().await;
        Ok(())
    })
}

struct Parts {
    ipam: Ipam,
    journal: Journal,
}

impl Parts {
    async fn start(folder: &Path) -> anyhow::Result<Self> {
        let state = folder.join(NODE);
        let client = ApiAccess { kubeconfig: Some(folder.join("kubeconfig")) }.client().await?;
        let (journal, recovered) = Journal::open(&state.join("journal.redb"))?;
        let ipam = Ipam::start(Start {
            node: NODE.to_owned(),
            client: client.clone(),
            cluster: Cluster::start(&client, NODE, &state.join("snapshot")),
            journal: journal.clone(),
            speaker: None,
            recovered: &recovered,
            events: None,
        });
        let mut blocks = ipam.own_blocks();
        let owned = blocks.wait_for(|all| all.iter().any(|block| block.state == BlockState::Owned));
        let waited = tokio::time::timeout(PATIENCE, owned).await.context("waiting for the first block")?;
        drop(waited.context("the allocator has ended")?);
        Ok(Self { ipam, journal })
    }
}

/// How many addresses are given and taken back in a second.
async fn rate(ipam: &Ipam, journal: Option<&Journal>, askers: usize, turns: usize) -> anyhow::Result<f64> {
    let begin = Instant::now();
    let tasks: Vec<_> =
        (0..askers).map(|asker| tokio::spawn(ask(ipam.clone(), journal.cloned(), asker, turns))).collect();
    for task in tasks {
        task.await.context("an asker has panicked")??;
    }
    #[allow(clippy::cast_precision_loss, reason = "there are few")]
    let given = (askers * turns) as f64;
    Ok(given / begin.elapsed().as_secs_f64())
}

/// Requests about blocks that reach the API server until 1,000 pods that came at once have their addresses, and the
/// objects show them. A rule without an effect counts them.
async fn requests(ipam: &Ipam) -> anyhow::Result<Figure> {
    let rule = json!({"pathPrefix": "/apis/caracal.dev/v1/ipamblocks", "methods": ["GET", "POST", "PUT", "PATCH", "DELETE"]});
    let id = side_door("POST", "faults", &rule.to_string()).await?["id"].clone();
    let asks = (0..PODS).map(|pod| {
        let (ipam, key) = (ipam.clone(), key(pod, 0));
        tokio::spawn(async move { ipam.allocate(want(&key, pod)).await.map(|granted| (key, granted)) })
    });
    let mut held = Vec::new();
    for task in asks.collect::<Vec<_>>() {
        held.push(task.await.context("an asker has panicked")??);
    }
    let end = Instant::now() + PATIENCE;
    loop {
        let blocks = ipam.show().await.blocks;
        let given: usize = blocks.iter().map(|block| block.allocations.len()).sum();
        if given == PODS && blocks.iter().all(|block| !block.unpublished) {
            break;
        }
        ensure!(Instant::now() < end, "not all of {given} addresses were published in time");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let rules = side_door("GET", "faults", "").await?;
    let mut rules = rules["faults"].as_array().into_iter().flatten();
    let hits = rules.find(|rule| rule["id"] == id).and_then(|rule| rule["hits"].as_f64());
    side_door("DELETE", &format!("faults/{id}"), "").await?;
    for (key, granted) in held {
        ipam.release(key.handle(), granted).await;
    }
    let value = hits.context("the API server does not tell how many requests it met")?;
    Ok(Figure { metric: "API requests", unit: "", value })
}

/// One request to the side door of the lab's API server.
async fn side_door(method: &str, path: &str, body: &str) -> anyhow::Result<Value> {
    let mut stream = TcpStream::connect(API).await.context("connecting to the API server")?;
    let length = body.len();
    let request = format!(
        "{method} /lab/{path} HTTP/1.1\r\nHost: {API}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
    ensure!(head.contains(" 200 "), "{method} /lab/{path}: {answer}");
    Ok(serde_json::from_str(body)?)
}

fn key(asker: usize, turn: usize) -> AttachmentKey {
    let container = format!("{asker:032x}{turn:032x}");
    AttachmentKey { network: "net".to_owned(), container, interface: "eth0".to_owned() }
}

fn want(key: &AttachmentKey, asker: usize) -> Want {
    Want {
        handle: key.handle(),
        families: WantFamilies::V4,
        requested: Vec::new(),
        pools: None,
        attributes: Attributes {
            namespace: "default".to_owned(),
            pod: format!("pod-{asker}"),
            ..Attributes::default()
        },
    }
}

async fn ask(ipam: Ipam, journal: Option<Journal>, asker: usize, turns: usize) -> anyhow::Result<()> {
    for turn in 0..turns {
        let key = key(asker, turn);
        let want = want(&key, asker);
        let attributes = want.attributes.clone();
        let granted = ipam.allocate(want).await?;
        ensure!(granted.len() == 1, "{} addresses were given", granted.len());
        if let Some(journal) = &journal {
            let record = Attachment {
                key: key.clone(),
                pod: None,
                netns: PathBuf::new(),
                host: "cali1".to_owned(),
                addresses: granted.iter().cloned().map(Address::Own).collect(),
                attributes,
                phase: Phase::Ready,
                mtu: 1450,
                mac: None,
                extras: Extras::default(),
            };
            journal.put(record).await?;
            journal.remove(&key).await?;
        }
        ipam.release(key.handle(), granted).await;
    }
    Ok(())
}
