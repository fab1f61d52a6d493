//! `cargo compare micro`: what the smallest parts of the speaker cost in instructions, as callgrind counts them.
//!
//! Instructions are the same on a busy machine as on an idle one, so two versions can be held against each other wherever
//! they run. The benchmarks are those of `bgp/benches/micro`, each run once; `cargo bench` tells their times.

#[path = "../../../bgp/benches/micro/cases.rs"]
mod cases;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use crate::Micro;
use crate::folder::Folder;
use crate::report::{Figure, OURS, Report};
use cases::{CASES, Case};

/// The functions within which instructions are counted.
const COUNTED: &str = "*micro::work::*";

/// Counts and prints.
pub(crate) fn run(asked: &Micro) -> anyhow::Result<()> {
    let program = build()?;
    let folder = Folder::make()?;
    let mut report = Report::default();
    for (place, case) in CASES.iter().enumerate() {
        let instructions = count(&program, case, folder.path())?;
        let each = instructions as f64 / case.items as f64;
        println!("{}: {each:.0} instructions for each {}", case.name, case.item);
        let title = format!("{}, for each {}", case.name, case.item);
        let figure = Figure { metric: "instructions", unit: "", value: each };
        report.add((place, 0), &title, OURS, &[figure]);
    }
    report.finish(asked.json.as_deref())
}

/// Builds the benchmarks; where they are.
fn build() -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let output = Command::new(cargo)
        .args(["bench", "-p", "caracal-bgp", "--bench", "micro", "--no-run"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("starting cargo to build the benchmarks")?;
    ensure!(output.status.success(), "the benchmarks do not compile: see cargo's words above");
    let text = String::from_utf8(output.stdout).context("reading what cargo says")?;
    let told = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let found = told.filter(|told| told["target"]["name"] == "micro").find_map(|told| {
        let path = told["executable"].as_str()?;
        Some(PathBuf::from(path))
    });
    found.context("cargo does not say where the benchmarks are that it has built")
}

/// How many instructions one run of a benchmark takes.
fn count(program: &Path, case: &Case, folder: &Path) -> anyhow::Result<u64> {
    let told = folder.join(case.name);
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", &format!("--toggle-collect={COUNTED}")])
        .arg(format!("--callgrind-out-file={}", told.display()))
        .arg(program)
        .args(["--test", "--exact", &format!("micro::{}", case.name)])
        .stdin(Stdio::null())
        .output()
        .context("starting valgrind (Debian's package `valgrind`)")?;
    if !output.status.success() {
        bail!("{} under callgrind: {}", case.name, String::from_utf8_lossy(&output.stderr));
    }
    let text = fs::read_to_string(&told).with_context(|| format!("reading {}", told.display()))?;
    let counted = total(&text).with_context(|| format!("{}: callgrind tells no total", case.name))?;
    ensure!(counted > 0, "{}: callgrind has found no function like {COUNTED}", case.name);
    Ok(counted)
}

/// The total of a file of callgrind's.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("totals: "))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found_among_what_callgrind_writes() {
        let text =
            "version: 1\nevents: Ir\nsummary: 12\n\nfn=(1) micro::work::announce\n0 12\n\ntotals: 12\n";
        assert_eq!(total(text), Some(12));
        assert_eq!(total("events: Ir\n"), None);
    }
}
