//! Addresses are never given twice and never lost, with real agents, plugins and API server.

mod books;
mod churn;
mod split;
mod trouble;

use std::process::ExitCode;

use caracal_suites::case;

fn main() -> ExitCode {
    caracal_suites::main(&[
        case!(churn::pods_come_and_go_through_crashes_and_outages_and_no_address_is_given_twice_or_lost),
        case!(split::a_pool_is_split_while_pods_run_and_come_and_none_of_them_notices),
    ])
}
