//! The whole product on two nodes, as `cargo lab` builds it.

mod datapath;
mod lifecycle;
mod outage;
mod sandbox;
mod tunnels;

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
    ])
}
