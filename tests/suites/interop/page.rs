//! `docs/interop.md`, made of the [`claims`](crate::claims).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, ensure};
use caracal_lab::Sandbox;

use crate::claims::{self, DAEMONS, OWN};

const HEAD: &str = "\
# caracal with other implementations of BGP

`cargo verify` runs caracal-bgpd against five others, each from its Debian package, in network namespaces: every \u{2713} is
a case of `tests/suites/interop` that passed, and the name below it finds the case:

    cargo test --workspace --test interop -- bird_ebgp

This page is generated from the cases; `cargo verify --fix` renews it.
";

/// Where it belongs. In a sandbox the tree is where it was.
fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/interop.md")
}

/// The table and the list of cases: what must be true.
fn body() -> String {
    let mut rows: Vec<(&str, BTreeMap<&str, &str>)> = Vec::new();
    for claim in claims::all().into_iter().filter(|claim| !claim.daemon.is_empty()) {
        match rows.iter_mut().find(|(feature, _)| *feature == claim.feature) {
            Some((_, cells)) => drop(cells.insert(claim.daemon, claim.case.name)),
            None => rows.push((claim.feature, [(claim.daemon, claim.case.name)].into())),
        }
    }
    let columns: Vec<&str> = DAEMONS.iter().map(|(name, _)| *name).chain([OWN]).collect();
    let mut text = format!("\n| | {} |\n|---|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
    for (feature, cells) in &rows {
        let marks = columns.iter().map(|column| if cells.contains_key(column) { "\u{2713}" } else { "" });
        writeln!(text, "| {feature} | {} |", marks.collect::<Vec<_>>().join(" | ")).unwrap();
    }
    text.push_str(NOTES);
    text.push_str("\n## The cases\n\n");
    for (feature, cells) in &rows {
        let names: Vec<String> =
            columns.iter().filter_map(|column| cells.get(column)).map(|n| format!("`{n}`")).collect();
        writeln!(text, "* {feature}: {}", names.join(", ")).unwrap();
    }
    text
}

const NOTES: &str = "
An empty cell means that there is no such case, for one of these reasons:

* ExaBGP is no router: it keeps no table of what it learns and reflects nothing. The case reads what it is told.
* GoBGP answers a route refresh, and asks for none: it keeps what it was sent. The case has the first half.
* GoBGP and OpenBGPD take a configured hold time of 0 for their default.
* OpenBGPD announces `::1` as next hop of IPv6 routes over a session that runs over IPv4, which caracal refuses; its cases
  use a session for each family. It has no RFC 8950 for IPv4 in this version.
";

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
