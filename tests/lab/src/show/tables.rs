//! The tables at the end: at most 100 columns, plain where the output is no terminal.

use comfy_table::{ContentArrangement, Table, presets};

use crate::report::Report;

/// Widest line.
const WIDTH: u16 = 100;

/// All tables, one below the other.
pub fn render(report: &Report) -> String {
    let parts = [
        ("Nodes and pods", nodes(report)),
        ("BGP peers", peers(report)),
        ("Address blocks", blocks(report)),
        ("Routes made by caracal (protocol 67)", routes(report)),
        ("Pings, IPv4 and IPv6: row to column", matrix(report)),
    ];
    let mut text = String::new();
    for (title, table) in parts {
        text.push_str(&format!("\n{title}\n{table}\n"));
    }
    text
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(WIDTH);
    table.set_header(header.to_vec());
    table
}

fn nodes(report: &Report) -> Table {
    let mut table = table(&["node", "pod", "IPv4", "IPv6"]);
    for line in &report.nodes {
        let of = |v6: bool| {
            let some = line.addresses.iter().filter(|address| address.is_ipv6() == v6);
            some.map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        let pod = line.pod.clone().unwrap_or_default();
        let node = if line.pod.is_none() { line.node.clone() } else { String::new() };
        table.add_row(vec![node, pod, of(false), of(true)]);
    }
    table
}

fn peers(report: &Report) -> Table {
    let mut table = table(&["node", "peer", "address", "AS", "state", "routes accepted"]);
    for (node, peer) in &report.peers {
        let accepted = format!("{} v4, {} v6", peer.accepted.ipv4, peer.accepted.ipv6);
        let asn = peer.remote_as.to_string();
        table.add_row([node, &peer.name, &peer.key, &asn, &peer.state, &accepted].map(String::as_str));
    }
    table
}

fn blocks(report: &Report) -> Table {
    let mut table = table(&["block", "owner", "pool"]);
    for block in &report.blocks {
        table.add_row(vec![block.cidr.to_string(), block.owner.clone(), block.pool.clone()]);
    }
    table
}

fn routes(report: &Report) -> Table {
    let mut table = table(&["node", "route"]);
    let mut last = "";
    for (node, route) in &report.routes {
        table.add_row([if node == last { "" } else { node.as_str() }, route.words().as_str()]);
        last = node;
    }
    table
}

/// One row a source, one column a target; a cell holds both families.
fn matrix(report: &Report) -> Table {
    let mut targets: Vec<&str> = Vec::new();
    let mut sources: Vec<&str> = Vec::new();
    for cell in &report.matrix {
        if !targets.contains(&cell.to.label.as_str()) {
            targets.push(&cell.to.label);
        }
        if !sources.contains(&cell.from.as_str()) {
            sources.push(&cell.from);
        }
    }
    let mut header = vec!["from"];
    header.extend(&targets);
    let mut table = table(&header);
    for source in sources {
        let mut row = vec![source.to_owned()];
        for target in &targets {
            let cells = report.matrix.iter().filter(|cell| cell.from == source && cell.to.label == *target);
            let words = cells.map(|cell| {
                let family = if cell.to.address.is_ipv6() { 6 } else { 4 };
                format!("v{family} {}", if cell.failure.is_none() { "✓" } else { "✗" })
            });
            row.push(words.collect::<Vec<_>>().join(" "));
        }
        table.add_row(row);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{Cell, Target};
    use crate::report::{Accepted, Block, NodeLine, Peer};

    fn report(pods: usize) -> Report {
        let cell = |from: usize, to: usize, v6: bool| Cell {
            from: format!("n1-p{from}"),
            to: Target {
                label: format!("n1-p{to}"),
                address: if v6 { "fd00:244::1".parse().unwrap() } else { "10.244.0.1".parse().unwrap() },
            },
            failure: (to == 1 && v6).then(|| "no answer within 1 s".into()),
        };
        let pairs = (0..pods).flat_map(|from| (0..pods).map(move |to| (from, to)));
        Report {
            nodes: vec![NodeLine {
                node: "n1".into(),
                pod: None,
                addresses: vec!["172.30.0.11".parse().unwrap(), "fd00:30::11".parse().unwrap()],
            }],
            peers: vec![(
                "n1".into(),
                Peer {
                    name: "n2".into(),
                    key: "172.30.0.12".into(),
                    remote_as: 64512,
                    state: "Established".into(),
                    accepted: Accepted { ipv4: 1, ipv6: 1 },
                    last_error: None,
                },
            )],
            blocks: vec![Block {
                cidr: "10.244.0.0/26".parse().unwrap(),
                owner: "n1".into(),
                pool: "pods-v4".into(),
            }],
            routes: Vec::new(),
            matrix: pairs.flat_map(|(from, to)| [cell(from, to, false), cell(from, to, true)]).collect(),
        }
    }

    #[test]
    fn no_line_is_wider_than_100_columns() {
        let text = render(&report(12));
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 100, "{widest} columns:\n{text}");
    }

    #[test]
    fn a_failed_ping_stands_out() {
        let text = render(&report(2));
        assert!(text.contains("v4 ✓ v6 ✓") && text.contains("v4 ✓ v6 ✗"), "{text}");
    }
}
