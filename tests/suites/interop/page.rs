//! `docs/interop.md`, made of the [`claims`](crate::claims).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, ensure};
use caracal_lab::Sandbox;

use crate::claims::{self, DAEMONS, ITSELF, OWN};

const HEAD: &str = "\
# caracal with other implementations of BGP

`cargo verify` runs caracal-bgpd against five others, each from its Debian package, in network namespaces: every \u{2713} is
a case of `tests/suites/interop` that passes there, and its name, which the lists below give, runs it alone:

    cargo test --workspace --test interop -- bird_ebgp

This page is generated from the cases; `cargo verify --fix` renews it. ExaBGP keeps no table: its cases read what it is
told. GoBGP keeps what it was sent and never asks for it again: its case of a refresh has us ask. OpenBGPD announces `::1`
as next hop of IPv6 routes over IPv4, which caracal refuses: its cases have a session for each family.

Of refreshes: this OpenBGPD drops ours with the words that the family was not negotiated, though it exchanges routes of it:
its cases have it ask. This ExaBGP, asked where refreshes are marked (RFC 7313), stumbles over its own mark of the beginning
and resets the connection; it is reset by whoever asks, and caracal has the session back within a second. Its case of marked
refreshes has it ask, and `enhanced-refresh = false` on caracal's side lets it be asked. This FRR answers no refresh before
it has sent End-of-RIB, which it sends only to peers that offer graceful restart: where refreshes are marked, `graceful-restart`
has to be set on caracal's side for it to answer at all, and in its case it is.

Of BFD: this FRR watches a peer that it knows by interface, and does not answer one that it knows by link-local address and
device.

Of restarts: routes go both ways through the kernels of both ends, and every packet is counted. What the peers themselves
make of a restart:

* Where our BFD outlives us (`run-directory`), the path is never down to the other end, planned restart or crash; the crash
  only if we are back within the detection time. Else BFD goes down at the other end, which is the case below.
* BIRD keeps its kernel's routes when it is killed, or ended with `birdc graceful restart`, and finds them again with `-R`
  and `graceful restart` in its `kernel` protocols. With plain `bfd on` it takes the end of BFD for the end of all routes,
  also of a peer that restarts (its packets to us are lost until we are back); its cases have `bfd graceful`, which does not.
* FRR's `zebra` keeps the routes of a `bgpd` that was killed, with `bgp graceful-restart preserve-fw-state`. Told to end
  (SIGTERM), `bgpd` takes them out of its kernel, which nobody else can prevent: that is in no case. When it is back, this FRR
  says End-of-RIB some ten milliseconds before its own prefixes, so that all peers, by RFC 4724 \u{a7}4.2, drop them for
  so long: packets to it are counted only while caracal restarts, packets from it always. In one of ten runs its own kernel is
  without what the run before had left for some ten milliseconds: its kernel's events must tell that, else no packet may be lost. Where it and we dial each other
  at the same moment, it was seen to close without a word the session that had just come up, which is a second restart to
  it, and of that it keeps nothing (RFC 4724 \u{a7}4.2): its cases have `neighbor \u{2026} passive`, and so should routers.
* GoBGP writes no kernel here, and learns what it announces from its command line: its case keeps BGP out of it for so long.
* OpenBGPD keeps the routes of a peer that restarts for the time it was asked to. It writes no kernel here.

Of passwords: this OpenBGPD takes up another one for its next connection, and tries that two minutes later: its cases have
`bgpctl neighbor \u{2026} clear` follow `bgpctl reload`. This ExaBGP takes SIGUSR1 for it, but drops the signal while it has routes to
say that no session has taken: its case of a range, in which it starts with a wrong one, starts it again.
";

/// Where it belongs. In a sandbox the tree is where it was.
fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/interop.md")
}

/// A row: what is claimed, and by which case of each column.
type Row = (&'static str, BTreeMap<&'static str, &'static str>);

fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for claim in claims::all().into_iter().filter(|claim| !claim.daemon.is_empty()) {
        match rows.iter_mut().find(|(feature, _)| *feature == claim.feature) {
            Some((_, cells)) => drop(cells.insert(claim.daemon, claim.case.name)),
            None => rows.push((claim.feature, [(claim.daemon, claim.case.name)].into())),
        }
    }
    rows
}

