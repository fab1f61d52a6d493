//! `cargo compare`: builds what is measured as it is shipped, then becomes the tool that measures.

use std::process::Command;

use anyhow::{Context, bail};

use crate::build;
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
        // It builds its benchmarks itself.
        Some("micro") => &["-p", "caracal-compare"],
        _ => &["-p", "caracal-compare", "-p", "caracal-bgpd"],
    }
}

/// Builds and becomes it; returns only when that fails.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<std::process::ExitCode> {
    let place = Place::find()?;
    let helps = arguments.iter().any(|a| a == "--help" || a == "-h") || arguments.is_empty();
    let counts = arguments.first().is_some_and(|what| what == "micro");
    if counts && !helps {
        packages::ensure(packages::FOR_COUNTING)?;
    } else if !helps {
        privilege::require("cargo compare")?;
        packages::ensure(&packages::for_the_suites())?;
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
    let mut command = Command::new(folder.join("release/caracal-compare"));
    command.args(arguments);
    Err(build::become_command(command))
}
