//! The CNI plugin that a container runtime executes: see `caracal_cni::plugin`.

use std::process::ExitCode;

fn main() -> ExitCode {
    caracal_cni::plugin::main()
}
