//! A lab from its begin to its end.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use caracal_lab::lab::StepFailed;
use caracal_lab::load::{Load, Summary};
use caracal_lab::report::{self, Measured, Report};
use caracal_lab::show::{self, Progress, Steps};
use caracal_lab::supervisor::Supervisor;
use caracal_lab::{Lab, Sandbox, Topology, process, remote, topology, witness};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::arguments::Up;
use crate::document::Document;

/// Lines of a log shown after a failure.
const TAIL: usize = 40;
/// How long load runs with `--once`.
const LOADED: Duration = Duration::from_secs(10);
/// Between two looks at the programs, and between two lines about load.
const LOOK: Duration = Duration::from_millis(250);
/// Failures that are listed.
const LISTED: usize = 20;

/// In the sandbox: the lab, then its logs and what went wrong.
pub(crate) async fn inside(sandbox: Sandbox, topology: Topology, up: &Up) -> anyhow::Result<ExitCode> {
    let mut stop = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let logs = sandbox.logs();
    let steps = if up.json { Steps::quiet() } else { Steps::default() };
    let short = topology.in_short();
    if !up.json {
        let drawn = topology::draw(&topology);
        show::print(&format!("caracal lab `{}`\n{}\n\n{drawn}\n", up.name, show::folded(&short)));
    }
    let outcome = live(sandbox, topology, up, &steps, &mut stop).await;
    if let Err(error) = &outcome {
        if up.json {
            let failures = vec![format!("{error:#}")];
            show::print(&Document::of(&up.name, short, &steps, failures).text()?);
        }
        explain(error, up.keep_logs.is_some());
    }
    if let Some(folder) = &up.keep_logs {
        keep(&logs, folder)?;
        if !up.json {
            show::print(&format!("logs: {}\n", folder.display()));
        }
    }
    Ok(outcome.unwrap_or(ExitCode::FAILURE))
}

