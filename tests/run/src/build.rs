//! Building the programs that lab and suites run, and becoming one of them.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};

use crate::place::{Place, cargo};

/// What is built everywhere. Always the whole workspace: cargo unites the features of what is selected, and another
/// selection could mean other features and so compile the dependencies twice.
pub(crate) const PROGRAMS: &[&str] = &["build", "--workspace", "--bins"];

/// Compiles every program once, with cargo's own progress on the terminal.
pub(crate) fn programs(place: &Place) -> anyhow::Result<()> {
    eprintln!("building caracal (the first time takes some minutes)");
    let begin = Instant::now();
    let status = cargo().args(PROGRAMS).current_dir(&place.workspace).status().context("starting cargo")?;
    if !status.success() {
        bail!("caracal does not compile: see cargo's words above");
    }
    eprintln!("built in {:.1} s", begin.elapsed().as_secs_f32());
    Ok(())
}

/// Replaces this process by `caracal-lab`; returns only when that fails.
pub(crate) fn become_lab(place: &Place, arguments: &[String]) -> anyhow::Error {
    let mut command = Command::new(place.program("caracal-lab"));
    command.args(arguments);
    become_command(command)
}

/// Replaces this process by a command; returns only when that fails.
pub(crate) fn become_command(mut command: Command) -> anyhow::Error {
    let error = command.exec();
    anyhow::Error::new(error).context(format!("executing {}", command.get_program().display()))
}
