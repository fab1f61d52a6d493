//! Faults on demand: what can be done to each kind of machine, by tests directly and by people with `cargo lab fault`.

use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;

use crate::control::Control;
use crate::lab::Lab;
use crate::node::Node;

/// For a program to end or to come up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Something with a cable.
pub trait Cabled {
    /// The machine whose cable it is.
    fn machine(&self) -> &crate::machine::Machine;
}

impl Cabled for Node {
    fn machine(&self) -> &crate::machine::Machine {
        Self::machine(self)
    }
}

impl Cabled for Control {
    fn machine(&self) -> &crate::machine::Machine {
        Self::machine(self)
    }
}

/// Takes the cable out of the rack's switch: the machine loses carrier and reaches nobody.
pub async fn partition(who: &impl Cabled) -> anyhow::Result<()> {
    who.machine().set_ports("down").await
}

/// Puts the cable back.
pub async fn restore(who: &impl Cabled) -> anyhow::Result<()> {
    who.machine().set_ports("up").await
}

/// Takes the cable of a node's uplink to one of two routers out: carrier is lost at both ends.
pub async fn cut_uplink(node: &Node, rack: u8) -> anyhow::Result<()> {
    node.machine().set_uplink(rack, "down").await
}

/// Puts that cable back.
pub async fn restore_uplink(node: &Node, rack: u8) -> anyhow::Result<()> {
    node.machine().set_uplink(rack, "up").await
}

/// Interrupts the cable of a node's uplink to one of two routers on its way: both ends have their carrier, and nothing comes
/// through, as behind a switch or a converter.
pub async fn interrupt_uplink(node: &Node, rack: u8) -> anyhow::Result<()> {
    node.machine().interrupt_uplink(rack, true).await
}

/// Joins that cable again.
pub async fn join_uplink(node: &Node, rack: u8) -> anyhow::Result<()> {
    node.machine().interrupt_uplink(rack, false).await
}

/// What a machine is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Node,
    Router,
    Control,
    Outside,
}

/// One fault: for which machines, its word, what it does.
struct Fault {
    kind: Option<Kind>,
    word: &'static str,
    does: &'static str,
}

const fn fault(kind: Option<Kind>, word: &'static str, does: &'static str) -> Fault {
    Fault { kind, word, does }
}

/// All there are.
const FAULTS: &[Fault] = &[
    fault(Some(Kind::Node), "kill-agent", "SIGKILL; the lab starts it again, as a DaemonSet does"),
    fault(Some(Kind::Node), "stop-agent", "SIGTERM; it stays away until start-agent"),
    fault(Some(Kind::Node), "start-agent", "starts a stopped agent"),
    fault(Some(Kind::Router), "restart-router", "kills the BGP daemon and starts it again"),
    fault(Some(Kind::Router), "stop-router", "kills the BGP daemon; it stays away until start-router"),
    fault(Some(Kind::Router), "start-router", "starts a stopped BGP daemon"),
    fault(Some(Kind::Control), "api-down", "takes the API server's cable out: nobody reaches it"),
    fault(Some(Kind::Control), "api-up", "puts it back"),
    fault(Some(Kind::Control), "kill-controller", "SIGKILL; the lab starts it again"),
    fault(Some(Kind::Node), "cut-eth1", "takes the cable of the second of two uplinks out, at both ends"),
    fault(Some(Kind::Node), "restore-eth1", "puts it back"),
    fault(None, "cut", "takes the machine's cables out: carrier is lost"),
    fault(None, "restore", "puts them back"),
];

/// The table of faults, for help texts.
pub fn help() -> String {
    let line = |fault: &Fault| {
        let on = match fault.kind {
            Some(Kind::Node) => "node",
            Some(Kind::Router) => "router",
            Some(Kind::Control) => "control",
            Some(Kind::Outside) => "outside",
            None => "any machine",
        };
        format!("  {:<15} {on:<12} {}", fault.word, fault.does)
    };
    let lines: Vec<String> = FAULTS.iter().map(line).collect();
    format!("Faults:\n{}", lines.join("\n"))
}

/// Does it to a running lab; answers with what was done.
pub async fn inject(lab: &Lab, machine: &str, word: &str) -> anyhow::Result<String> {
    let kind = kind(lab, machine)?;
    let known = FAULTS.iter().find(|fault| fault.word == word && fault.kind.is_none_or(|of| of == kind));
    let Some(fault) = known else {
        let words: Vec<&str> =
            FAULTS.iter().filter(|one| one.kind.is_none_or(|of| of == kind)).map(|one| one.word).collect();
        bail!("`{word}` cannot be done to {machine}; these can: {}", words.join(", "));
    };
    let found = lab.machines().find(|one| one.name() == machine);
    let target = found.with_context(|| format!("the lab has no machine {machine}"))?;
    match fault.word {
        "kill-agent" => lab.node(machine)?.agent().signal(Signal::SIGKILL).await?,
        "stop-agent" => lab.node(machine)?.agent().terminate(PATIENCE).await.map(drop)?,
        "start-agent" => lab.node(machine)?.agent().start().await?,
        "restart-router" => lab.router(machine)?.restart(PATIENCE).await?,
        "stop-router" => lab.router(machine)?.stop().await?,
        "start-router" => lab.router(machine)?.start(PATIENCE).await?,
        "kill-controller" => lab.control().controller().signal(Signal::SIGKILL).await?,
        "cut-eth1" => cut_uplink(lab.node(machine)?, 1).await?,
        "restore-eth1" => restore_uplink(lab.node(machine)?, 1).await?,
        "api-down" | "cut" => target.set_ports("down").await?,
        "api-up" | "restore" => target.set_ports("up").await?,
        other => bail!("`{other}` is in the table of faults, and nobody carries it out"),
    }
    Ok(format!("{machine}: {word}: {}", fault.does))
}

fn kind(lab: &Lab, machine: &str) -> anyhow::Result<Kind> {
    if lab.nodes().iter().any(|node| node.name() == machine) {
        return Ok(Kind::Node);
    }
    if lab.routers().iter().any(|router| router.name() == machine) {
        return Ok(Kind::Router);
    }
    if lab.control().machine().name() == machine {
        return Ok(Kind::Control);
    }
    if lab.outside().name() == machine {
        return Ok(Kind::Outside);
    }
    let names: Vec<&str> = lab.machines().map(crate::machine::Machine::name).collect();
    bail!("the lab has no machine `{machine}`; it has: {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_told_in_the_help() {
        let help = help();
        for fault in FAULTS {
            assert!(help.contains(fault.word) && help.contains(fault.does));
        }
    }
}
