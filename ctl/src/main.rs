//! `caracalctl`: looks at a node and its network through the agent's administration socket, and at the cluster's addresses
//! through the Kubernetes API.
//!
//! One verb is one file under [`verbs`]; it asks the agent, makes a document of the answer (the stable form that
//! `-o json` and `-o yaml` print) and a table of the document. The shapes of the documents are described in
//! `docs/caracalctl.md`.

mod agents;
mod arguments;
mod audit;
mod cluster;
mod connection;
mod failure;
mod kinds;
mod output;
mod table;
mod verbs;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use arguments::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse_from(arguments::words(std::env::args_os()));
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            let mut stderr = anstream::stderr().lock();
            let style = anstyle::AnsiColor::Red.on_default().bold();
            // Nothing can be done if even the error cannot be written; the exit code still tells.
            writeln!(stderr, "{style}error{style:#}: {failure}").ok();
            failure.exit_code()
        }
    }
}

fn run(cli: Cli) -> Result<(), failure::Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| failure::Failure::Runtime { source })?;
    runtime.block_on(verbs::run(cli))
}
