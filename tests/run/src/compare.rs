//! `cargo compare`: builds what is measured as it is shipped, then becomes the tool that measures.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::build;
use crate::machine::{self, Wish};
use crate::packages;
use crate::place::{Place, cargo};
use crate::privilege;

/// What is built for a comparison: only these, since a release build of everything takes long.
fn measured(arguments: &[String]) -> &'static [&'static str] {
    match arguments.first().map(String::as_str) {
        Some("cni" | "ipam") => {
            &["-p", "caracal-compare", "-p", "caracal-agent", "-p", "caracal-cni", "-p", "caracal-apiserver"]
        }
        Some("idle") => &["-p", "caracal-compare", "-p", "caracal-agent", "-p", "caracal-apiserver"],
        // A lab needs every program.
        Some("path") => &[
            "-p",
            "caracal-compare",
            "-p",
            "caracal-agent",
            "-p",
            "caracal-apiserver",
            "-p",
            "caracal-bgpd",
            "-p",
            "caracal-cni",
            "-p",
            "caracalctl",
            "-p",
            "caracal-vm",
        ],
        // It builds its benchmarks itself.
        Some("micro") => &["-p", "caracal-compare"],
        _ => &["-p", "caracal-compare", "-p", "caracal-bgpd"],
    }
}

/// Builds and becomes it; returns only when that fails.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<std::process::ExitCode> {
    let place = Place::find()?;
    let machine = machine::wish(arguments)?;
    let arguments = machine.as_ref().map_or(arguments, |wish| &wish.rest);
    ensure!(
        machine.is_none() || arguments.first().is_some_and(|what| what == "path"),
        "--vm is for `cargo compare path`: other comparisons need nothing of the kernel that most lack"
    );
    let helps = arguments.iter().any(|a| a == "--help" || a == "-h") || arguments.is_empty();
    let counts = arguments.first().is_some_and(|what| what == "micro");
    if counts && !helps {
        packages::ensure(packages::FOR_COUNTING)?;
    } else if !helps {
        privilege::require("cargo compare")?;
        packages::ensure(&packages::for_the_suites())?;
    }
    if machine.is_some() && !helps {
        packages::ensure(packages::FOR_THE_MACHINE)?;
    }
    eprintln!("building what is measured (the first time takes some minutes)");
    let status = cargo()
        .args(["build", "--release"])
        .args(measured(arguments))
        .current_dir(&place.workspace)
        .status()
        .context("starting cargo")?;
    if !status.success() {
        bail!("it does not compile: see cargo's words above");
    }
    let folder = place.programs.parent().context("the folder of built programs lies in none")?;
    let folder = folder.join("release");
    Err(build::become_command(match machine {
        Some(wish) if !helps => inside(&folder, &wish)?,
        Some(_) | None => {
            let mut command = Command::new(folder.join("caracal-compare"));
            command.args(arguments);
            command
        }
    }))
}

/// The command that compares in a machine of its own.
fn inside(folder: &Path, wish: &Wish) -> anyhow::Result<Command> {
    let mut command = wish.command(folder);
    if let Some(file) = machine::option(&wish.rest, "--json") {
        // Written inside for people outside.
        let parent = Path::new(file).parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let parent = parent.canonicalize().with_context(|| format!("looking for {}", parent.display()))?;
        command.arg("--share").arg(parent);
    }
    command.arg("--").arg(folder.join("caracal-compare")).args(&wish.rest);
    Ok(command)
}
