//! A real container runtime: Debian's containerd and runc call the plugin, asked as a kubelet asks, through the CRI.
//!
//! It runs inside the project's virtual machine: containers want control groups, and those of the host are its own.
//! The image of the sandboxes is made here, of busybox alone: nothing is pulled from anywhere.

mod containerd;
mod cri;
mod image;
mod lifecycle;
mod world;

use std::process::ExitCode;

use caracal_suites::Case;

/// MiB: a lab of two nodes, and two containerds.
const MEMORY: u32 = 3072;

fn main() -> ExitCode {
    let cases = [
        Case {
            name: "sandboxes_come_and_go_through_the_cri",
            run: |inside| Box::pin(lifecycle::sandboxes_come_and_go_through_the_cri(inside)),
        },
        Case {
            name: "restarts_of_runtime_and_agent_lose_nothing_and_leak_nothing",
            run: |inside| {
                Box::pin(lifecycle::restarts_of_runtime_and_agent_lose_nothing_and_leak_nothing(inside))
            },
        },
    ];
    caracal_suites::main_inside(MEMORY, &[], &cases)
}
