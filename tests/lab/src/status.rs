//! How a running lab stands: machines, their programs, cables, sessions, pods.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;
use futures::future::try_join_all;
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::command;
use crate::lab::Lab;
use crate::machine::Machine;
use crate::netns::Link;
use crate::process::Process;
use crate::report;
use crate::show;

/// How everything stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// The lab's name.
    pub lab: String,
    /// What it consists of, in short.
    pub topology: String,
    /// How packets for pods get from rack to rack.
    pub encapsulation: String,
    /// For how long it has been up, in seconds.
    pub up: u64,
    /// Its machines.
    pub machines: Vec<MachineStatus>,
}

/// How one machine stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MachineStatus {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether its cables are in.
    pub cabled: bool,
    /// Its programs.
    pub processes: Vec<ProcessStatus>,
    /// BGP sessions that are up, and all there should be; nothing where nobody could be asked.
    pub sessions: Option<(usize, usize)>,
    /// Pods that are wired, on a node.
    pub pods: Option<usize>,
}

/// How one program stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// Its name, as `logs` takes it.
    pub name: String,
    /// Its number inside the lab, while it runs.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u32,
    /// Its resident memory in KiB.
    pub memory: Option<u64>,
}

/// Asks everybody.
pub(crate) async fn of(lab: &Lab, up: Duration) -> anyhow::Result<Status> {
    let json = command::run(Command::new("ip").args(["-j", "link", "show"])).await?.success()?;
    let ports: Vec<Link> = serde_json::from_str(&json).context("reading the ports of the fabric")?;
    let live: BTreeSet<&str> =
        ports.iter().filter(|port| port.operstate != "DOWN").map(|port| port.ifname.as_str()).collect();
    let machines = lab.machines().map(|machine| machine_status(lab, machine, &live));
    Ok(Status {
        lab: lab.name().to_owned(),
        topology: lab.topology().in_short(),
        encapsulation: lab.tunnels().in_short().to_owned(),
        up: up.as_secs(),
        machines: try_join_all(machines).await?,
    })
}

async fn machine_status(
    lab: &Lab,
    machine: &Machine,
    live: &BTreeSet<&str>,
) -> anyhow::Result<MachineStatus> {
    let name = machine.name();
    let mut status = MachineStatus {
        name: name.to_owned(),
        addresses: machine.addresses().iter().map(IpNetwork::ip).collect(),
        cabled: machine.plan().cables.iter().all(|cable| live.contains(cable.port.as_str())),
        processes: Vec::new(),
        sessions: None,
        pods: None,
    };
    for process in lab.processes().filter(|process| process.netns().name() == name) {
        status.processes.push(process_status(process).await);
    }
    if let Ok(node) = lab.node(name) {
        // An agent that is away has no sessions to tell of; that is no error here.
        if let Ok(peers) = report::peers(node).await {
            status.sessions = Some((peers.iter().filter(|peer| peer.is_established()).count(), peers.len()));
        }
        let links = node.netns().links().await?;
        status.pods = Some(links.iter().filter(|link| link.ifname.starts_with("cali")).count());
    }
    Ok(status)
}

async fn process_status(process: &Process) -> ProcessStatus {
    let running = process.is_running().await;
    ProcessStatus {
        name: process.name().to_owned(),
        pid: if running { process.pid().await } else { None },
        restarts: process.restarts(),
        memory: if running { process.resident().await } else { None },
    }
}

impl Status {
    /// As a table.
    pub fn render(&self) -> String {
        let mut table =
            show::table(&["machine", "address", "cable", "program", "runs as", "memory", "sessions", "pods"]);
        for machine in &self.machines {
            let address = machine.addresses.first().map(ToString::to_string).unwrap_or_default();
            let cable = if machine.cabled { "in" } else { "CUT" };
            let mut begin = vec![machine.name.clone(), address, cable.to_owned()];
            let mut end = vec![
                machine.sessions.map(|(up, all)| format!("{up} of {all}")).unwrap_or_default(),
                machine.pods.map(|pods| pods.to_string()).unwrap_or_default(),
            ];
            if machine.processes.is_empty() {
                table.add_row(
                    begin.iter().cloned().chain([String::new(), String::new(), String::new()]).chain(end),
                );
                continue;
            }
            for process in &machine.processes {
                let mut runs = process.pid.map_or_else(|| "STOPPED".to_owned(), |pid| pid.to_string());
                if process.restarts > 0 {
                    // Writing to a String cannot fail.
                    write!(runs, ", restarts: {}", process.restarts).unwrap_or_default();
                }
                let memory = process.memory.map(|kib| format!("{:.0} MiB", kib as f64 / 1024.0));
                let middle = [process.name.clone(), runs, memory.unwrap_or_default()];
                table.add_row(begin.iter().cloned().chain(middle).chain(end.iter().cloned()));
                begin = vec![String::new(); 3];
                end = vec![String::new(); 2];
            }
        }
        format!(
            "lab `{}`, up for {} s, {}\n{}\n{table}\n",
            self.lab,
            self.up,
            self.encapsulation,
            show::folded(&self.topology)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_or_stopped_stands_out() {
        let process = |name: &str, pid, restarts| ProcessStatus {
            name: name.into(),
            pid,
            restarts,
            memory: pid.map(|_| 20_480),
        };
        let machine = |name: &str, cabled, processes| MachineStatus {
            name: name.into(),
            addresses: vec!["172.30.0.11".parse().unwrap()],
            cabled,
            processes,
            sessions: Some((1, 3)),
            pods: Some(2),
        };
        let status = Status {
            lab: "lab".into(),
            topology: "2 nodes".into(),
            encapsulation: "no encapsulation".into(),
            up: 7,
            machines: vec![
                machine("n1", false, vec![process("n1-agent", Some(42), 1)]),
                machine("n2", true, vec![process("n2-agent", None, 0)]),
                machine("outside", true, Vec::new()),
            ],
        };
        let text = status.render();
        for part in ["CUT", "STOPPED", "42, restarts: 1", "20 MiB", "1 of 3", "outside"] {
            assert!(text.contains(part), "no {part} in\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }
}
