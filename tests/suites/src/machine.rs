//! Suites that need the virtual machine: a kernel of Debian's own, and one that nothing else runs on.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use crate::Case;

/// Set for every command inside the virtual machine.
const INSIDE: &str = "CARACAL_VM";

/// The `main` of a suite that runs inside the machine: started anywhere else, it boots one with so much memory (in MiB)
/// and starts itself there, with these variables set.
pub fn main_inside(memory: u32, variables: &[(&str, &str)], cases: &[Case]) -> ExitCode {
    if std::env::var_os(INSIDE).is_some() {
        return crate::main(cases);
    }
    let error = become_machine(memory, variables);
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

/// Replaces this process by a machine that runs it again; returns only when that fails.
fn become_machine(memory: u32, variables: &[(&str, &str)]) -> anyhow::Error {
    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(error) => return anyhow::Error::new(error).context("asking for this program's own path"),
    };
    // Test programs lie in `deps`, beside the folder's programs.
    let mut folder = own.parent().map(std::path::Path::to_path_buf).unwrap_or_default();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let program = folder.join("caracal-vm");
    let mut command = Command::new(&program);
    command.args(["run", "--cpus", "2", "--memory", &memory.to_string(), "--"]).arg(own);
    command.args(std::env::args_os().skip(1)).envs(variables.iter().copied());
    let error = command.exec();
    anyhow::Error::new(error)
        .context(format!("starting {} (is it built? `cargo build --workspace`)", program.display()))
}
