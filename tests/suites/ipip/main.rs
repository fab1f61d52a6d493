//! What needs a kernel with `ipip`: real `tunl0` tunnels between racks.
//!
//! Few kernels in containers have it, so this suite runs inside the project's virtual machine: started anywhere else,
//! it boots one and starts itself there. The agents number their routes 12, `bird` for `ip`, and those to their own pods 3,
//! `boot`, which `ip` does not print: so listings can be compared with those that operators know from other systems.

mod capture;
mod guards;
mod listings;
mod wire;

use std::process::ExitCode;

use caracal_suites::case;

/// The agents' settings.
const PROTOCOLS: [(&str, &str); 2] = [("CARACAL_ROUTE_PROTOCOL", "12"), ("CARACAL_POD_ROUTE_PROTOCOL", "3")];
/// MiB: labs of four nodes.
const MEMORY: u32 = 3072;

fn main() -> ExitCode {
    let cases = [
        case!(listings::nodes_and_pods_list_what_operators_know),
        case!(guards::tunl0_takes_packets_of_any_of_a_nodes_addresses_and_what_is_answered_past_it),
        case!(wire::packets_are_tunnelled_between_racks_and_plain_within),
    ];
    caracal_suites::main_inside(MEMORY, &PROTOCOLS, &cases)
}
