//! The whole product, as `cargo lab` builds it, and the lab itself.

mod datapath;
mod lifecycle;
mod outage;
mod sandbox;
mod terminal;
mod tunnels;
mod users;
mod variants;

use std::process::ExitCode;

use caracal_suites::case;

/// Cases at a time: each is a cluster, and mostly waits.
const AT_ONCE: usize = 2;

fn main() -> ExitCode {
    let cases = [
        case!(datapath::every_pod_and_node_reaches_every_pod),
        case!(datapath::node_pod_and_veth_are_wired_as_designed),
        case!(lifecycle::a_deleted_pod_leaves_nothing),
        case!(lifecycle::a_killed_agent_costs_its_node_no_packet_and_no_route),
        case!(outage::without_api_server_pods_come_and_go_and_agents_restart),
        case!(tunnels::a_cluster_changes_to_vxlan_and_back),
        case!(sandbox::a_killed_lab_leaves_nothing),
        case!(sandbox::labs_run_side_by_side_but_not_under_one_name),
        case!(variants::two_racks_are_plain_within_and_tunnelled_across),
        case!(variants::nodes_peer_with_their_routers_and_the_outside_reaches_pods),
        case!(variants::routers_may_be_bird),
        case!(variants::routers_may_be_frr),
        case!(variants::nodes_may_reflect_for_the_others),
        case!(variants::a_lab_may_have_ipv4_only),
        case!(variants::a_lab_may_have_ipv6_only),
        case!(variants::one_rack_needs_no_encapsulation),
        case!(variants::the_matrix_tells_what_is_lost),
        case!(terminal::a_topology_is_read_from_a_file),
        case!(terminal::its_words_fit_100_columns_and_have_no_colours_in_a_pipe),
        case!(terminal::ipip_is_used_where_the_kernel_has_it_and_refused_with_the_ways_out_elsewhere),
        case!(terminal::what_cannot_work_is_refused_in_one_line_before_anything_is_made),
        case!(variants::large_labs_know_their_neighbours),
        case!(terminal::pods_come_and_go_under_load),
        case!(terminal::a_running_lab_is_asked_and_disturbed_from_another_terminal),
        case!(users::anybody_may_have_a_lab),
        case!(users::a_killed_lab_of_anybody_leaves_nothing),
        case!(users::where_user_namespaces_are_forbidden_the_way_out_is_told),
    ];
    caracal_suites::main_at_once(&cases, AT_ONCE)
}
