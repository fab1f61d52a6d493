//! Real container runtimes: Debian's containerd and runc call the plugin, asked as a kubelet asks, through the CRI; and so does
//! its podman.
//!
//! It runs inside the project's virtual machine: containers want control groups, and those of the host are its own.
//! Images are made here, of busybox and of caracal's own programs: nothing is pulled from anywhere.

mod containerd;
mod cri;
mod image;
mod lifecycle;
mod manifest;
mod podman;
mod world;

use std::process::ExitCode;

use caracal_suites::case;

/// MiB: a lab of two nodes, and two containerds.
const MEMORY: u32 = 3072;

fn main() -> ExitCode {
    let cases = [
        case!(lifecycle::sandboxes_come_and_go_through_the_cri),
        case!(lifecycle::restarts_of_runtime_and_agent_lose_nothing_and_leak_nothing),
        case!(manifest::the_agent_runs_as_its_manifest_says),
    ];
    caracal_suites::main_inside(MEMORY, &[], &cases)
}
