//! The lab as a program: brings it up, shows it, and stays until it is told to end.

mod arguments;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use caracal_lab::lab::StepFailed;
use caracal_lab::sandbox::{self, Product, SandboxError, Side};
use caracal_lab::show::{self, Progress, Steps};
use caracal_lab::{Lab, Sandbox, Topology, enter, process, report, topology};
use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};

use arguments::{Command, Line, Up};

/// Lines of a log shown after a failure.
const TAIL: usize = 40;

fn main() -> ExitCode {
    match run(Line::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(line: Line) -> anyhow::Result<ExitCode> {
    if let Some(Command::Exec { name, target, command }) = line.command {
        enter::exec(&name, &target, &command)?;
        return Ok(ExitCode::FAILURE);
    }
    let topology = line.up.topology()?;
    let find = || -> Result<Product, SandboxError> { Product::find() };
    match sandbox::enter(&line.up.name, find)? {
        Side::Outside(code) => Ok(code),
        Side::Inside(sandbox) => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .context("starting the lab's runtime")?;
            runtime.block_on(inside(sandbox, topology, &line.up))
        }
    }
}

/// In the sandbox: the lab from its begin to its end, then its logs and what went wrong.
async fn inside(sandbox: Sandbox, topology: Topology, up: &Up) -> anyhow::Result<ExitCode> {
    let mut stop = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let logs = sandbox.logs();
    show::print(&format!("caracal lab `{}`: {}\n\n", up.name, topology.in_short()));
    show::print(&format!("{}\n", topology::draw(&topology)));
    let outcome = live(sandbox, topology, up, &mut stop).await;
    if let Err(error) = &outcome {
        explain(error, up.keep_logs.is_some());
    }
    if let Some(folder) = &up.keep_logs {
        keep(&logs, folder)?;
        show::print(&format!("logs: {}\n", folder.display()));
    }
    Ok(outcome.unwrap_or(ExitCode::FAILURE))
}

/// Up, checked, shown, kept until the signal, down.
async fn live(sandbox: Sandbox, topology: Topology, up: &Up, stop: &mut Signal) -> anyhow::Result<ExitCode> {
    let steps = Steps::default();
    let built = async {
        let lab = Lab::up(sandbox, topology, &steps).await?;
        let failed = check(&lab, &steps).await?;
        anyhow::Ok((lab, failed))
    };
    let (lab, failed) = tokio::select! {
        built = built => built?,
        _ = stop.recv() => {
            show::print("\nstopped before the lab was up; nothing is left of it\n");
            return Ok(ExitCode::from(130));
        }
    };
    if !up.once {
        show::print(&hints(&up.name));
        stay(&lab, stop).await?;
    }
    lab.down(&steps).await?;
    if failed.is_empty() {
        show::print("\nthe lab worked: every session, block, route and ping\n");
        return Ok(ExitCode::SUCCESS);
    }
    show::print(&format!("\nthe lab did not work: {} pings failed\n", failed.len()));
    for line in failed.iter().take(20) {
        show::print(&format!("  {line}\n"));
    }
    Ok(ExitCode::FAILURE)
}

/// Pings everything, prints the tables; gives the failed pings in words.
async fn check(lab: &Lab, steps: &Steps) -> anyhow::Result<Vec<String>> {
    steps.begin("pings: every pod from every pod and from every node, IPv4 and IPv6");
    let cells = report::ping_all(lab).await?;
    let failed: Vec<String> = cells
        .iter()
        .filter_map(|cell| {
            let why = cell.failure.as_ref()?;
            Some(format!("{} -> {} ({}): {why}", cell.from, cell.to.label, cell.to.address))
        })
        .collect();
    if failed.is_empty() {
        steps.done()
    } else {
        steps.failed()
    }
    show::print(&show::render(&report::gather(lab, cells).await?));
    Ok(failed)
}

/// Until the signal; a program that dies meanwhile ends the lab.
async fn stay(lab: &Lab, stop: &mut Signal) -> anyhow::Result<()> {
    let mut look = tokio::time::interval(std::time::Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = stop.recv() => break,
            _ = look.tick() => lab.all_live().await?,
        }
    }
    show::print("\n");
    Ok(())
}

fn hints(name: &str) -> String {
    let name = if name == "lab" { String::new() } else { format!("--name {name} ") };
    let run = |target: &str, command: &str| format!("  cargo lab exec {name}{target:<6} {command}\n");
    let mut text = String::from("\nThe lab is up until Ctrl-C. Try, in another terminal:\n");
    text.push_str(&run("n1", "ip route"));
    text.push_str(&run("n1", "caracalctl bgp peers"));
    text.push_str(&run("n1", "caracalctl bgp routes"));
    text.push_str(&run("n1-p1", "ip -6 route"));
    text.push_str(&run("fabric", "bash        (the logs are in /run/lab/logs)"));
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
