//! The variables a runtime sets: the operation, the container, the namespace, the interface.
//!
//! [`Environment`] is the raw copy that travels to the agent; [`Environment::command`] and [`Environment::target`] parse it.
//! All missing variables are named at once, as the specification asks of error 4.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use caracal_linux::object::link::IfName;
use serde::{Deserialize, Serialize};

use crate::error::{Code, Error};

/// What is taken from the process and passed on. The last three carry tracing context.
const VARIABLES: [&str; 10] = [
    "CNI_COMMAND",
    "CNI_CONTAINERID",
    "CNI_NETNS",
    "CNI_NETNS_OVERRIDE",
    "CNI_IFNAME",
    "CNI_ARGS",
    "CNI_PATH",
    "TRACEPARENT",
    "TRACESTATE",
    "BAGGAGE",
];

/// The operations of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Attach a container.
    Add,
    /// Detach it.
    Del,
    /// See whether an attachment is as it was made.
    Check,
    /// Remove everything that is not listed.
    Gc,
    /// Can ADD be served now?
    Status,
    /// Which versions are spoken?
    Version,
}

impl Command {
    const ALL: [Command; 6] = [Self::Add, Self::Del, Self::Check, Self::Gc, Self::Status, Self::Version];

    /// As it stands in `CNI_COMMAND`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    /// The variables without which it cannot be done.
    fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Add | Self::Check => &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
            Self::Del => &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
            Self::Gc | Self::Status => &["CNI_PATH"],
            Self::Version => &[],
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The CNI variables of one call, as they came. Empty ones count as absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    /// Takes what concerns CNI from this process.
    pub fn of_process() -> Result<Self, Error> {
        let mut variables = BTreeMap::new();
        for name in VARIABLES {
            match std::env::var(name) {
                Ok(value) if value.is_empty() => {}
                Ok(value) => {
                    variables.insert(name.to_owned(), value);
                }
                Err(std::env::VarError::NotPresent) => {}
                Err(std::env::VarError::NotUnicode(_)) => return Err(invalid(name, "it is not UTF-8 text")),
            }
        }
        Ok(Self { variables })
    }

    /// The value of a variable, if it is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// What is to be done; none if `CNI_COMMAND` is not set: then a person has started the plugin.
    pub fn command(&self) -> Result<Option<Command>, Error> {
        let Some(text) = self.get("CNI_COMMAND") else { return Ok(None) };
        let command = Command::ALL.into_iter().find(|command| command.as_str() == text);
        let command = command.ok_or_else(|| {
            let known = Command::ALL.map(Command::as_str).join(", ");
            invalid("CNI_COMMAND", &format!("`{text}` is none of {known}"))
        })?;
        let missing: Vec<&str> =
            command.needs().iter().copied().filter(|name| self.get(name).is_none()).collect();
        if missing.is_empty() {
            return Ok(Some(command));
        }
        let msg = format!("{command} needs the variables {}, which are not set", missing.join(", "));
        Err(Error::new(Code::InvalidEnvironment, msg))
    }

    /// Whether the caller knows that the plugin runs inside the container's namespace, and wants it to go on.
    pub fn may_run_inside(&self) -> bool {
        self.get("CNI_NETNS_OVERRIDE").is_some_and(|value| matches!(value, "1" | "true" | "TRUE" | "True"))
    }

    /// Whom the call is about, for ADD, DEL and CHECK.
    pub fn target(&self, command: Command) -> Result<Target, Error> {
        // DEL must free what it can: what it does not know in the arguments is no reason to fail.
        let args = Args::parse(self.get("CNI_ARGS").unwrap_or_default(), command == Command::Del)?;
        let container = self.get("CNI_CONTAINERID").unwrap_or_default();
        if !is_identifier(container) {
            return Err(invalid(
                "CNI_CONTAINERID",
                &format!("`{container}` must be letters, digits, `.`, `_` and `-`, a letter or digit first"),
            ));
        }
        let interface = self.get("CNI_IFNAME").unwrap_or_default();
        let interface = IfName::new(interface).map_err(|error| invalid("CNI_IFNAME", &error.to_string()))?;
        Ok(Target {
            container: container.to_owned(),
            interface,
            netns: self.get("CNI_NETNS").map(PathBuf::from),
            args,
        })
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        Self { variables: variables.into_iter().map(|(k, v)| (k.into(), v.into())).collect() }
    }
}

/// One interface of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The runtime's name for the container (for Kubernetes: the pod's sandbox).
    pub container: String,
    /// The interface inside its namespace.
    pub interface: IfName,
    /// Where its namespace can be opened; DEL may not know any more.
    pub netns: Option<PathBuf>,
    /// The caller's arguments.
    pub args: Args,
}

/// `CNI_ARGS`: what the runtime knows of the container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// Namespace and name of the pod.
    pub pod: Option<Pod>,
    /// The address wanted by the old `IP=` way, as text.
    pub ip: Option<String>,
}

