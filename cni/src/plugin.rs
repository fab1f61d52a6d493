//! The plugin: one short process for one operation.
//!
//! It does alone only what must work without the agent: VERSION; STATUS, which looks at the age of the agent's heartbeat file
//! and never asks anybody; and, when no agent answers, the one part of DEL that cannot wait (`last_resort`). Everything else
//! goes to the agent in one frame. It starts no threads and no async runtime on that way, because it stands in the path of
//! every pod's start.

mod exchange;
mod last_resort;
mod status;

use std::fs::File;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use crate::config::NetworkConfig;
use crate::environment::{Command, Environment, Target};
use crate::error::{Code, Error};
use crate::frame::{Answer, Call};
use crate::request::{Operation, Request};
use crate::version::Version;
use exchange::Lost;

/// Runs the operation that the environment names, prints its answer, and says how to exit.
pub fn main() -> ExitCode {
    let environment = match Environment::of_process() {
        Ok(environment) => environment,
        Err(error) => return print(&failure(&error, Version::NEWEST)),
    };
    let command = match environment.command() {
        Ok(Some(command)) => command,
        Ok(None) => {
            about();
            return ExitCode::SUCCESS;
        }
        Err(error) => return print(&failure(&error, Version::NEWEST)),
    };
    if command == Command::Version {
        return print(&Answer { exit: 0, stdout: Version::report().to_string() });
    }
    let mut stdin = Vec::new();
    if let Err(error) = io::stdin().lock().read_to_end(&mut stdin) {
        let error =
            Error::new(Code::Io, format!("reading the network configuration from standard input: {error}"));
        return print(&failure(&error, Version::NEWEST));
    }
    let version = NetworkConfig::version_of(&stdin);
    let answer = Request::parse(command, &environment, &stdin)
        .and_then(|request| perform(&request, environment, stdin))
        .unwrap_or_else(|error| failure(&error, version));
    print(&answer)
}

fn perform(request: &Request, environment: Environment, stdin: Vec<u8>) -> Result<Answer, Error> {
    let config = &request.config;
    let call = || -> Result<Call, Error> {
        let stdin = String::from_utf8(stdin).map_err(|error| {
            Error::new(Code::Decoding, format!("the network configuration is no UTF-8 text: {error}"))
        })?;
        Ok(Call { environment, stdin })
    };
    match &request.operation {
        Operation::Status => status::look(&config.heartbeat()).map(|()| nothing()),
        Operation::Gc => exchange::patient(&config.socket, &call()?, None),
        Operation::Add(target) | Operation::Check(target) => {
            let netns = open_netns(target)?;
            exchange::patient(&config.socket, &call()?, netns.as_ref())
        }
        Operation::Del(target) => {
            // A namespace that is gone already is the usual case after a reboot, and no reason to leave the rest behind.
            let netns = target.netns.as_ref().and_then(|path| File::open(path).ok());
            match exchange::at_once(&config.socket, &call()?, netns.as_ref()) {
                Ok(answer) => Ok(answer),
                Err(lost) => without_agent(config, target, &lost),
            }
        }
    }
}

/// DEL must not fail because the agent is away. What it would have freed is found at its next start, when it sees that the
/// device is gone.
fn without_agent(config: &NetworkConfig, target: &Target, lost: &Lost) -> Result<Answer, Error> {
    eprintln!("caracal-cni: {lost}; removing the device of container {} alone", target.container);
    last_resort::remove_device(config, target)?;
    Ok(nothing())
}

fn open_netns(target: &Target) -> Result<Option<File>, Error> {
    let Some(path) = &target.netns else { return Ok(None) };
    File::open(path).map(Some).map_err(|error| {
        let msg = format!(
            "opening the network namespace {} of container {}: {error}",
            path.display(),
            target.container
        );
        Error::new(Code::InvalidNamespace, msg)
    })
}

fn nothing() -> Answer {
    Answer { exit: 0, stdout: String::new() }
}

fn failure(error: &Error, version: Version) -> Answer {
    Answer { exit: 1, stdout: error.to_json(version).to_string() }
}

fn print(answer: &Answer) -> ExitCode {
    let mut stdout = io::stdout().lock();
    if let Err(error) = stdout.write_all(answer.stdout.as_bytes()).and_then(|()| stdout.flush()) {
        eprintln!("caracal-cni: printing the answer: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::from(answer.exit)
}

fn about() {
    eprintln!(
        "caracal-cni {}: the CNI plugin of caracal, started by a container runtime.\n\
         It reads a network configuration on standard input and the operation in CNI_COMMAND.\n\
         CNI versions: {}",
        env!("CARGO_PKG_VERSION"),
        Version::ALL.map(Version::as_str).join(", "),
    );
}
