//! The runner as a program.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use caracal_vm::machine::{Machine, Plan};
use caracal_vm::qemu::Capacity;
use caracal_vm::{Failure, NOT_RUN, OUT_OF_TIME, client, guest, kernel, name, tether};
use clap::{Args, Parser, Subcommand};

/// Runs a command in a small virtual machine with Debian's cloud kernel and this machine's files.
///
/// The files are shared read-only below an overlay in memory: everything can be written inside, and nothing of it comes
/// back but in folders given with --share. The exit code is the command's; 124 when its time was over, 125 when it did
/// not come to run.
#[derive(Debug, Parser)]
#[command(name = "caracal-vm", version)]
struct Line {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Boot a machine, run a command inside, and end with it
    Run(Run),
    /// Run a command in the machine of another terminal
    Exec {
        /// The machine
        #[arg(long)]
        name: String,
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Fetch the kernel, so that the first machine starts at once
    Prepare,
    #[command(name = tether::VERB, hide = true)]
    Tethered {
        parent: u32,
        program: OsString,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    #[command(name = guest::INIT, hide = true)]
    Guest,
    #[command(name = guest::ATTENDANT, hide = true)]
    Attendant,
}

#[derive(Debug, Args)]
struct Run {
    /// Processors; more than one help only work that runs in parallel
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    cpus: u8,
    /// Memory in MiB, taken as it is used; also the room for what is written inside
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(128..=65_536))]
    memory: u32,
    /// End the command after so many seconds
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// A folder that may really be written, at the same path inside; may be given again
    #[arg(long, value_name = "DIR")]
    share: Vec<PathBuf>,
    /// A name, under which `caracal-vm exec` finds the machine
    #[arg(long)]
    name: Option<String>,
    /// Tell how long it took to boot
    #[arg(long)]
    verbose: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

fn main() -> ExitCode {
    match run(Line::parse().verb) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::from(if matches!(error, Failure::Insisted) { 130 } else { NOT_RUN })
        }
    }
}

fn run(verb: Verb) -> Result<u8, Failure> {
    match verb {
        Verb::Run(run) => run_machine(run),
        Verb::Exec { name, command } => {
            client::block_signals()?;
            let (line, start) = (name::call(&name)?, client::start(command)?);
            let _raw = client::lend_terminal(&start)?;
            client::attend(line, start)
        }
        Verb::Prepare => {
            kernel::programs()?;
            kernel::find(&kernel::cache(), &say).map(|_| 0)
        }
        Verb::Tethered { parent, program, arguments } => {
            Err(tether::become_tethered(parent, &program, &arguments))
        }
        Verb::Guest => Err(guest::init()),
        Verb::Attendant => guest::attend().map(|()| 0),
    }
}

fn run_machine(run: Run) -> Result<u8, Failure> {
    let Run { cpus, memory, timeout, share, name, verbose, command } = run;
    client::block_signals()?;
    let capacity = Capacity { cpus, memory };
    let plan = Plan { capacity, name, shares: share, cache: kernel::cache() };
    let mut machine = Machine::boot(&plan, &say)?;
    if verbose {
        say(&format!("the virtual machine was up in {:.1} s", machine.booted().as_secs_f32()));
    }
    match machine.run(client::start(command)?, timeout.map(Duration::from_secs))? {
        Some(code) => Ok(code),
        None => {
            say(&format!("caracal-vm: ended the command after {} s", timeout.unwrap_or_default()));
            Ok(OUT_OF_TIME)
        }
    }
}

/// One line on standard error; a reader that went away must not end the command.
fn say(line: &str) {
    writeln!(std::io::stderr().lock(), "{line}").ok();
}
