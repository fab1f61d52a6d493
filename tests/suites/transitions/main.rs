//! Changes of IPIP modes on a running cluster, in the project's virtual machine: `cargo test --workspace --test transitions`.
//!
//! A suite of its own, for nothing else must run in the machine meanwhile: where it is emulated, all flows take what it has.

mod modes;

use std::process::ExitCode;

use caracal_suites::case;

/// MiB: a lab of three nodes and two routers.
const MEMORY: u32 = 3072;

fn main() -> ExitCode {
    caracal_suites::main_inside(MEMORY, &[], &[case!(modes::a_change_between_ipip_modes_loses_no_packet)])
}
