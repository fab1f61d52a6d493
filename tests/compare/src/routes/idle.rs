//! `cargo compare idle`: what an agent costs while nothing happens.
//!
//! A router announces its routes to the agent, and says nothing more but that it lives. When all are in the kernel and the agent
//! has done what follows from a start, its CPU time is taken twice, some time apart: what lies between is what it costs to have
//! so many routes. BFD is off, and there are no pods.

use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::updates::announcements;
use super::watch::{Event, Watch};
use crate::cpus::Cpus;
use crate::folder::Folder;
use crate::generator::family::Family;
use crate::generator::heard::{Board, Heard};
use crate::generator::{message, session};
use crate::load::{Client, PORT, SUBJECT_AS};
use crate::process::Process;
use crate::report::{Figure, OURS, Report, words};
use crate::{Idle, bgp, place};

/// Where the API server listens.
const API: &str = "127.0.0.1:6443";
/// The AS of the router.
const ROUTER_AS: u32 = 65001;
/// From the last route to the first look: what follows from a start is done by then.
const SETTLED: Duration = Duration::from_secs(10);
/// How long a program may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures and prints it.
pub(crate) fn run(asked: &Idle) -> anyhow::Result<()> {
    let cpus = Cpus::divide()?;
    place::enter()?;
    let folder = Folder::make()?;
    println!("{}", bgp::machine(&cpus)?);
    let title = format!("{} routes, {} s idle", asked.routes, asked.seconds);
    let rounds = std::thread::scope(|scope| {
        let driver = scope.spawn(|| {
            cpus.keep_to_the_generators()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let subjects = cpus.subjects();
            let work = measure(asked, &subjects, folder.path());
            tokio::task::LocalSet::new().block_on(&runtime, work)
        });
        driver.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the generator has panicked")))
    })?;
    let mut report = Report::default();
    for (figures, round) in rounds.iter().zip(1..) {
        println!("round {round}, {title}: {}", words(figures));
        report.add((0, 0), &title, OURS, figures);
    }
    println!("{}", report.text());
    if let Some(path) = &asked.json {
        let text = serde_json::to_string_pretty(&report.summaries()).context("writing JSON")?;
        std::fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

async fn measure(asked: &Idle, cpus: &str, folder: &Path) -> anyhow::Result<Vec<Vec<Figure>>> {
    let client = Client::numbered(Family::V4, 0, ROUTER_AS);
    let mut api = api_server(&client, cpus, folder)?;
    let kubeconfig = folder.join("kubeconfig");
    let ready = async {
        while !kubeconfig.exists() {
            api.must_live()?;
            sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, ready).await.context("the API server did not come up")??;
    let mut agent = agent(&kubeconfig, cpus, folder)?;

    let heard = Heard::new(Family::V4, 0, 0..asked.routes, &Rc::new(Board::default()), None);
    let server = SocketAddr::new(place::subject(Family::V4), PORT);
    let limit = Duration::from_secs(asked.limit);
    let opening = timeout(limit, session::establish(&client, server, heard)).await;
    let mouth = opening.context("no session came up: the agent's log is in the folder")??;
    let mut watch = Watch::open()?;
    mouth.say(Rc::new(announcements(&client, 0..asked.routes))).await?;
    mouth.say(Rc::new(message::end_of_rib(Family::V4))).await?;
    let all = timeout(limit, watch.all(Event::New, asked.routes)).await;
    all.with_context(|| format!("not all routes came into the kernel within {} s", asked.limit))??;
    drop(watch);
    sleep(SETTLED).await;

    let mut rounds = Vec::new();
    for _ in 0..asked.rounds {
        let before = agent.usage()?;
        sleep(Duration::from_secs(asked.seconds)).await;
        agent.must_live()?;
        let after = agent.usage()?;
        let cpu = after.cpu - before.cpu;
        #[allow(clippy::cast_precision_loss, reason = "seconds are few, and octets need not be exact")]
        let (of_a_core, memory) = (cpu * 100.0 / asked.seconds as f64, after.memory as f64 / 1024.0 / 1024.0);
        rounds.push(vec![
            Figure { metric: "CPU", unit: "ms", value: cpu * 1000.0 },
            Figure { metric: "of a core", unit: "%", value: of_a_core },
            Figure { metric: "memory", unit: "MiB", value: memory },
        ]);
    }
    Ok(rounds)
}

fn api_server(client: &Client, cpus: &str, folder: &Path) -> anyhow::Result<Process> {
    let own = place::subject(Family::V4);
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "caracal-system"}},
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
         "status": {"addresses": [{"type": "InternalIP", "address": own}]}},
        {"apiVersion": "caracal.dev/v1", "kind": "BGPConfiguration", "metadata": {"name": "default"},
         "spec": {"asNumber": SUBJECT_AS, "nodeToNodeMeshEnabled": false}},
        {"apiVersion": "caracal.dev/v1", "kind": "BGPPeer", "metadata": {"name": "router"},
         "spec": {"peerIP": client.address.to_string(), "asNumber": client.asn, "passive": true}},
    ]});
    let path = |name: &str| folder.join(name).display().to_string();
    std::fs::write(folder.join("objects.json"), objects.to_string()).context("writing objects.json")?;
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds").display().to_string();
    let words = [
        program("caracal-apiserver")?,
        format!("--listen={API}"),
        format!("--crds={crds}"),
        format!("--load={}", path("objects.json")),
        format!("--write-kubeconfig={}", path("kubeconfig")),
    ];
    Process::start("apiserver", &words, cpus, &folder.join("apiserver.log"))
}

fn agent(kubeconfig: &Path, cpus: &str, folder: &Path) -> anyhow::Result<Process> {
    let own = |name: &str| folder.join(name).display().to_string();
    let words = [
        program("caracal-agent")?,
        "--node-name=n1".to_owned(),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--run-dir={}", own("run")),
        format!("--state-dir={}", own("state")),
        format!("--cni-conf-dir={}", own("net.d")),
    ];
    std::fs::create_dir_all(folder.join("net.d")).context("making a folder")?;
    Process::start(OURS, &words, cpus, &folder.join("agent.log"))
}

/// A program of the product, which is built beside this one.
fn program(name: &str) -> anyhow::Result<String> {
    let beside = std::env::current_exe().context("asking for this program's path")?;
    Ok(beside.with_file_name(name).display().to_string())
}
