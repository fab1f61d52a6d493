//! The lab as a program: brings it up, shows it, and stays until it is told to end; and from other terminals, looks
//! into one that is up.

mod arguments;
mod document;
mod up;
mod verbs;

use std::process::ExitCode;

use anyhow::Context;
use caracal_lab::sandbox::{self, Product, SandboxError, Side};
use clap::Parser;

use arguments::Line;

fn main() -> ExitCode {
    match run(Line::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(line: Line) -> anyhow::Result<ExitCode> {
    if let Some(command) = line.command {
        return verbs::run(command);
    }
    // Read on both sides of the sandbox: what is wrong is told before anything is made.
    let topology = line.up.topology()?;
    let find = || -> Result<Product, SandboxError> { Product::find() };
    match sandbox::enter(&line.up.name, find)? {
        Side::Outside(code) => Ok(code),
        Side::Inside(sandbox) => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .context("starting the lab's runtime")?;
            runtime.block_on(up::inside(sandbox, topology, &line.up))
        }
    }
}
