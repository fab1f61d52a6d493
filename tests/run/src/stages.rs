//! What `cargo verify` does, in order: cheap first, so that a slip shows at once.

use std::process::Command;
use std::time::Duration;

use crate::build;
use crate::machine;
use crate::place::{self, Place};

/// One check: a command, and how long it may take.
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    pub(crate) budget: Duration,
    pub(crate) command: Command,
    /// Its result is read from `test result:` lines; otherwise success counts as one passed test if `counts`.
    pub(crate) kind: Kind,
}

/// How a stage's verdict enters the sum.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A check of the sources: not counted unless it fails.
    Check,
    /// Prints `test result:` lines.
    Tests,
    /// One end-to-end test.
    One,
}

const MINUTE: Duration = Duration::from_secs(60);

/// Test targets that run once more inside the virtual machine: those of `linux/`, whose kernel there is another and
/// has `ipip`.
const INSIDE: &[&str] = &["kernel", "repair", "soak", "tunnels", "nft", "facts", "removal", "hand"];

/// All stages; `quick` leaves out those that build network namespaces.
pub(crate) fn all(place: &Place, quick: bool) -> Vec<Stage> {
    let cargo = |arguments: &[&str]| {
        let mut command = place::cargo();
        command.args(arguments).current_dir(&place.workspace);
        command
    };
    let check =
        |name, minutes: u32, command| Stage { name, budget: MINUTE * minutes, command, kind: Kind::Check };
    let tests =
        |name, minutes: u32, command| Stage { name, budget: MINUTE * minutes, command, kind: Kind::Tests };

    let mut stages = vec![check("format", 2, cargo(&["fmt", "--all", "--check"]))];
    let mut clippy = vec!["clippy", "--workspace", "--all-targets"];
    clippy.extend(["--", "-D", "warnings"]);
    stages.push(check("clippy", 20, cargo(&clippy)));
    stages.push(check("build", 20, cargo(build::PROGRAMS)));
    let mut generated = Command::new(place.program("crds"));
    generated.arg("--check").current_dir(&place.workspace);
    stages.push(check("generated files", 1, generated));
    let unit = ["test", "--workspace", "--exclude", "caracal-suites", "--no-fail-fast"];
    stages.push(tests("unit and property tests", 30, cargo(&unit)));
    // The suites themselves come last and one by one; what reads their command line is tested here.
    stages.push(tests(
        "tests of the suites' runner",
        10,
        cargo(&["test", "--workspace", "--lib", "runner::tests"]),
    ));
    let mut docs = cargo(&["doc", "--workspace", "--no-deps"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    stages.push(check("docs", 10, docs));
    if !quick {
        stages.push(tests(
            "network suites",
            30,
            cargo(&["test", "--workspace", "--no-fail-fast", "--test", "lab", "--test", "path"]),
        ));
        // Not beside the others: its two thousand ADDs and DELs take all the machine has.
        let addresses = ["test", "--workspace", "--no-fail-fast", "--test", "addresses"];
        stages.push(tests("addresses under churn", 10, cargo(&addresses)));
        let mut lab = Command::new(place.program("caracal-lab"));
        lab.arg("--once").current_dir(&place.workspace);
        stages.push(Stage { name: "lab", budget: MINUTE * 5, command: lab, kind: Kind::One });
        let kubectl = ["test", "--workspace", "--no-fail-fast", "--test", "kubectl"];
        stages.push(tests("kubectl, old and new", 10, cargo(&kubectl)));
        stages.push(tests(
            "interop",
            10,
            cargo(&["test", "--workspace", "--no-fail-fast", "--test", "interop"]),
        ));
        stages.push(tests(
            "virtual machine",
            10,
            cargo(&["test", "--workspace", "--no-fail-fast", "--test", "machine"]),
        ));
        let runner = machine::as_test_runner(&place.program("caracal-vm"), 2048);
        let mut inside = vec!["test", "--workspace", "--no-fail-fast", "--config", &runner];
        inside.extend(INSIDE.iter().flat_map(|target| ["--test", target]));
        stages.push(tests("on Debian's kernel, with ipip", 15, cargo(&inside)));
        let ipip = ["test", "--workspace", "--no-fail-fast", "--test", "ipip"];
        stages.push(tests("ipip: listings and packets", 10, cargo(&ipip)));
        // By itself: half a dozen flows with every packet counted want a machine of their own, maybe an emulated one.
        let transitions = ["test", "--workspace", "--test", "transitions"];
        stages.push(tests("ipip: changes of modes", 15, cargo(&transitions)));
        let runtime = ["test", "--workspace", "--no-fail-fast", "--test", "runtime"];
        stages.push(tests("containerd", 10, cargo(&runtime)));
        let mut lab = Command::new(place.program("caracal-vm"));
        lab.args(["run", "--cpus", "2", "--memory", "3072", "--"]).arg(place.program("caracal-lab"));
        lab.args(["--once", "--encap", "ipip"]).current_dir(&place.workspace);
        stages.push(Stage { name: "lab with ipip", budget: MINUTE * 5, command: lab, kind: Kind::One });
    }
    stages
}

/// What `--fix` runs first: they rewrite files in place.
pub(crate) fn fixes(place: &Place) -> Vec<Stage> {
    let cargo = |arguments: &[&str]| {
        let mut command = place::cargo();
        command.args(arguments).current_dir(&place.workspace);
        command
    };
    let fix =
        |name, minutes: u32, command| Stage { name, budget: MINUTE * minutes, command, kind: Kind::Check };
    vec![
        fix("renew format", 2, cargo(&["fmt", "--all"])),
        fix("renew generated files", 20, cargo(&["run", "-q", "-p", "caracal-api", "--bin", "crds"])),
        fix(
            "renew the page of interop",
            20,
            cargo(&["test", "-q", "--workspace", "--test", "interop", "--", "--write-page"]),
        ),
    ]
}