/// The table and the lists of cases: what must be true.
fn body() -> String {
    let rows = rows();
    let columns: Vec<&str> = DAEMONS.iter().map(|(name, _)| *name).collect();
    let (with_daemons, others): (Vec<&Row>, Vec<&Row>) =
        rows.iter().partition(|(_, cells)| columns.iter().any(|column| cells.contains_key(column)));
    let mut text = format!("\n| | {} |\n|---|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
    let mut reasons: Vec<&str> = Vec::new();
    for (feature, cells) in &with_daemons {
        let marks = columns.iter().map(|column| match cells.contains_key(column) {
            true => "\u{2713}".to_owned(),
            false => note(why_not(feature, column), &mut reasons),
        });
        writeln!(text, "| {feature} | {} |", marks.collect::<Vec<_>>().join(" | ")).unwrap();
    }
    text.push_str("\nWhere there is no case:\n\n");
    for (place, reason) in reasons.iter().enumerate() {
        writeln!(text, "{}. {reason}", place + 1).unwrap();
    }
    text.push_str("\n## The cases\n\n");
    for (feature, cells) in &with_daemons {
        let all: Vec<&str> = columns.iter().copied().chain([OWN]).collect();
        let names: Vec<String> =
            all.iter().filter_map(|column| cells.get(column)).map(|n| format!("`{n}`")).collect();
        writeln!(text, "* {feature}: {}", names.join(", ")).unwrap();
    }
    for (head, column) in [
        ("With a speaker of the suite's own, which sends what no daemon would", OWN),
        ("The daemon itself", ITSELF),
    ] {
        write!(text, "\n## {head}\n\n").unwrap();
        for (feature, name) in
            others.iter().filter_map(|(feature, cells)| Some((feature, cells.get(column)?)))
        {
            writeln!(text, "* {feature}: `{name}`").unwrap();
        }
    }
    text
}

/// The mark of a cell without a case: the number of its reason.
fn note(reason: &'static str, reasons: &mut Vec<&'static str>) -> String {
    let place = reasons.iter().position(|one| *one == reason).unwrap_or_else(|| {
        reasons.push(reason);
        reasons.len() - 1
    });
    format!("({})", place + 1)
}

/// Why a daemon has no case of a feature.
fn why_not(feature: &str, daemon: &str) -> &'static str {
    let found = ABSENT.iter().find(|(of, who, _)| feature.starts_with(of) && *who == daemon);
    found.map_or("It was not tried.", |(_, _, why)| why)
}

