//! `caracalctl completion bash|zsh|fish`.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::arguments::{Cli, CompletionShell};
use crate::failure::Failure;

/// Prints the script.
pub(crate) fn run(shell: CompletionShell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(Shell::from(shell), &mut Cli::command(), "caracalctl", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(())
}
