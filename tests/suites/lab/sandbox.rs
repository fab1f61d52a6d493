//! Labs themselves: they vanish, and do not disturb each other. The labs here are started inside the case's own
//! sandbox, whose process numbers and namespaces are therefore theirs alone.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Sandbox, sandbox};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const SOON: Duration = Duration::from_secs(30);

fn lab(inside: &Sandbox, name: &str) -> anyhow::Result<Child> {
    lab_with(inside, name, &["--nodes", "2", "--pods", "1"])
}

/// Starts a lab as people do.
pub(crate) fn lab_with(inside: &Sandbox, name: &str, words: &[&str]) -> anyhow::Result<Child> {
    Command::new(inside.programs().join("caracal-lab"))
        .args(["--name", name])
        .args(words)
        .env_remove(sandbox::MARK)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting the lab {name}"))
}

/// Reads a lab's words up to the first line that holds `mark`.
pub(crate) async fn read_to(child: &mut Child, mark: &str) -> anyhow::Result<()> {
    let stdout = child.stdout.take().context("its output is read already")?;
    let mut lines = BufReader::new(stdout).lines();
    let mut seen = String::new();
    let read = async {
        while let Some(line) = lines.next_line().await? {
            if line.contains(mark) {
                return Ok(());
            }
            seen.push_str(&line);
            seen.push('\n');
        }
        anyhow::bail!("its output ended")
    };
    let outcome = tokio::time::timeout(Duration::from_secs(120), read).await;
    outcome
        .context("time is over")
        .flatten()
        .with_context(|| format!("waiting for `{mark}`; it said:\n{seen}"))
}

/// Names of the product's processes that run; one that has ended but was not waited for has no command line.
pub(crate) fn programs() -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir("/proc").context("reading /proc")?.flatten() {
        let path = entry.path();
        let alive = std::fs::read(path.join("cmdline")).is_ok_and(|line| !line.is_empty());
        if let Ok(name) = std::fs::read_to_string(path.join("comm"))
            && alive
        {
            names.push(name.trim().to_owned());
        }
    }
    Ok(names.into_iter().filter(|name| name.starts_with("caracal")).collect())
}

fn mounts() -> anyhow::Result<String> {
    std::fs::read_to_string("/proc/self/mountinfo").context("reading the mounts")
}

pub(crate) async fn a_killed_lab_leaves_nothing(inside: Sandbox) -> anyhow::Result<()> {
    let (links, mounted) = (links().await?, mounts()?);
    let mut child = lab(&inside, "victim")?;
    // Half way: the programs run, the lab is not up yet.
    read_to(&mut child, "agents:").await?;
    ensure!(programs()?.iter().any(|name| name == "caracal-agent"), "no agent runs: {:?}", programs()?);
    child.kill().await.context("killing the lab")?;
    wait::until(SOON, "every program of the lab is gone", || async {
        let left = programs()?;
        if left.is_empty() { Ok(()) } else { Err(NotYet::because(left.join(" "))) }
    })
    .await?;
    ensure!(mounts()? == mounted, "the lab left mounts");
    ensure!(self::links().await? == links, "the lab left devices");
    ensure!(sandbox::find("victim").is_err(), "the lab's name is still taken");
    Ok(())
}

async fn links() -> anyhow::Result<String> {
    caracal_lab::command::run(Command::new("ip").args(["-o", "link"])).await?.success()
}

pub(crate) async fn labs_run_side_by_side_but_not_under_one_name(inside: Sandbox) -> anyhow::Result<()> {
    let mut first = lab(&inside, "one")?;
    let mut second = lab(&inside, "two")?;
    let up = "The lab is up";
    let (a, b) = tokio::join!(read_to(&mut first, up), read_to(&mut second, up));
    a.context("the first lab")?;
    b.context("the second lab")?;
    let third = lab(&inside, "one")?.wait_with_output().await.context("waiting for the third lab")?;
    let said = String::from_utf8_lossy(&third.stderr);
    ensure!(!third.status.success() && said.contains("choose another with --name"), "it said: {said}");
    ensure!(said.lines().count() == 1, "more than one line: {said}");
    Ok(())
}