/// Up, checked, shown, kept until the signal, down.
async fn live(
    sandbox: Sandbox,
    topology: Topology,
    up: &Up,
    steps: &Steps,
    stop: &mut Signal,
) -> anyhow::Result<ExitCode> {
    let built = async {
        let begin = Instant::now();
        let lab = Lab::up(sandbox, topology, steps).await?;
        let (report, failures) = check(&lab, begin.elapsed(), steps).await?;
        anyhow::Ok((Arc::new(lab), report, failures))
    };
    let (lab, report, mut failures) = tokio::select! {
        built = built => built?,
        _ = stop.recv() => {
            eprintln!("\nstopped before the lab was up; nothing is left of it");
            return Ok(ExitCode::from(130));
        }
    };
    if !up.json {
        show::print(&show::render(&report));
    }
    let mut load = up.load.map(|rate| Load::new(lab.clone(), rate));
    if up.once {
        if let Some(load) = &mut load {
            steps.begin("load: pods come and go");
            load.run_until(Instant::now() + LOADED).await;
            steps.done();
        }
    } else {
        // Before the word that it is up: who reads that may ask at once.
        let service = remote::serve(lab.clone())?;
        if up.json {
            show::print(&document(up, &lab, steps, &failures, Some(report.clone()), None).text()?);
        } else {
            show::print(&hints(up, &lab));
        }
        stay(&lab, stop, load.as_mut(), up.json).await?;
        service.abort();
    }
    let summary = settle(load, &mut failures).await;
    lab.down(steps).await?;
    if up.json {
        if up.once {
            show::print(&document(up, &lab, steps, &failures, Some(report), summary).text()?);
        }
    } else {
        if let Some(summary) = summary {
            show::print(&format!("\nload: {summary}\n"));
        }
        show::print(&verdict(&failures));
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Pings everything and asks the outside what it sees; gives the failures in words.
async fn check(lab: &Lab, ready: Duration, steps: &Steps) -> anyhow::Result<(Report, Vec<String>)> {
    steps.begin("pings: every pod from every pod and every node, one packet each");
    let pings = report::ping_all(lab).await?;
    let round_trips = pings.iter().filter_map(|cell| cell.micros);
    let figures = report::figures(lab, ready, round_trips).await;
    let mut measured = Measured { pings, outside: Vec::new(), figures };
    if report::failures(&measured).is_empty() {
        steps.done()
    } else {
        steps.failed()
    }

    steps.begin("natOutgoing: the outside host sees the nodes' addresses");
    measured.outside = witness::ask_from_all(lab).await?;
    if measured.outside.iter().all(witness::Sight::is_right) {
        steps.done()
    } else {
        steps.failed()
    }
    let failures = report::failures(&measured);
    Ok((report::gather(lab, measured).await?, failures))
}

/// Until the signal. Programs that end are started again; the API server's end is the lab's.
async fn stay(lab: &Lab, stop: &mut Signal, mut load: Option<&mut Load>, quiet: bool) -> anyhow::Result<()> {
    let mut supervisor = Supervisor::default();
    let mut told = String::new();
    loop {
        let next = Instant::now() + LOOK;
        tokio::select! {
            _ = stop.recv() => break,
            () = pass(load.as_deref_mut(), next) => {}
        }
        for words in supervisor.look(lab).await? {
            eprintln!("\n{words}");
        }
        if let Some(load) = &load
            && !quiet
        {
            told = show::replace(&told, &format!("load: {}", load.summary()));
        }
    }
    if !quiet {
        show::print("\n");
    }
    Ok(())
}

async fn pass(load: Option<&mut Load>, until: Instant) {
    match load {
        Some(load) => load.run_until(until).await,
        None => tokio::time::sleep_until(until.into()).await,
    }
}

/// Ends the load; what failed in it is a failure of the lab.
async fn settle(load: Option<Load>, failures: &mut Vec<String>) -> Option<Summary> {
    let mut load = load?;
    load.end().await;
    let summary = load.summary();
    if summary.failed > 0 {
        let last = summary.last_failure.clone().unwrap_or_default();
        failures.push(format!("{} ADDs or DELs of the load failed, at last: {last}", summary.failed));
    }
    Some(summary)
}

fn document(
    up: &Up,
    lab: &Lab,
    steps: &Steps,
    failures: &[String],
    report: Option<Report>,
    load: Option<Summary>,
) -> Document {
    let document = Document::of(&up.name, lab.topology().in_short(), steps, failures.to_vec());
    Document { report, load, ..document }
}

fn verdict(failures: &[String]) -> String {
    if failures.is_empty() {
        return "\nthe lab worked: every session, block, route and ping\n".into();
    }
    let mut text = format!("\nthe lab did not work; {} failures:\n", failures.len());
    for line in failures.iter().take(LISTED) {
        text.push_str(&format!("  {line}\n"));
    }
    if failures.len() > LISTED {
        text.push_str(&format!("  … {} more\n", failures.len() - LISTED));
    }
    text
}

fn hints(up: &Up, lab: &Lab) -> String {
    let name = if up.name == "lab" { String::new() } else { format!("--name {} ", up.name) };
    let run =
        |verb: &str, words: String| format!("  cargo lab {verb} {name}{words}").trim_end().to_owned() + "\n";
    let node = lab.nodes().first().map_or("control", |node| node.name());
    let router = lab.routers().first().map_or("control", |router| router.name());
    let mut text = String::from("\nThe lab is up until Ctrl-C. Try, in another terminal:\n");
    text.push_str(&run("exec", format!("{node} ip route")));
    text.push_str(&run("exec", format!("{node} caracalctl bgp peers")));
    if let Some(pod) = lab.pods().first() {
        text.push_str(&run("exec", format!("{} ip -6 route", pod.name())));
    }
    text.push_str(&run("kubectl", "get nodes,ippools,bgppeers".into()));
    text.push_str(&run("shell", router.into()));
    text.push_str(&run("status", String::new()));
    text.push_str(&run("logs", format!("-f {node}")));
    text.push_str(&run("fault", format!("{node} kill-agent        (cargo lab fault --help tells them all)")));
    text.push_str(&format!(
        "The API server is {}; inside, KUBECONFIG is {}.\n",
        lab.control().server(),
        lab.control().kubeconfig().display()
    ));
    text
}

/// What failed and, from the logs of the parts concerned, why.
fn explain(error: &anyhow::Error, kept: bool) {
    eprintln!("\nerror: {error:#}");
    let Some(failed) = error.downcast_ref::<StepFailed>() else { return };
    for log in &failed.logs {
        eprintln!("\n--- the end of {} ---", log.file_name().unwrap_or_default().display());
        eprintln!("{}", process::tail(log, TAIL));
    }
    if !kept {
        eprintln!("\n(the whole logs: again with --keep-logs DIR)");
    }
}

/// Copies the logs out of the sandbox.
fn keep(logs: &Path, folder: &Path) -> anyhow::Result<()> {
    let doing = || format!("copying the logs to {}", folder.display());
    std::fs::create_dir_all(folder).with_context(doing)?;
    for entry in std::fs::read_dir(logs).with_context(doing)? {
        let entry = entry.with_context(doing)?;
        std::fs::copy(entry.path(), folder.join(entry.file_name())).with_context(doing)?;
    }
    Ok(())
}