/// A Kubernetes pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID, where the runtime tells it. For static pods it differs from the one in the API.
    pub uid: Option<String>,
}

impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Args {
    fn parse(text: &str, ignore_unknown: bool) -> Result<Self, Error> {
        let mut values = BTreeMap::new();
        for pair in text.split(';').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some((key, value)) => {
                    values.insert(key, value);
                }
                None if ignore_unknown => {}
                None => return Err(invalid("CNI_ARGS", &format!("`{pair}` is no KEY=VALUE"))),
            }
        }
        let mut take = |key| values.remove(key).filter(|value| !value.is_empty()).map(str::to_owned);
        let ignore = take("IgnoreUnknown");
        let (namespace, name, uid) = (take("K8S_POD_NAMESPACE"), take("K8S_POD_NAME"), take("K8S_POD_UID"));
        // The sandbox is the container itself.
        take("K8S_POD_INFRA_CONTAINER_ID");
        let ip = take("IP");
        let ignore_unknown =
            ignore_unknown || matches!(ignore.as_deref(), Some("1" | "true" | "TRUE" | "True"));
        if !ignore_unknown && !values.is_empty() {
            let keys: Vec<&str> = values.keys().copied().collect();
            let why = format!("{} not known; IgnoreUnknown=1 would pass over them", keys.join(", "));
            return Err(invalid("CNI_ARGS", &why));
        }
        let pod = match (namespace, name) {
            (Some(namespace), Some(name)) => Some(Pod { namespace, name, uid }),
            _ => None,
        };
        Ok(Self { pod, ip })
    }
}

/// Whether a text can name a container or a network.
pub(crate) fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

fn invalid(variable: &str, why: &str) -> Error {
    Error::new(Code::InvalidEnvironment, format!("the variable {variable} is invalid: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().copied().collect()
    }

    #[test]
    fn all_missing_variables_are_named_at_once() {
        let table: [(&str, &[&str]); 5] = [
            ("ADD", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]),
            ("CHECK", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]),
            ("DEL", &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"]),
            ("GC", &["CNI_PATH"]),
            ("STATUS", &["CNI_PATH"]),
        ];
        for (command, needed) in table {
            let error = environment(&[("CNI_COMMAND", command), ("CNI_ARGS", "")]).command().unwrap_err();
            assert_eq!(error.code, Code::InvalidEnvironment);
            for name in VARIABLES.iter().filter(|name| **name != "CNI_COMMAND") {
                assert_eq!(
                    error.msg.contains(name),
                    needed.contains(name),
                    "{command} {name}: {}",
                    error.msg
                );
            }
        }
        assert_eq!(environment(&[("CNI_COMMAND", "VERSION")]).command().unwrap(), Some(Command::Version));
        assert_eq!(environment(&[]).command().unwrap(), None);
        assert!(environment(&[("CNI_COMMAND", "add")]).command().unwrap_err().msg.contains("`add`"));
    }

    #[test]
    fn names_of_containers_and_interfaces_are_checked() {
        let target = |container: &str, interface: &str| {
            environment(&[("CNI_CONTAINERID", container), ("CNI_IFNAME", interface)]).target(Command::Add)
        };
        assert!(target("a1_.-z", "eth0").is_ok());
        for (container, interface, variable) in [
            ("", "eth0", "CNI_CONTAINERID"),
            ("-a", "eth0", "CNI_CONTAINERID"),
            ("a/b", "eth0", "CNI_CONTAINERID"),
            ("ä", "eth0", "CNI_CONTAINERID"),
            ("a", "", "CNI_IFNAME"),
            ("a", "..", "CNI_IFNAME"),
            ("a", "et h0", "CNI_IFNAME"),
            ("a", "eth0:1", "CNI_IFNAME"),
            ("a", "sixteen-letters-", "CNI_IFNAME"),
        ] {
            let error = target(container, interface).unwrap_err();
            assert!(error.msg.contains(variable), "{container} {interface}: {}", error.msg);
        }
    }

    #[test]
    fn arguments_tell_the_pod_and_unknown_ones_are_refused_unless_told_otherwise() {
        let kubernetes = "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web-0;\
                          K8S_POD_INFRA_CONTAINER_ID=abc;K8S_POD_UID=u-1;OTHER=x";
        let args = Args::parse(kubernetes, false).unwrap();
        let pod = Pod { namespace: "ns".into(), name: "web-0".into(), uid: Some("u-1".into()) };
        assert_eq!(args, Args { pod: Some(pod), ip: None });
        assert_eq!(Args::parse("IP=10.0.0.1", false).unwrap().ip.as_deref(), Some("10.0.0.1"));
        assert!(Args::parse("OTHER=x", false).unwrap_err().msg.contains("OTHER"));
        assert!(Args::parse("nonsense", false).is_err());
        assert_eq!(Args::parse("OTHER=x;nonsense", true).unwrap(), Args::default());
        assert_eq!(Args::parse("", false).unwrap(), Args::default());
    }
}
