//! `cargo verify`: the stages one after another, the sum on the last line.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};

use crate::failures;
use crate::heartbeat::{self, End, say};
use crate::packages;
use crate::place::Place;
use crate::privilege;
use crate::stages::{self, Kind, Stage};
use crate::tally::Tally;

/// Lines of a failed stage's log that are shown where it names no failed test.
const TAIL: usize = 60;

/// Runs every stage up to the first that fails.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let (mut quick, mut fix) = (false, false);
    for argument in arguments {
        match argument.as_str() {
            "--quick" => quick = true,
            "--fix" => fix = true,
            other => bail!("cargo verify knows --quick and --fix, not `{other}`"),
        }
    }
    let place = Place::find()?;
    if !quick {
        privilege::require("cargo verify (without --quick)")?;
        packages::ensure(&packages::for_the_suites())?;
        packages::ensure(packages::FOR_THE_MACHINE)?;
        packages::ensure(packages::FOR_KUBECTL)?;
        packages::ensure(packages::FOR_RUNTIMES)?;
    }
    let mut stages = if fix { stages::fixes(&place) } else { Vec::new() };
    stages.extend(stages::all(&place, quick));

    let begin = Instant::now();
    let mut sum = Tally::default();
    let mut good = true;
    for stage in stages {
        let (passed, tally) = run_stage(&place, stage)?;
        sum.add(tally);
        if !passed {
            good = false;
            break;
        }
    }
    say(&format!(
        "verify: {} in {:.0} s",
        if good { "all good" } else { "FAILED" },
        begin.elapsed().as_secs_f32()
    ));
    say(&sum.to_string());
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs one stage: whether it passed, and what it adds to the sum.
fn run_stage(place: &Place, stage: Stage) -> anyhow::Result<(bool, Tally)> {
    let Stage { name, budget, command, kind } = stage;
    let logs = place.programs.join("verify");
    std::fs::create_dir_all(&logs).with_context(|| format!("creating {}", logs.display()))?;
    let log = logs.join(format!("{}.log", name.replace(' ', "-")));
    say(&format!("▸ {name}"));
    let begin = Instant::now();
    let end = heartbeat::run(name, command, &log, budget)?;
    let seconds = begin.elapsed().as_secs_f32();
    let passed = matches!(&end, End::Exited(status) if status.success());
    let mut tally = match kind {
        Kind::Tests => Tally::read(&heartbeat::tail(&log, usize::MAX)),
        Kind::One => Tally { passed: u64::from(passed), ..Tally::default() },
        Kind::Check => Tally::default(),
    };
    if passed {
        let counts = if kind == Kind::Tests { format!(": {tally}") } else { String::new() };
        say(&format!("✓ {name}, {seconds:.1} s{counts}"));
        return Ok((true, tally));
    }
    // A stage that fails without a failed test (it does not compile, say) is a failure too.
    tally.failed = tally.failed.max(1);
    let explained = failures::explain(&heartbeat::tail(&log, usize::MAX));
    say(&explained.unwrap_or_else(|| heartbeat::tail(&log, TAIL)));
    match end {
        End::Exited(status) => say(&format!("✗ {name}: {status} after {seconds:.1} s")),
        End::OutOfTime => {
            say(&format!("✗ {name}: ended by verify, its budget of {} s is used up", budget.as_secs()));
        }
    }
    say(&format!("  the whole log: {}", log.display()));
    Ok((false, tally))
}
