//! What needs a kernel with `ipip`: real `tunl0` tunnels between racks.
//!
//! Few kernels in containers have it, so this suite runs inside the project's virtual machine: started anywhere else,
//! it boots one and starts itself there. The agents number their routes 12, `bird` for `ip`, and those to their own pods 3,
//! `boot`, which `ip` does not print: so listings can be compared with those that operators know from other systems.

mod capture;
mod listings;
mod wire;

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use caracal_suites::Case;

/// Set for every command inside the virtual machine.
const INSIDE: &str = "CARACAL_VM";
/// The agents' settings.
const PROTOCOLS: [(&str, &str); 2] = [("CARACAL_ROUTE_PROTOCOL", "12"), ("CARACAL_POD_ROUTE_PROTOCOL", "3")];

fn main() -> ExitCode {
    if std::env::var_os(INSIDE).is_none() {
        let error = become_machine();
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    caracal_suites::main(&[
        Case {
            name: "nodes_and_pods_list_what_operators_know",
            run: |inside| Box::pin(listings::nodes_and_pods_list_what_operators_know(inside)),
        },
        Case {
            name: "packets_are_tunnelled_between_racks_and_plain_within",
            run: |inside| Box::pin(wire::packets_are_tunnelled_between_racks_and_plain_within(inside)),
        },
    ])
}

/// Replaces this process by a machine that runs it again; returns only when that fails.
fn become_machine() -> anyhow::Error {
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
    command.args(["run", "--cpus", "2", "--memory", "3072", "--"]).arg(own).args(std::env::args_os().skip(1));
    let error = command.envs(PROTOCOLS).exec();
    anyhow::Error::new(error)
        .context(format!("starting {} (is it built? `cargo build --workspace`)", program.display()))
}
