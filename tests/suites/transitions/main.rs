//! Changes of IPIP modes on a running cluster, in the project's virtual machine: `cargo test --workspace --test transitions`.
//!
//! Not a part of `cargo verify`: where the machine is emulated and busy with other work it takes many minutes.

mod modes;

use std::process::ExitCode;

use caracal_suites::case;

/// MiB: a lab of three nodes and two routers.
const MEMORY: u32 = 3072;

fn main() -> ExitCode {
    caracal_suites::main_inside(MEMORY, &[], &[case!(modes::a_change_between_ipip_modes_loses_no_packet)])
}