/// The beginning of a feature, a daemon, and why there is no case.
const ABSENT: &[(&str, &str, &str)] = &[
    ("reflection between", "ExaBGP", "ExaBGP is no router: it passes nothing on."),
    ("hold time 0", "GoBGP", "It takes a configured hold time of 0 for its default."),
    ("hold time 0", "OpenBGPD", "It takes a configured hold time of 0 for its default."),
    ("refreshes with", "GoBGP", "This version does not have RFC 7313."),
    ("IPv4 routes with IPv6", "OpenBGPD", "This version has no RFC 8950 for IPv4."),
    ("200 simultaneous", "FRR", ONE_IS_ENOUGH),
    ("200 simultaneous", "GoBGP", ONE_IS_ENOUGH),
    ("200 simultaneous", "ExaBGP", ONE_IS_ENOUGH),
    ("200 simultaneous", "OpenBGPD", ONE_IS_ENOUGH),
    ("the path fails", "GoBGP", LACKS_5880),
    ("the path fails", "ExaBGP", LACKS_5880),
    ("the path fails", "OpenBGPD", LACKS_5880),
    ("the same over many hops", "GoBGP", LACKS_5880),
    ("the same over many hops", "ExaBGP", LACKS_5880),
    ("the same over many hops", "OpenBGPD", LACKS_5880),
    ("either side is killed", "ExaBGP", "ExaBGP is no router: it keeps nothing."),
    ("either side is killed", "OpenBGPD", ENDS_ONLY),
    ("our restarts, with", "BIRD", RESTARTS_ITSELF),
    ("our restarts, with", "FRR", RESTARTS_ITSELF),
    ("our restarts, with", "GoBGP", RESTARTS_ITSELF),
    ("our restarts, with", "ExaBGP", "ExaBGP is no router: it keeps nothing."),
    ("nor where BFD", "GoBGP", LACKS_5880),
    ("nor where BFD", "ExaBGP", LACKS_5880),
    ("nor where BFD", "OpenBGPD", LACKS_5880),
    ("BFD outlives", "GoBGP", LACKS_5880),
    ("BFD outlives", "ExaBGP", LACKS_5880),
    ("BFD outlives", "OpenBGPD", LACKS_5880),
    ("a dead node", "BIRD", "This version does not have RFC 8538."),
    ("a dead node", "ExaBGP", "ExaBGP is no router: it keeps nothing."),
    ("a dead node", "OpenBGPD", ENDS_ONLY),
    ("away for longer", "ExaBGP", "ExaBGP is no router: it keeps nothing."),
    ("away for longer", "OpenBGPD", ENDS_ONLY),
    (
        "peers by interface",
        "BIRD",
        "This version does not find neighbours by itself: it is in the row of link-local peers.",
    ),
    ("extended messages", "GoBGP", LACKS_8654),
    ("extended messages", "OpenBGPD", LACKS_8654),
    ("what is too long", "BIRD", TAKES_8654),
    ("what is too long", "FRR", TAKES_8654),
    ("what is too long", "ExaBGP", TAKES_8654),
];

const ONE_IS_ENOUGH: &str =
    "Collisions are made with a daemon that dials all 200 as it starts, and with another caracal.";
const RESTARTS_ITSELF: &str = "It restarts so itself: it is in the row of restarts of either side.";
const ENDS_ONLY: &str = "Of its own restart it says no more than End-of-RIB: its capability lists no family, so that nobody keeps anything of it.";
const LACKS_5880: &str = "This version has no BFD.";
const LACKS_8654: &str =
    "This version does not have RFC 8654: it is in the row of peers for which messages can be too long.";
const TAKES_8654: &str = "It takes messages of every length: it is in the row of RFC 8654.";

/// The versions that the page was made with.
fn versions() -> anyhow::Result<String> {
    let mut text = String::from("\nMade with ");
    for (place, (name, package)) in DAEMONS.iter().enumerate() {
        let output = Command::new("dpkg-query")
            .args(["-W", "-f", "${Version}", package])
            .output()
            .context("asking dpkg-query for a version")?;
        ensure!(output.status.success(), "the package {package} is not installed");
        let version = String::from_utf8_lossy(&output.stdout).into_owned();
        write!(text, "{}{name} {version}", if place == 0 { "" } else { ", " })?;
    }
    text.push_str(".\n");
    Ok(text)
}

/// The line with the versions: those installed here, or where not all are installed those of the page as it is.
fn made_with() -> anyhow::Result<String> {
    versions().or_else(|error| {
        let page = std::fs::read_to_string(path()).unwrap_or_default();
        let line = page.lines().find(|line| line.starts_with("Made with "));
        line.map(|line| format!("\n{line}\n")).ok_or(error)
    })
}

/// Writes it.
pub(crate) fn write() -> ExitCode {
    let text = made_with().map(|versions| format!("{HEAD}{versions}{}", body()));
    let written = text.and_then(|text| {
        std::fs::write(path(), text).with_context(|| format!("writing {}", path().display()))
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The committed page is what the cases claim. Versions may differ: they are those it was made with.
pub(crate) async fn is_true(_: Sandbox) -> anyhow::Result<()> {
    let page = std::fs::read_to_string(path()).with_context(|| format!("reading {}", path().display()))?;
    ensure!(
        page.starts_with(HEAD) && page.ends_with(&body()) && page.contains("\nMade with "),
        "docs/interop.md is not what the cases claim: run `cargo verify --fix`"
    );
    Ok(())
}
