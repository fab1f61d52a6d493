//! The matrix of pings: by pod while that fits, else by node, else by rack.

use comfy_table::Table;

use super::tables::table;
use crate::probe::Cell;
use crate::report::Report;

/// Most columns that fit.
const MOST: usize = 10;

/// One row a source, one column a target.
pub(super) fn matrix(report: &Report) -> Table {
    let place = |name: &str| report.places.iter().find(|place| place.name == name);
    let node = |name: &str| place(name).map_or(name.to_owned(), |place| place.node.clone());
    let rack = |name: &str| place(name).map_or(name.to_owned(), |place| place.rack.clone());
    let pings = &report.pings;
    if distinct(pings, |cell| cell.to.label.clone()).len() <= MOST {
        return by(pings, str::to_owned, single);
    }
    if distinct(pings, |cell| node(&cell.to.label)).len() <= MOST {
        return by(pings, node, counted);
    }
    by(pings, rack, counted)
}

fn by(pings: &[Cell], group: impl Fn(&str) -> String, words: fn(&[&Cell]) -> String) -> Table {
    let sources = distinct(pings, |cell| group(&cell.from));
    let targets = distinct(pings, |cell| group(&cell.to.label));
    let header: Vec<&str> = std::iter::once("from").chain(targets.iter().map(String::as_str)).collect();
    let mut table = table(&header);
    for source in &sources {
        let mut row = vec![source.clone()];
        for target in &targets {
            let cells =
                pings.iter().filter(|cell| group(&cell.from) == *source && group(&cell.to.label) == *target);
            row.push(words(&cells.collect::<Vec<_>>()));
        }
        table.add_row(row);
    }
    table
}

/// The words of one pair: a mark, and the families that failed.
fn single(cells: &[&Cell]) -> String {
    let failed: Vec<&str> = cells
        .iter()
        .filter(|cell| cell.failure.is_some())
        .map(|cell| if cell.to.address.is_ipv6() { "v6" } else { "v4" })
        .collect();
    match (cells.is_empty(), failed.is_empty()) {
        (true, _) => String::new(),
        (_, true) => "✓".into(),
        (_, false) => format!("✗ {}", failed.join(" ")),
    }
}

/// The words of many pairs: how many were answered of how many.
fn counted(cells: &[&Cell]) -> String {
    let answered = cells.iter().filter(|cell| cell.failure.is_none()).count();
    match cells.len() {
        0 => String::new(),
        all if answered == all => format!("✓ {all}"),
        all => format!("✗ {answered}/{all}"),
    }
}

fn distinct(pings: &[Cell], name: impl Fn(&Cell) -> String) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for cell in pings {
        let name = name(cell);
        if found.last() != Some(&name) && !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::probe::Target;
    use crate::report::{Accepted, Block, NodeLine, Peer, Place};

    /// A lab of so many nodes with so many pods each, in which the first pod does not answer IPv6.
    pub(in crate::show) fn report(nodes: usize, pods: usize) -> Report {
        let places = (1..=nodes).flat_map(|node| {
            (1..=pods).map(move |pod| Place {
                name: format!("n{node}-p{pod}"),
                node: format!("n{node}"),
                rack: format!("rack{}", node % 2),
            })
        });
        let places: Vec<Place> = places.collect();
        let cell = |from: &Place, to: &Place, v6: bool| Cell {
            from: from.name.clone(),
            to: Target {
                label: to.name.clone(),
                address: if v6 { "fd00:244::1".parse().unwrap() } else { "10.244.0.1".parse().unwrap() },
            },
            micros: None,
            failure: (to.name == "n1-p1" && v6).then(|| "no answer within 1 s".into()),
        };
        let pairs = places.iter().flat_map(|from| places.iter().map(move |to| (from, to)));
        let peer = Peer {
            name: "n2".into(),
            key: "172.30.0.12".into(),
            remote_as: 64512,
            state: "Established".into(),
            accepted: Accepted { ipv4: 1, ipv6: 1 },
            last_error: None,
        };
        Report {
            nodes: vec![NodeLine {
                node: "n1".into(),
                rack: "rack0".into(),
                pod: None,
                addresses: vec!["172.30.0.11".parse().unwrap(), "fd00:30::11".parse().unwrap()],
            }],
            peers: vec![("n1".into(), peer)],
            blocks: vec![Block {
                cidr: "10.244.0.0/26".parse().unwrap(),
                owner: "n1".into(),
                pool: "pods-v4".into(),
            }],
            routes: Vec::new(),
            router_routes: Vec::new(),
            pings: pairs.flat_map(|(from, to)| [cell(from, to, false), cell(from, to, true)]).collect(),
            outside: Vec::new(),
            figures: crate::report::Figures::default(),
            places,
        }
    }

    #[test]
    fn a_failed_ping_stands_out() {
        let text = matrix(&report(1, 2)).to_string();
        assert!(text.contains("✓") && text.contains("✗ v6") && !text.contains("v4"), "{text}");
    }

    #[test]
    fn what_does_not_fit_is_counted_by_node_and_then_by_rack() {
        let by_node = matrix(&report(4, 4)).to_string();
        assert!(
            by_node.contains("n4") && by_node.contains("✗ 28/32") && by_node.contains("✓ 32"),
            "{by_node}"
        );
        let by_rack = matrix(&report(20, 1)).to_string();
        assert!(by_rack.contains("rack1") && by_rack.contains("✗ 190/200"), "{by_rack}");
    }
}
