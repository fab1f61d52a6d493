//! The network suites: each case is a process of its own, in a sandbox of its own.
//!
//! libtest runs its tests as threads of one process; a lab wants to be process 1 of new namespaces. So a suite is a
//! test target without libtest's harness: it lists its [`Case`]s, starts itself once for each, and prints what libtest
//! would print, so that people and tools read it alike. `cargo test -p caracal-suites -- pings` runs the cases whose
//! name holds `pings`.

pub mod asymmetry;
pub mod condition;
pub mod conversation;
pub mod flow;
mod machine;
mod runner;
pub mod ways;

use std::pin::Pin;
use std::process::ExitCode;

pub use machine::main_inside;

use caracal_lab::{Product, Sandbox, Side, sandbox};

/// What a case does inside.
pub type Body = Pin<Box<dyn Future<Output = anyhow::Result<()>>>>;

/// One case: a statement of behaviour, and what checks it.
pub struct Case {
    /// The statement, in snake_case.
    pub name: &'static str,
    /// Checks it inside a sandbox.
    pub run: fn(Sandbox) -> Body,
}

/// A [`Case`] of an async function in a module of the suite, by the function's name.
#[macro_export]
macro_rules! case {
    ($module:ident::$name:ident) => {
        $crate::Case { name: stringify!($name), run: |sandbox| Box::pin($module::$name(sandbox)) }
    };
}

/// The variable by which the runner tells its child which case it is.
const CASE: &str = "CARACAL_CASE";

/// The `main` of a suite.
pub fn main(cases: &[Case]) -> ExitCode {
    main_at_once(cases, 1)
}

/// The `main` of a suite whose cases mostly wait: so many of them run at once.
pub fn main_at_once(cases: &[Case], at_once: usize) -> ExitCode {
    let Ok(name) = std::env::var(CASE) else { return runner::run(cases, at_once) };
    let Some(case) = cases.iter().find(|case| case.name == name) else {
        eprintln!("there is no case `{name}`");
        return ExitCode::FAILURE;
    };
    match one(case) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One case, outside and inside of its sandbox.
fn one(case: &Case) -> anyhow::Result<ExitCode> {
    let lab = format!("{}-{}", case.name, std::process::id());
    match sandbox::enter(&lab, Product::find)? {
        Side::Outside(code) => Ok(code),
        Side::Inside(sandbox) => {
            let logs = sandbox.logs();
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let outcome = runtime.block_on((case.run)(sandbox));
            if outcome.is_err() {
                runner::show_logs(&logs);
            }
            outcome.map(|()| ExitCode::SUCCESS)
        }
    }
}
