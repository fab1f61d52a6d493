//! Those who write routes that they know: caracal's kernel thread, `ip -batch`, BIRD's kernel protocol.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::GATEWAYS;
use crate::generator::family;
use crate::{place, process};

/// One of them, ready to begin.
pub(super) enum Hands {
    /// A process that is told by lines.
    Caracal { child: Child, words: ChildStdin, log: PathBuf },
    /// One process for each file.
    Ip { cpus: String, folder: PathBuf, running: Option<Child> },
    /// A daemon, told by its control socket.
    Bird { child: Child, control: PathBuf },
}

impl Hands {
    /// Starts it on its CPUs, with so many routes that it does not write yet.
    pub(super) fn start(name: &str, routes: u32, cpus: &str, folder: &Path) -> anyhow::Result<Self> {
        match name {
            "caracal" => caracal(routes, cpus, folder),
            "ip" => ip(routes, cpus, folder),
            "bird" => bird(routes, cpus, folder),
            other => bail!("nobody is called {other}"),
        }
    }

    /// Waits until it is there and knows all routes.
    pub(super) async fn is_up(&mut self, limit: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + limit;
        loop {
            let up = match self {
                Self::Caracal { log, .. } => fs::read_to_string(log)?.contains("up"),
                Self::Ip { .. } => true,
                Self::Bird { control, .. } => {
                    birdc(control, "show protocols").is_ok_and(|said| said.contains("two"))
                }
            };
            if up {
                return Ok(());
            }
            ensure!(Instant::now() < end, "it is not up within {} s", limit.as_secs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What has to be done before a step, and is not measured.
    pub(super) fn prepare(&mut self, step: &str) -> anyhow::Result<()> {
        match self {
            Self::Bird { control, .. } if step == "remove" => birdc(control, "disable one").map(drop),
            Self::Ip { running, .. } => match running.take() {
                Some(mut child) => {
                    let status = child.wait().context("waiting for ip")?;
                    ensure!(status.success(), "ip: {status}");
                    Ok(())
                }
                None => Ok(()),
            },
            Self::Bird { .. } | Self::Caracal { .. } => Ok(()),
        }
    }

    /// Has it begin a step.
    pub(super) fn act(&mut self, step: &str) -> anyhow::Result<()> {
        match self {
            Self::Caracal { words, .. } => writeln!(words, "{step}").context("telling what to do"),
            Self::Ip { cpus, folder, running } => {
                let mut command = Command::new("taskset");
                command.args(["-c", cpus, "ip", "-batch"]).arg(folder.join(step));
                *running = Some(command.stdin(Stdio::null()).spawn().context("starting ip")?);
                Ok(())
            }
            Self::Bird { control, .. } => {
                let words = match step {
                    "install" => "enable one",
                    // Of two routes the preferred one is the kernel's.
                    "change" => "enable two",
                    _ => "disable two",
                };
                birdc(control, words).map(drop)
            }
        }
    }

    /// The CPU seconds it has used so far, once a step is over.
    pub(super) fn cpu(&mut self) -> anyhow::Result<f64> {
        match self {
            Self::Caracal { child, .. } | Self::Bird { child, .. } => process::used_by(child.id()),
            Self::Ip { .. } => {
                self.prepare("")?;
                process::used_by_children()
            }
        }
    }

    /// Ends it.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        self.prepare("stop")
    }
}

impl Drop for Hands {
    fn drop(&mut self) {
        let child = match self {
            Self::Caracal { child, .. } | Self::Bird { child, .. } => Some(child),
            Self::Ip { running, .. } => running.as_mut(),
        };
        if let Some(child) = child
            && let Err(error) = child.kill().and_then(|()| child.wait())
        {
            eprintln!("ending what was measured: {error}");
        }
    }
}

fn caracal(routes: u32, cpus: &str, folder: &Path) -> anyhow::Result<Hands> {
    let own = std::env::current_exe().context("asking for this program's path")?;
    let log = folder.join("install.log");
    let said = fs::File::create(&log).with_context(|| format!("making {}", log.display()))?;
    let mut command = Command::new("taskset");
    command.args(["-c", cpus]).arg(own).args(["install", &routes.to_string()]);
    command.stdin(Stdio::piped()).stdout(said);
    let mut child = command.spawn().context("starting the kernel's writer")?;
    let words = child.stdin.take().context("it takes no words")?;
    Ok(Hands::Caracal { child, words, log })
}

fn destination(number: u32) -> String {
    let [first, second, third] = family::v4(number);
    format!("{first}.{second}.{third}.0/24")
}

fn ip(routes: u32, cpus: &str, folder: &Path) -> anyhow::Result<Hands> {
    let via = |gateway| format!(" via {gateway} dev bgp proto 67");
    let steps = [
        ("install", "add", via(GATEWAYS[0])),
        ("change", "replace", via(GATEWAYS[1])),
        ("remove", "del", String::new()),
    ];
    for (step, verb, rest) in steps {
        let mut text = String::new();
        for number in 0..routes {
            writeln!(text, "route {verb} {}{rest}", destination(number))?;
        }
        let file = folder.join(step);
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(Hands::Ip { cpus: cpus.to_owned(), folder: folder.to_owned(), running: None })
}

fn bird(routes: u32, cpus: &str, folder: &Path) -> anyhow::Result<Hands> {
    let mut text = format!("router id {};\nprotocol device {{ scan time 3600; }}\n", place::ROUTER_ID);
    text.push_str("protocol kernel { scan time 3600; ipv4 { import none; export all; }; }\n");
    for (name, preference, gateway) in [("one", 200, GATEWAYS[0]), ("two", 210, GATEWAYS[1])] {
        writeln!(text, "protocol static {name} {{ disabled; ipv4 {{ preference {preference}; }};")?;
        for number in 0..routes {
            writeln!(text, "route {} via {gateway};", destination(number))?;
        }
        text.push_str("}\n");
    }
    let (file, control, pid) =
        (folder.join("kernel.conf"), folder.join("kernel.ctl"), folder.join("kernel.pid"));
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    let mut command = Command::new("taskset");
    command.args(["-c", cpus, "/usr/sbin/bird", "-f", "-c"]).arg(&file);
    command.arg("-s").arg(&control).arg("-P").arg(&pid).stdin(Stdio::null());
    let child = command.spawn().context("starting BIRD (its Debian package is bird2)")?;
    Ok(Hands::Bird { child, control })
}

fn birdc(control: &Path, words: &str) -> anyhow::Result<String> {
    let output = Command::new("birdc").arg("-s").arg(control).args(words.split(' ')).output();
    let output = output.context("starting birdc")?;
    ensure!(output.status.success(), "birdc {words}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
