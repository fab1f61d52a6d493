//! The data path while it changes: encapsulations, addresses, other hands, each on a running cluster with packets under way.

mod address;
mod encapsulation;
mod flow;
mod guards;
mod mtu;
mod outgoing;
mod passwords;
mod reflected;
mod repair;
mod restart;
mod services;
mod single;
mod soak;
mod unnamed;
mod uplinks;

use std::process::ExitCode;

use caracal_suites::case;

fn main() -> ExitCode {
    caracal_suites::main(&[
        case!(encapsulation::a_change_of_encapsulation_loses_no_packet),
        case!(encapsulation::a_change_of_encapsulation_loses_no_packet_without_ipv4),
        case!(reflected::a_router_hears_of_services_by_a_reflector_and_reaches_who_serves_them),
        case!(mtu::what_links_carry_is_followed_and_told_to_pods_and_to_other_nodes),
        case!(address::a_node_that_gets_another_address_is_reached_there),
        case!(repair::what_other_hands_do_to_a_node_is_undone_and_told),
        case!(soak::whatever_another_hand_does_at_random_all_nodes_end_as_they_were),
        case!(services::a_service_is_announced_from_where_it_is_served),
        case!(services::a_pod_reaches_itself_through_a_service),
        case!(single::nodes_on_no_subnet_reach_each_other_as_the_mode_says),
        case!(single::nodes_on_no_subnet_hand_packets_to_the_router_they_peer_with),
        case!(outgoing::what_pods_have_under_way_outside_outlives_an_uplink),
        case!(uplinks::a_node_with_two_uplinks_goes_on_over_one),
        case!(passwords::a_mesh_is_signed_with_what_a_secret_says),
        case!(uplinks::with_bfd_an_uplink_cut_in_silence_costs_less_than_a_second),
        case!(guards::without_an_agent_a_dead_uplink_is_left_out),
        case!(guards::answers_may_come_by_the_other_uplink),
        case!(guards::a_tunnel_takes_what_is_answered_past_it),
        case!(guards::connections_by_a_tunnel_are_tracked_once),
        case!(unnamed::a_node_peers_with_whom_no_address_names),
        case!(restart::a_restarted_agent_costs_no_packet_and_no_route_anywhere),
        case!(restart::under_routers_a_restarted_agent_or_router_costs_no_packet_and_no_route_anywhere),
    ])
}
