//! A topology read from a TOML file. What is left out is as in the usual lab. `docs/lab.md` shows the whole of it.

use std::fmt;
use std::ops::Range;

use ipnetwork::IpNetwork;
use serde::Deserialize;
use serde::de::{self, SeqAccess, Visitor};
use toml::Spanned;

use super::{Design, Encapsulation, Families, NodePlan, PoolPlan, RackPlan, RouterKind, Topology, Unfit};

/// Why a file gives no topology.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It is no TOML, or has a field that is not known, or one of the wrong kind.
    #[error("line {line}, column {column}: {message}")]
    Unreadable {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// What the parser says; it names the fields that exist.
        message: String,
    },
    /// It can be read, and a lab of it could not work.
    #[error("line {line}: {unfit}")]
    Unfit {
        /// Counted from 1; where the part begins.
        line: usize,
        /// What is wrong.
        unfit: Unfit,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    pods_per_node: Option<Spanned<u8>>,
    #[serde(default)]
    families: Families,
    bgp: Option<Spanned<BgpWord>>,
    reflectors: Option<Spanned<u8>>,
    encapsulation: Option<Spanned<Encapsulation>>,
    #[serde(default)]
    rack: Vec<Spanned<RackEntry>>,
    #[serde(default)]
    pool: Vec<Spanned<PoolEntry>>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum BgpWord {
    Mesh,
    Tor,
    DualTor,
    Reflectors,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RackEntry {
    name: Option<Spanned<String>>,
    #[serde(default)]
    router: RouterKind,
    nodes: Spanned<Nodes>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PoolEntry {
    name: Spanned<String>,
    cidr: Spanned<IpNetwork>,
    block_size: Option<Spanned<u8>>,
    #[serde(default = "yes")]
    nat_outgoing: bool,
}

fn yes() -> bool {
    true
}

/// A number of nodes, or their names.
enum Nodes {
    Count(u8),
    Names(Vec<String>),
}

impl<'de> Deserialize<'de> for Nodes {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NodesVisitor;
        impl<'de> Visitor<'de> for NodesVisitor {
            type Value = Nodes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of nodes, or a list of their names")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Nodes, E> {
                let count = u8::try_from(value);
                count.map(Nodes::Count).map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Nodes, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(Nodes::Names(names))
            }
        }
        deserializer.deserialize_any(NodesVisitor)
    }
}

/// Reads a topology and checks it.
///
/// # Errors
/// [`FileError`], with the line.
pub fn from_toml(text: &str) -> Result<Topology, FileError> {
    let file: File = toml::from_str(text).map_err(|error| {
        let (line, column) = place(text, error.span().map_or(0, |span| span.start));
        FileError::Unreadable { line, column, message: error.message().replace('\n', ", ") }
    })?;
    let mut spans = Spans::default();
    let topology = build(file, &mut spans);
    let topology = topology.and_then(|topology| topology.check().map(|()| topology));
    topology.map_err(|unfit| FileError::Unfit { line: place(text, spans.of(&unfit.field)).0, unfit })
}

/// Where each part of the file begins, by its name in errors.
#[derive(Default)]
struct Spans(Vec<(String, usize)>);

impl Spans {
    fn note(&mut self, field: impl Into<String>, span: Range<usize>) {
        self.0.push((field.into(), span.start));
    }

    /// Takes a value out of its place in the file, and notes the place.
    fn take<T>(&mut self, field: impl Into<String>, value: Spanned<T>) -> T {
        self.note(field, value.span());
        value.into_inner()
    }

    /// The place of a part; of what it lies in, if it was left out.
    fn of(&self, field: &str) -> usize {
        let find = |name: &str| self.0.iter().find(|(known, _)| known == name).map(|(_, start)| *start);
        let around = field.rsplit_once('.').map_or(field, |(outer, _)| outer);
        find(field).or_else(|| find(around)).unwrap_or(0)
    }
}

fn build(file: File, spans: &mut Spans) -> Result<Topology, Unfit> {
    let usual = Topology::default();
    let mut topology = Topology {
        pods_per_node: file.pods_per_node.map_or(usual.pods_per_node, |n| spans.take("pods-per-node", n)),
        encapsulation: file.encapsulation.map(|e| spans.take("encapsulation", e)).unwrap_or_default(),
        ..usual
    };
    if !file.rack.is_empty() {
        (topology.racks, topology.nodes) = (Vec::new(), Vec::new());
    }
    for (index, entry) in file.rack.into_iter().enumerate() {
        let entry = spans.take(format!("rack[{index}]"), entry);
        add_rack(&mut topology, index, entry, spans)?;
    }
    topology = topology.with_families(file.families);
    if !file.pool.is_empty() {
        let pools = file.pool.into_iter().enumerate().map(|(index, entry)| {
            let entry = spans.take(format!("pool[{index}]"), entry);
            pool(index, entry, spans)
        });
        topology.pools = pools.collect();
    }
    let bgp = file.bgp.map_or(BgpWord::Mesh, |bgp| spans.take("bgp", bgp));
    let reflectors = file.reflectors.map(|count| spans.take("reflectors", count));
    let design = match (bgp, reflectors) {
        (BgpWord::Mesh, None) => Design::Mesh,
        (BgpWord::Tor, None) => Design::Tor,
        (BgpWord::DualTor, None) => Design::DualTor,
        (BgpWord::Reflectors, count) => Design::Reflectors(count.unwrap_or(1)),
        (_, Some(_)) => {
            let why = "the number of reflectors goes with bgp = \"reflectors\"".into();
            return Err(Unfit { field: "reflectors".into(), why });
        }
    };
    // Who reflects is chosen among the nodes: too many are refused by `check`, not here.
    Ok(topology.with_design(design))
}

fn add_rack(topology: &mut Topology, index: usize, entry: RackEntry, spans: &mut Spans) -> Result<(), Unfit> {
    let field = |name: &str| format!("rack[{index}].{name}");
    let too_many = |what: &str| Unfit { field: "rack".into(), why: format!("there are too many {what}") };
    let number = u8::try_from(index).map_err(|_| too_many("racks"))?;
    let mut rack = RackPlan { router: entry.router, ..RackPlan::numbered(number) };
    if let Some(name) = entry.name {
        rack.name = spans.take(field("name"), name);
    }
    let (count, names) = match spans.take(field("nodes"), entry.nodes) {
        Nodes::Count(count) => (count.into(), Vec::new()),
        Nodes::Names(names) => (names.len(), names),
    };
    let mut names = names.into_iter();
    for _ in 0..count {
        let next = topology.nodes.len() + 1;
        let next = u8::try_from(next).ok().filter(|next| *next <= super::MOST_NODES);
        let mut node = NodePlan::numbered(next.ok_or_else(|| too_many("nodes"))?, index);
        if let Some(name) = names.next() {
            node.name = name;
        }
        topology.nodes.push(node);
    }
    topology.racks.push(rack);
    Ok(())
}

fn pool(index: usize, entry: PoolEntry, spans: &mut Spans) -> PoolPlan {
    let field = |name: &str| format!("pool[{index}].{name}");
    let cidr = spans.take(field("cidr"), entry.cidr);
    let usual = if cidr.is_ipv4() { 26 } else { 122 };
    PoolPlan {
        name: spans.take(field("name"), entry.name),
        cidr,
        block: entry.block_size.map_or(usual, |size| spans.take(field("block-size"), size)),
        nat_outgoing: entry.nat_outgoing,
    }
}

/// Line and column of a byte, counted from 1.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count());
    (before.matches('\n').count() + 1, column + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        from_toml(text).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_is_the_usual_lab() {
        assert_eq!(from_toml("").unwrap(), Topology::default());
    }

    #[test]
    fn racks_nodes_pools_and_design_are_read() {
        let text = r#"
            pods-per-node = 3
            families = "v4"
            bgp = "reflectors"
            reflectors = 2
            encapsulation = "vxlan"

            [[rack]]
            name = "left"
            router = "frr"
            nodes = ["alpha", "beta"]

            [[rack]]
            nodes = 1

            [[pool]]
            name = "few"
            cidr = "10.9.0.0/24"
            block-size = 28
            nat-outgoing = false
        "#;
        let topology = from_toml(text).unwrap();
        assert_eq!((topology.pods_per_node, topology.families), (3, Families::V4));
        assert_eq!(topology.racks[0].name, "left");
        assert_eq!(topology.racks[0].router, RouterKind::Frr);
        let nodes: Vec<_> =
            topology.nodes.iter().map(|n| (n.name.as_str(), n.rack, n.host, n.reflects)).collect();
        assert_eq!(nodes, [("alpha", 0, 11, true), ("beta", 0, 12, false), ("n3", 1, 13, true)]);
        assert_eq!(topology.pools.len(), 1);
        assert_eq!((topology.pools[0].block, topology.pools[0].nat_outgoing), (28, false));
    }

    #[test]
    fn an_unknown_field_is_told_with_its_line_and_what_there_is() {
        let words = refusal("pods-per-node = 2\nracks = 3\n");
        assert!(words.starts_with("line 2, column 1: unknown field `racks`"), "{words}");
        assert!(words.contains("`rack`"), "{words}");
    }

    #[test]
    fn a_wrong_kind_of_value_is_told_with_its_line() {
        let words = refusal("[[rack]]\nnodes = \"two\"\n");
        assert!(
            words.starts_with("line 2, column 9: ") && words.contains("a list of their names"),
            "{words}"
        );
        let words = refusal("encapsulation = \"gre\"");
        assert!(words.starts_with("line 1, ") && words.contains("`vxlan`"), "{words}");
    }

    #[test]
    fn what_cannot_work_is_told_with_line_and_field() {
        let text = "[[rack]]\nnodes = 1\n\n[[rack]]\nname = \"tor1\"\nnodes = 1\n";
        let words = refusal(text);
        assert!(words.starts_with("line 5: rack[1].name: the name `tor1` is taken"), "{words}");
        let words = refusal("[[pool]]\nname = \"p\"\ncidr = \"10.0.0.0/28\"\n");
        assert!(
            words.starts_with("line 1: pool[0].block-size: blocks of 10.0.0.0/28 are /28 to /32"),
            "{words}"
        );
        let words = refusal("bgp = \"mesh\"\nreflectors = 1\n");
        assert!(words.starts_with("line 2: reflectors: "), "{words}");
    }
}
