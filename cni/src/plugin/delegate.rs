//! Another IPAM plugin that gives the addresses (`ipam.type`): executed as the specification says (§4), with the whole
//! configuration and the same variables.
//!
//! It is the plugin and not the agent that starts it, because it belongs to the host: there lie its program (`CNI_PATH`) and
//! its files. `usePodCidr` and `usePodCidrIPv6` in its part of the configuration stand for the ranges that Kubernetes has
//! given to the node; the agent writes them into a file beside its socket.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use ipnetwork::IpNetwork;
use serde::Deserialize;
use serde_json::Value;

use crate::config::NetworkConfig;
use crate::environment::{Command, Environment};
use crate::error::{Code, Error};

/// The file in which the agent keeps the node's ranges, one a line, beside its socket.
pub const POD_CIDRS: &str = "pod-cidrs";

/// Stands for the node's range, by family: of IPv4, of IPv6.
const PLACEHOLDERS: [&str; 2] = ["usepodcidr", "usepodcidripv6"];
/// What stands in their place where none is needed: a plugin looks up what to free by container, but checks its ranges first.
const ANY: [&str; 2] = ["127.0.0.0/8", "fd00::/64"];

/// An IPAM plugin, ready to be started.
#[derive(Debug)]
pub(super) struct Delegate {
    name: String,
    program: PathBuf,
    stdin: Vec<u8>,
}

#[derive(Deserialize)]
struct Failure {
    code: u32,
    msg: String,
    #[serde(default)]
    details: String,
}

impl Delegate {
    /// The plugin that a configuration names, if it names one.
    pub(super) fn find(
        command: Command,
        config: &NetworkConfig,
        environment: &Environment,
        stdin: &[u8],
    ) -> Result<Option<Self>, Error> {
        let Some(name) = config.delegate.clone() else { return Ok(None) };
        let path = environment.get("CNI_PATH").unwrap_or_default();
        let program =
            std::env::split_paths(path).map(|folder| folder.join(&name)).find(|file| file.is_file());
        let program = program.ok_or_else(|| {
            let msg = format!("the IPAM plugin {name} of the network {} is in none of {path}", config.name);
            Error::new(Code::InvalidConfiguration, msg)
        })?;
        let mut value: Value = serde_json::from_slice(stdin)
            .map_err(|error| Error::new(Code::Decoding, format!("the network configuration: {error}")))?;
        if let Some(ipam) = value.get_mut("ipam") {
            let file = config.folder().join(POD_CIDRS);
            fill(ipam, &|v4| range(&file, v4, command))?;
        }
        Ok(Some(Self { name, program, stdin: value.to_string().into_bytes() }))
    }

    /// Runs one operation; what the plugin printed.
    pub(super) fn run(&self, command: Command) -> Result<String, Error> {
        let failed = |error: std::io::Error| {
            let msg = format!("running the IPAM plugin {}: {error}", self.program.display());
            Error::new(Code::Io, msg)
        };
        let mut child = Process::new(&self.program)
            .env("CNI_COMMAND", command.as_str())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(mut pipe) = child.stdin.take() {
            match pipe.write_all(&self.stdin) {
                // It has ended without reading: what it says tells why.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                written => written.map_err(failed)?,
            }
        }
        let output = child.wait_with_output().map_err(failed)?;
        if output.status.success() {
            return String::from_utf8(output.stdout)
                .map_err(|error| self.unreadable(command, &error.to_string()));
        }
        let Ok(failure) = serde_json::from_slice::<Failure>(&output.stdout) else {
            return Err(self.unreadable(command, &format!("it ended with {}", output.status)));
        };
        let code = Code::from_number(failure.code).unwrap_or(Code::Internal);
        let msg = format!("{command} by the IPAM plugin {}: {}", self.name, failure.msg);
        Err(Error::new(code, msg).with_details(failure.details))
    }

    /// ADD: the result.
    pub(super) fn add(&self) -> Result<Value, Error> {
        let said = self.run(Command::Add)?;
        serde_json::from_str(&said).map_err(|error| self.unreadable(Command::Add, &error.to_string()))
    }

    fn unreadable(&self, command: Command, why: &str) -> Error {
        let msg =
            format!("{command} by the IPAM plugin {} gave no answer that can be read: {why}", self.name);
        Error::new(Code::Decoding, msg)
    }
}

/// Puts ranges in place of what stands for them.
fn fill(value: &mut Value, range: &impl Fn(bool) -> Result<String, Error>) -> Result<(), Error> {
    match value {
        Value::String(text) => {
            let [v4, v6] = PLACEHOLDERS.map(|placeholder| text.eq_ignore_ascii_case(placeholder));
            if v4 || v6 {
                *text = range(v4)?;
            }
            Ok(())
        }
        Value::Array(list) => list.iter_mut().try_for_each(|one| fill(one, range)),
        Value::Object(object) => object.values_mut().try_for_each(|one| fill(one, range)),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

/// The node's range of one family.
fn range(file: &Path, v4: bool, command: Command) -> Result<String, Error> {
    let known = std::fs::read_to_string(file).unwrap_or_default();
    let mut ranges = known.lines().filter_map(|line| line.trim().parse::<IpNetwork>().ok());
    if let Some(range) = ranges.find(|range| range.is_ipv4() == v4) {
        return Ok(range.to_string());
    }
    match command {
        // Whatever else is unknown, what is held has to be freed.
        Command::Del | Command::Gc => Ok(ANY[usize::from(!v4)].to_owned()),
        Command::Add | Command::Check | Command::Status | Command::Version => {
            let family = if v4 { "IPv4" } else { "IPv6" };
            let msg = format!(
                "the network asks for addresses of the node's own {family} range, which is not known: {} does not name \
                 it; see spec.podCIDRs of the Node, which Kubernetes sets (--allocate-node-cidrs)",
                file.display()
            );
            Err(Error::new(Code::TryAgainLater, msg))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ranges_stand_where_they_were_asked_for_and_nothing_else_changes() {
        let mut ipam = json!({"type": "host-local", "ranges": [[{"subnet": "usePodCidr"}], [{"subnet": "usePodCidrIPv6"}]],
                              "routes": [{"dst": "0.0.0.0/0"}], "mtu": 3});
        fill(&mut ipam, &|v4| Ok(if v4 { "10.1.0.0/24" } else { "fd00:1::/64" }.to_owned())).unwrap();
        let wanted = json!({"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]],
                            "routes": [{"dst": "0.0.0.0/0"}], "mtu": 3});
        assert_eq!(ipam, wanted);
    }

    #[test]
    fn an_unknown_range_is_no_reason_to_free_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(POD_CIDRS);
        assert_eq!(range(&file, true, Command::Add).unwrap_err().code, Code::TryAgainLater);
        assert_eq!(range(&file, true, Command::Del).unwrap(), ANY[0]);
        std::fs::write(&file, "fd00:1::/64\n10.1.0.0/24\n").unwrap();
        for command in [Command::Add, Command::Del] {
            assert_eq!(range(&file, true, command).unwrap(), "10.1.0.0/24");
            assert_eq!(range(&file, false, command).unwrap(), "fd00:1::/64");
        }
    }
}
