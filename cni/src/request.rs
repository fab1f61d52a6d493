//! One call, parsed: what to do, in which network, for whom.

use crate::config::NetworkConfig;
use crate::environment::{Command, Environment, Target};
use crate::error::{Code, Error};

/// A call that has been checked against the specification.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What to do, and to whom.
    pub operation: Operation,
    /// The network it is about.
    pub config: NetworkConfig,
}

/// The operations that need the agent or its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Attach.
    Add(Target),
    /// Detach.
    Del(Target),
    /// See whether all is as ADD made it.
    Check(Target),
    /// Remove everything that the configuration does not list.
    Gc,
    /// Can ADD be served?
    Status,
}

impl Request {
    /// Parses a call. `command` comes from [`Environment::command`], which has seen that nothing is missing; VERSION and a
    /// missing command are answered without a request.
    pub fn parse(command: Command, environment: &Environment, stdin: &[u8]) -> Result<Self, Error> {
        let config = NetworkConfig::parse(stdin)?;
        let since = |has: bool| {
            let version = config.version;
            let msg = format!("{command} does not exist in the asked cniVersion {version}");
            if has { Ok(()) } else { Err(Error::new(Code::IncompatibleVersion, msg)) }
        };
        let operation = match command {
            Command::Add => Operation::Add(environment.target(command)?),
            Command::Del => Operation::Del(environment.target(command)?),
            Command::Check => {
                since(config.version.has_check())?;
                if config.previous.is_none() {
                    let msg = "CHECK needs the result of ADD as prevResult, which the configuration lacks";
                    return Err(Error::new(Code::InvalidConfiguration, msg));
                }
                Operation::Check(environment.target(command)?)
            }
            Command::Gc => {
                since(config.version.has_gc_and_status())?;
                Operation::Gc
            }
            Command::Status => {
                since(config.version.has_gc_and_status())?;
                Operation::Status
            }
            Command::Version => {
                return Err(Error::new(Code::Internal, "VERSION is answered without a configuration"));
            }
        };
        Ok(Self { operation, config })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Version;
    use serde_json::json;

    #[test]
    fn operations_are_refused_below_the_version_that_brought_them() {
        let environment: Environment =
            [("CNI_CONTAINERID", "c"), ("CNI_IFNAME", "eth0"), ("CNI_NETNS", "/x")].into_iter().collect();
        for version in Version::ALL {
            let stdin = json!({"cniVersion": version.as_str(), "name": "n", "prevResult": {}}).to_string();
            let parse = |command| Request::parse(command, &environment, stdin.as_bytes());
            assert!(parse(Command::Add).is_ok() && parse(Command::Del).is_ok());
            assert_eq!(parse(Command::Check).is_ok(), version >= Version::V0_4_0, "CHECK {version}");
            for command in [Command::Gc, Command::Status] {
                let found = parse(command);
                assert_eq!(found.is_ok(), version >= Version::V1_1_0, "{command} {version}");
                if let Err(error) = found {
                    assert_eq!(error.code, Code::IncompatibleVersion);
                }
            }
        }
    }

    #[test]
    fn check_needs_the_result_of_add() {
        let environment: Environment =
            [("CNI_CONTAINERID", "c"), ("CNI_IFNAME", "eth0")].into_iter().collect();
        let stdin = br#"{"cniVersion": "1.0.0", "name": "n"}"#;
        let error = Request::parse(Command::Check, &environment, stdin).unwrap_err();
        assert_eq!(error.code, Code::InvalidConfiguration);
        assert!(error.msg.contains("prevResult"));
    }
}
