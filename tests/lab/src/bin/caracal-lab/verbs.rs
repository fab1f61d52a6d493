//! What is done to a running lab from another terminal.

use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use caracal_lab::remote::{self, Answer, Request};
use caracal_lab::{enter, logs, show};

use crate::arguments::Command;

pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Exec { name, target, command } => {
            enter::exec(&name, &target, &command)?;
            Ok(ExitCode::FAILURE)
        }
        Command::Kubectl { name, arguments } => {
            enter::kubectl(&name, &arguments)?;
            Ok(ExitCode::FAILURE)
        }
        Command::Shell { name, target } => {
            enter::exec(&name, &target, &shell(&target))?;
            Ok(ExitCode::FAILURE)
        }
        Command::Status { name, json } => {
            let status = match remote::ask(&name, &Request::Status)? {
                Answer::Status(status) => status,
                other => bail!("the lab gave no status: {other:?}"),
            };
            if json {
                show::print(&(serde_json::to_string_pretty(&status)? + "\n"));
            } else {
                show::print(&status.render());
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Logs { name, follow, lines, process: Some(process) } => {
            logs::show(&name, &process, lines, follow, &mut std::io::stdout().lock())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Logs { name, process: None, .. } => {
            for (process, size) in logs::list(&name)? {
                show::print(&format!("{process:<20} {size:>10} bytes\n"));
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Fault { name, machine, fault } => {
            match remote::ask(&name, &Request::Fault { machine, fault })? {
                Answer::Done(what) => show::print(&format!("{what}\n")),
                Answer::Refused(why) => bail!("{why}"),
                other @ Answer::Status(_) => bail!("the lab answered something else: {other:?}"),
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A shell whose prompt says where it is.
fn shell(target: &str) -> Vec<String> {
    let prompt = format!("PS1={target}:\\w# ");
    let shell: &[&str] =
        if Path::new("/bin/bash").exists() { &["/bin/bash", "--norc", "-i"] } else { &["/bin/sh", "-i"] };
    ["env", &prompt].iter().chain(shell).map(|word| (*word).to_owned()).collect()
}
