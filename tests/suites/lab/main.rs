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

use caracal_suites::Case;

fn main() -> ExitCode {
    caracal_suites::main(&[
        Case {
            name: "every_pod_and_node_reaches_every_pod",
            run: |inside| Box::pin(datapath::every_pod_and_node_reaches_every_pod(inside)),
        },
        Case {
            name: "node_pod_and_veth_are_wired_as_designed",
            run: |inside| Box::pin(datapath::node_pod_and_veth_are_wired_as_designed(inside)),
        },
        Case {
            name: "a_deleted_pod_leaves_nothing",
            run: |inside| Box::pin(lifecycle::a_deleted_pod_leaves_nothing(inside)),
        },
        Case {
            name: "a_killed_agent_costs_its_node_no_packet_and_no_route",
            run: |inside| Box::pin(lifecycle::a_killed_agent_costs_its_node_no_packet_and_no_route(inside)),
        },
        Case {
            name: "without_api_server_pods_come_and_go_and_agents_restart",
            run: |inside| Box::pin(outage::without_api_server_pods_come_and_go_and_agents_restart(inside)),
        },
        Case {
            name: "a_cluster_changes_to_vxlan_and_back",
            run: |inside| Box::pin(tunnels::a_cluster_changes_to_vxlan_and_back(inside)),
        },
        Case {
            name: "a_killed_lab_leaves_nothing",
            run: |inside| Box::pin(sandbox::a_killed_lab_leaves_nothing(inside)),
        },
        Case {
            name: "labs_run_side_by_side_but_not_under_one_name",
            run: |inside| Box::pin(sandbox::labs_run_side_by_side_but_not_under_one_name(inside)),
        },
        Case {
            name: "two_racks_are_plain_within_and_tunnelled_across",
            run: |inside| Box::pin(variants::two_racks_are_plain_within_and_tunnelled_across(inside)),
        },
        Case {
            name: "nodes_peer_with_their_routers_and_the_outside_reaches_pods",
            run: |inside| {
                Box::pin(variants::nodes_peer_with_their_routers_and_the_outside_reaches_pods(inside))
            },
        },
        Case { name: "routers_may_be_bird", run: |inside| Box::pin(variants::routers_may_be_bird(inside)) },
        Case { name: "routers_may_be_frr", run: |inside| Box::pin(variants::routers_may_be_frr(inside)) },
        Case {
            name: "nodes_may_reflect_for_the_others",
            run: |inside| Box::pin(variants::nodes_may_reflect_for_the_others(inside)),
        },
        Case {
            name: "a_lab_may_have_ipv4_only",
            run: |inside| Box::pin(variants::a_lab_may_have_ipv4_only(inside)),
        },
        Case {
            name: "a_lab_may_have_ipv6_only",
            run: |inside| Box::pin(variants::a_lab_may_have_ipv6_only(inside)),
        },
        Case {
            name: "one_rack_needs_no_encapsulation",
            run: |inside| Box::pin(variants::one_rack_needs_no_encapsulation(inside)),
        },
        Case {
            name: "the_matrix_tells_what_is_lost",
            run: |inside| Box::pin(variants::the_matrix_tells_what_is_lost(inside)),
        },
        Case {
            name: "a_topology_is_read_from_a_file",
            run: |inside| Box::pin(terminal::a_topology_is_read_from_a_file(inside)),
        },
        Case {
            name: "its_words_fit_100_columns_and_have_no_colours_in_a_pipe",
            run: |inside| Box::pin(terminal::its_words_fit_100_columns_and_have_no_colours_in_a_pipe(inside)),
        },
        Case {
            name: "ipip_is_used_where_the_kernel_has_it_and_refused_with_the_ways_out_elsewhere",
            run: |inside| {
                Box::pin(
                    terminal::ipip_is_used_where_the_kernel_has_it_and_refused_with_the_ways_out_elsewhere(
                        inside,
                    ),
                )
            },
        },
        Case {
            name: "what_cannot_work_is_refused_in_one_line_before_anything_is_made",
            run: |inside| {
                Box::pin(terminal::what_cannot_work_is_refused_in_one_line_before_anything_is_made(inside))
            },
        },
        Case {
            name: "large_labs_know_their_neighbours",
            run: |inside| Box::pin(variants::large_labs_know_their_neighbours(inside)),
        },
        Case {
            name: "pods_come_and_go_under_load",
            run: |inside| Box::pin(terminal::pods_come_and_go_under_load(inside)),
        },
        Case {
            name: "a_running_lab_is_asked_and_disturbed_from_another_terminal",
            run: |inside| {
                Box::pin(terminal::a_running_lab_is_asked_and_disturbed_from_another_terminal(inside))
            },
        },
        Case {
            name: "anybody_may_have_a_lab",
            run: |inside| Box::pin(users::anybody_may_have_a_lab(inside)),
        },
        Case {
            name: "a_killed_lab_of_anybody_leaves_nothing",
            run: |inside| Box::pin(users::a_killed_lab_of_anybody_leaves_nothing(inside)),
        },
        Case {
            name: "where_user_namespaces_are_forbidden_the_way_out_is_told",
            run: |inside| Box::pin(users::where_user_namespaces_are_forbidden_the_way_out_is_told(inside)),
        },
    ])
}
