//! The tables at the end: at most 100 columns, plain where the output is no terminal. What is long is cut, and the cut
//! is told; `--json` has everything.

use comfy_table::{ContentArrangement, Table, presets};

use super::matrix::matrix;
use crate::report::{Figures, Report};

/// Widest line.
pub(super) const WIDTH: u16 = 100;
/// Most rows of one table.
const ROWS: usize = 48;

/// All tables, one below the other.
pub fn render(report: &Report) -> String {
    let mut parts = vec![
        ("Nodes and pods", nodes(report)),
        ("BGP peers", peers(report)),
        ("Address blocks", blocks(report)),
        ("Routes made by caracal on nodes (protocol 67)", routes(&report.routes, " proto 67")),
    ];
    if !report.router_routes.is_empty() {
        parts.push(("Routes that routers have learned", routes(&report.router_routes, "")));
    }
    if !report.outside.is_empty() {
        parts.push(("Pods as the outside host sees them", outside(report)));
    }
    parts.push(("Pings from row to column: one packet each, IPv4 and IPv6", matrix(report)));
    let mut text = String::new();
    for (title, table) in parts {
        text.push_str(&format!("\n{title}\n{table}\n"));
    }
    text.push_str(&figures(&report.figures));
    text
}

/// An empty table with a header.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(WIDTH);
    table.set_header(header.to_vec());
    table
}

/// A table of these rows, or of the first of them.
fn filled(header: &[&str], rows: impl ExactSizeIterator<Item = Vec<String>>) -> Table {
    let mut table = table(header);
    let count = rows.len();
    let shown = if count > ROWS { ROWS - 1 } else { count };
    for row in rows.take(shown) {
        table.add_row(row);
    }
    if count > shown {
        table.add_row(vec![format!("… {}", count - shown), "more: --json has all of them".into()]);
    }
    table
}

fn nodes(report: &Report) -> Table {
    let rows = report.nodes.iter().map(|line| {
        let of = |v6: bool| {
            let some = line.addresses.iter().filter(|address| address.is_ipv6() == v6);
            some.map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        let first = |text: &str| if line.pod.is_none() { text.to_owned() } else { String::new() };
        let pod = line.pod.clone().unwrap_or_default();
        vec![first(&line.rack), first(&line.node), pod, of(false), of(true)]
    });
    filled(&["rack", "node", "pod", "IPv4", "IPv6"], rows)
}

fn peers(report: &Report) -> Table {
    let names = repeated(report.peers.iter().map(|(node, _)| node));
    let rows = report.peers.iter().zip(names).map(|((_, peer), node)| {
        let accepted = format!("{} v4, {} v6", peer.accepted.ipv4, peer.accepted.ipv6);
        let asn = peer.remote_as.to_string();
        vec![node, peer.name.clone(), peer.key.clone(), asn, peer.state.clone(), accepted]
    });
    filled(&["node", "peer", "address", "AS", "state", "routes accepted"], rows)
}

fn blocks(report: &Report) -> Table {
    let rows = report
        .blocks
        .iter()
        .map(|block| vec![block.cidr.to_string(), block.owner.clone(), block.pool.clone()]);
    filled(&["block", "owner", "pool"], rows)
}

/// Routes without the words that the title says for all of them.
fn routes(routes: &[(String, crate::route::Route)], said: &str) -> Table {
    let names = repeated(routes.iter().map(|(machine, _)| machine));
    let rows =
        routes.iter().zip(names).map(|((_, route), machine)| vec![machine, route.words().replace(said, "")]);
    filled(&["on", "route"], rows)
}

fn outside(report: &Report) -> Table {
    let names = repeated(report.outside.iter().map(|sight| &sight.pod));
    let rows = report.outside.iter().zip(names).map(|(sight, pod)| {
        let seen = match (&sight.seen, &sight.failure) {
            (Some(seen), _) if sight.is_right() => seen.to_string(),
            (Some(seen), _) => format!("✗ {seen}, not {}", sight.expected),
            (None, why) => format!("✗ {}", why.as_deref().unwrap_or_default()),
        };
        vec![pod, sight.address.to_string(), seen]
    });
    filled(&["pod", "its address", "seen as"], rows)
}

/// Names in a row, each only where it first stands.
fn repeated<'a>(names: impl Iterator<Item = &'a String>) -> std::vec::IntoIter<String> {
    let mut last: Option<&String> = None;
    let names: Vec<String> = names
        .map(|name| {
            let again = last == Some(name);
            last = Some(name);
            if again { String::new() } else { name.clone() }
        })
        .collect();
    names.into_iter()
}

fn figures(figures: &Figures) -> String {
    let mib = |kib: u64| format!("{:.1} MiB", kib as f64 / 1024.0);
    let ms = |micros: u64| format!("{:.1} ms", micros as f64 / 1000.0);
    let Figures { nodes, pods, ready, agent, api_server, controller, routers, round_trip, add } = figures;
    let mut lines = vec![
        format!("ready in {ready:.1} s: {nodes} nodes, {pods} pods"),
        format!("memory of an agent: {} ({} to {})", mib(agent.median), mib(agent.least), mib(agent.most)),
        format!(
            "memory of the API server {}, the controller {}, all routers {}",
            mib(*api_server),
            mib(*controller),
            mib(*routers)
        ),
    ];
    if *pods > 0 {
        lines.push(format!(
            "ADD: {} median, {} p99; round trips: {} median, {} p99",
            ms(add.median),
            ms(add.p99),
            ms(round_trip.median),
            ms(round_trip.p99)
        ));
    }
    format!("\nFigures\n  {}\n", lines.join("\n  "))
}

#[cfg(test)]
mod tests {
    use super::super::matrix::tests::report;
    use super::*;

    #[test]
    fn no_line_is_wider_than_100_columns() {
        for (nodes, pods) in [(1, 12), (4, 2), (40, 2), (90, 1)] {
            let text = render(&report(nodes, pods));
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= 100, "{widest} columns:\n{text}");
        }
    }

    #[test]
    fn a_long_table_is_cut_and_says_so() {
        let rows = (0..60).map(|row| vec![row.to_string(), String::new()]);
        let text = filled(&["number", ""], rows).to_string();
        assert!(text.contains("46") && !text.contains("47 "), "{text}");
        assert!(text.contains("… 13") && text.contains("--json"), "{text}");
    }
}
