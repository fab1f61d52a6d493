//! The topology as a drawing in text: the spine on top, below it the routers with their racks.

use super::{NodePlan, RackPlan, Topology};

/// Width of one rack's column.
const COLUMN: usize = 25;
/// Racks side by side, so that the outside host at the end of the spine also fits into 100 columns.
const RACKS_IN_A_ROW: usize = 3;

/// Draws the topology; every line ends with a line feed.
pub fn draw(topology: &Topology) -> String {
    let outside = match topology.outside().cables.first().and_then(|cable| cable.addresses.first()) {
        Some(address) => format!("outside {}", address.ip()),
        None => "outside".into(),
    };
    let mut lines = Vec::new();
    for (row, racks) in topology.racks.chunks(RACKS_IN_A_ROW).enumerate() {
        let last = (row + 1) * RACKS_IN_A_ROW >= topology.racks.len();
        lines.push(spine(racks.len(), (row == 0).then_some(outside.as_str()), last));
        let columns: Vec<Vec<String>> = racks.iter().map(|rack| column(topology, rack)).collect();
        let height = columns.iter().map(Vec::len).max().unwrap_or_default();
        for line in 0..height {
            let cells = columns.iter().map(|column| column.get(line).map_or("", String::as_str));
            let text: String = cells.map(|cell| format!("{cell:<COLUMN$}")).collect();
            lines.push(format!("  {}", text.trim_end()));
        }
    }
    lines.join("\n") + "\n"
}

/// The spine's line: a joint for each router, the outside host at its end.
fn spine(racks: usize, outside: Option<&str>, last: bool) -> String {
    let mut line = String::from("  ");
    for index in 0..racks {
        let joint = if index == 0 { "  ┌" } else { "──┬" };
        let rest = COLUMN - 3;
        line.push_str(joint);
        if index + 1 < racks || outside.is_some() {
            line.push_str(&"─".repeat(rest));
        }
    }
    match outside {
        Some(outside) => line.push_str(&format!("── {outside}")),
        None if last => {}
        None => line.push('…'),
    }
    line
}

/// One rack: its router, its subnets, what stands in it.
fn column(topology: &Topology, rack: &RackPlan) -> Vec<String> {
    let mut lines = vec![format!("{} ({}, AS {})", rack.router_name(), rack.router.name(), rack.router_as())];
    let subnets: Vec<String> = topology.subnets(rack).iter().map(ToString::to_string).collect();
    lines.extend(subnets.iter().map(|subnet| format!("  │ {subnet}")));
    let mut machines = Vec::new();
    if rack.number == 0 {
        machines.push(("control".to_owned(), super::CONTROL, ""));
    }
    let here: Vec<&NodePlan> = topology.nodes.iter().filter(|n| n.rack == usize::from(rack.number)).collect();
    // Many nodes are told by the first and the last.
    let shown: Vec<&NodePlan> =
        if here.len() > 6 { here.iter().take(2).chain(here.last()).copied().collect() } else { here.clone() };
    for node in &shown {
        machines.push((node.name.clone(), node.host, if node.reflects { " reflects" } else { "" }));
    }
    let count = machines.len();
    for (index, (name, host, note)) in machines.into_iter().enumerate() {
        let joint = if index + 1 == count { "└" } else { "├" };
        let node = topology.nodes.iter().find(|node| node.name == name);
        let addresses =
            node.map_or_else(|| topology.addresses(rack, host), |node| topology.node_addresses(node));
        let address = addresses.first().map(|a| a.ip().to_string()).unwrap_or_default();
        if here.len() > 6 && index + 1 == count {
            lines.push(format!("  ┊ {} more", here.len() - shown.len()));
        }
        lines.push(format!("  {joint} {name} {address}{note}"));
    }
    if topology.design.tells_routers()
        && let (Some(first), Some(last)) = (here.first(), here.last())
    {
        lines.push(format!("    AS {}–{}", first.asn, last.asn));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::RouterKind;
    use super::*;

    #[test]
    fn every_part_of_the_usual_lab_is_drawn_once() {
        let drawn = draw(&Topology::default().with_routers(RouterKind::Frr));
        for part in
            ["outside 172.29.0.100", "tor0 (frr, AS 64601)", "172.30.1.0/24", "├ control 172.30.0.2", "└ n4 "]
        {
            assert_eq!(drawn.matches(part).count(), 1, "{part}\n{drawn}");
        }
    }

    #[test]
    fn no_drawing_is_wider_than_100_columns() {
        for topology in [Topology::racks_of_nodes(16, 100, 1), Topology::racks_of_nodes(3, 40, 1)] {
            let drawn = draw(&topology);
            let widest = drawn.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= 100, "{widest} columns:\n{drawn}");
        }
    }
}
