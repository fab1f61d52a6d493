//! The plugin: one short process for one operation.
//!
//! It does alone only what must work without the agent: VERSION; STATUS, which looks at the age of the agent's heartbeat file
//! and never asks anybody; and, when no agent answers, the one part of DEL that cannot wait (`last_resort`). Everything else
//! goes to the agent in one frame. It starts no threads and no async runtime on that way, because it stands in the path of
//! every pod's start.
//!
//! Where the configuration names another IPAM plugin (`delegate`), that one is asked before the agent at ADD, and after it at
//! everything else: an address must not be free while something still leads to it.
//!
//! Started by a person or an init container, without `CNI_COMMAND`, it installs itself and takes itself away again (`verbs`).

mod delegate;
mod exchange;
mod last_resort;
mod status;
mod verbs;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;

pub use delegate::POD_CIDRS;

use crate::config::{NetworkConfig, Role};
use crate::detached;
use crate::environment::{Command, Environment, Target};
use crate::error::{Code, Error};
use crate::frame::{Answer, Call};
use crate::name::Alias;
use crate::request::{Operation, Request};
use crate::version::Version;
use delegate::Delegate;
use exchange::Lost;

/// Runs the operation that the environment names, prints its answer, and says how to exit.
pub fn main() -> ExitCode {
    let environment = match Environment::of_process() {
        Ok(environment) => environment,
        Err(error) => return print(&failure(&error, Version::NEWEST)),
    };
    let command = match environment.command() {
        Ok(Some(command)) => command,
        Ok(None) => return verbs::run(std::env::args_os().skip(1)),
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
    let delegate = |command| Delegate::find(command, config, &environment, &stdin);
    match &request.operation {
        Operation::Status => {
            status::look(&config.heartbeat())?;
            then(delegate(Command::Status)?, Command::Status)
        }
        Operation::Gc => {
            let delegate = delegate(Command::Gc)?;
            let answer = exchange::patient(&config.socket, &call(environment, stdin)?, None)?;
            // One that could not free all of its own does not keep the other from it.
            let other = then(delegate, Command::Gc);
            if answer.exit == 0 { other } else { Ok(answer) }
        }
        Operation::Check(target) => {
            let netns = netns_for(config.role, target, &environment)?;
            let delegate = delegate(Command::Check)?;
            let answer = exchange::patient(&config.socket, &call(environment, stdin)?, netns.as_ref())?;
            if answer.exit == 0 { then(delegate, Command::Check) } else { Ok(answer) }
        }
        Operation::Add(target) => {
            let netns = netns_for(config.role, target, &environment)?;
            let delegate = delegate(Command::Add)?;
            add(config, call(environment, stdin)?, netns.as_ref(), delegate.as_ref())
        }
        Operation::Del(target) => {
            let delegate = delegate(Command::Del)?;
            // A namespace that is gone already is the usual case after a reboot, and no reason to leave the rest behind.
            let netns = target.netns.as_ref().and_then(|path| File::open(path).ok());
            let answer = match exchange::at_once(&config.socket, &call(environment, stdin)?, netns.as_ref()) {
                Ok(answer) => answer,
                Err(lost) => without_agent(config, target, &lost)?,
            };
            if answer.exit == 0 { then(delegate, Command::Del) } else { Ok(answer) }
        }
    }
}

fn call(environment: Environment, stdin: Vec<u8>) -> Result<Call, Error> {
    let stdin = String::from_utf8(stdin).map_err(|error| {
        Error::new(Code::Decoding, format!("the network configuration is no UTF-8 text: {error}"))
    })?;
    Ok(Call { environment, stdin, ipam: None })
}

/// The other IPAM plugin's turn, if there is one. These operations print nothing.
fn then(delegate: Option<Delegate>, command: Command) -> Result<Answer, Error> {
    delegate.map_or(Ok(()), |delegate| delegate.run(command).map(drop))?;
    Ok(nothing())
}

/// ADD. What another IPAM plugin has given is given back if the agent refuses; not so when the agent fell silent (it may have
/// made the interface, and the runtime's DEL comes for both), nor when the attachment exists, and with it the address.
fn add(
    config: &NetworkConfig,
    mut call: Call,
    netns: Option<&File>,
    delegate: Option<&Delegate>,
) -> Result<Answer, Error> {
    call.ipam = delegate.map(Delegate::add).transpose()?;
    let answer = exchange::patient(&config.socket, &call, netns);
    let in_vain = match &answer {
        Ok(answer) => answer.exit != 0 && !answer.says(Code::Exists),
        Err(Lost::NoAgent(..)) => true,
        Err(Lost::Silent(..)) => false,
    };
    if let Some(delegate) = delegate.filter(|_| in_vain)
        && let Err(error) = delegate.run(Command::Del)
    {
        eprintln!("caracal-cni: {error}; the runtime's DEL tries again");
    }
    Ok(answer?)
}

/// DEL must not fail because the agent is away. The rest is freed when it is back: it is told so by a file.
fn without_agent(config: &NetworkConfig, target: &Target, lost: &Lost) -> Result<Answer, Error> {
    eprintln!("caracal-cni: {lost}; detaching container {} alone", target.container);
    let attachment = Alias {
        network: config.name.clone(),
        container: target.container.clone(),
        interface: target.interface,
    };
    if config.role == Role::Main {
        last_resort::remove_device(&attachment)?;
    }
    detached::leave(config.folder(), &attachment).map_err(|error| {
        let folder = config.folder().display();
        let msg = format!(
            "telling the agent by a file in {folder} that container {} is gone: {error}",
            target.container
        );
        Error::new(Code::Io, msg)
    })?;
    Ok(nothing())
}

/// The namespace of a container that is to get an interface, or has one. Who only gives addresses has no business there.
fn netns_for(role: Role, target: &Target, environment: &Environment) -> Result<Option<File>, Error> {
    if role == Role::Ipam {
        return Ok(None);
    }
    let netns = open_netns(target)?;
    let same = |ours: &File, its: &File| -> io::Result<bool> {
        let (ours, its) = (ours.metadata()?, its.metadata()?);
        Ok((ours.dev(), ours.ino()) == (its.dev(), its.ino()))
    };
    let inside = match (&netns, File::open("/proc/self/ns/net")) {
        (Some(its), Ok(ours)) => same(&ours, its).unwrap_or(false),
        (Some(_) | None, _) => false,
    };
    if inside && !environment.may_run_inside() {
        let path = target.netns.as_deref().unwrap_or(std::path::Path::new("")).display();
        let msg = format!(
            "the plugin runs inside the network namespace {path} of container {} instead of the host's; CNI_NETNS_OVERRIDE=1 \
             says that this is meant",
            target.container
        );
        return Err(Error::new(Code::InvalidNamespace, msg));
    }
    Ok(netns)
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
