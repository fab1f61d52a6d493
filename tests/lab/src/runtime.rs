//! The container runtime's role: executes a conflist's plugins as the CNI specification 1.1 says (§3 and §4), with
//! the environment and the configuration that containerd would give them.

use std::fmt;

use anyhow::Context;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::command;
use crate::machine::Machine;

/// The folder of a node's conflists.
pub const CONFIGURATIONS: &str = "/etc/cni/net.d";
/// The conflist that the agent writes there once it serves.
pub const CONFLIST: &str = "/etc/cni/net.d/10-caracal.conflist";
/// Where plugins lie on a node.
pub const PLUGINS: &str = "/opt/cni/bin";

/// One interface of one container: what a plugin is asked about.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// 64 hexadecimal digits.
    pub container: String,
    /// Path of the network namespace.
    pub netns: String,
    /// The interface inside.
    pub interface: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's UID.
    pub uid: String,
}

/// A refusal, as the plugin worded it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, thiserror::Error)]
pub struct Refusal {
    /// The specification's code, or the plugin's own from 100 on.
    pub code: u32,
    /// In short.
    pub msg: String,
    /// At length.
    #[serde(default)]
    pub details: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the plugin refused with code {}: {}", self.code, self.msg)?;
        if self.details.is_empty() { Ok(()) } else { write!(f, " ({})", self.details) }
    }
}

/// ADD through the whole list; gives the last plugin's result.
pub async fn add(machine: &Machine, what: &Attachment) -> anyhow::Result<Value> {
    let list = read(machine)?;
    let mut result: Option<Value> = None;
    for plugin in &list.plugins {
        let stdin = list.configuration(plugin, result.as_ref());
        let stdout = execute(machine, "ADD", plugin, &stdin, Some(what)).await?;
        result = Some(serde_json::from_str(&stdout).context("reading the result of ADD")?);
    }
    result.context("the conflist names no plugin")
}

/// DEL through the whole list, backwards, with the result of ADD.
pub async fn del(machine: &Machine, what: &Attachment, result: Option<&Value>) -> anyhow::Result<()> {
    let list = read(machine)?;
    for plugin in list.plugins.iter().rev() {
        execute(machine, "DEL", plugin, &list.configuration(plugin, result), Some(what)).await?;
    }
    Ok(())
}

/// CHECK through the whole list.
pub async fn check(machine: &Machine, what: &Attachment, result: &Value) -> anyhow::Result<()> {
    let list = read(machine)?;
    for plugin in &list.plugins {
        execute(machine, "CHECK", plugin, &list.configuration(plugin, Some(result)), Some(what)).await?;
    }
    Ok(())
}

/// STATUS: whether the node's network can take an ADD now.
pub async fn status(machine: &Machine) -> anyhow::Result<()> {
    let list = read(machine)?;
    for plugin in &list.plugins {
        execute(machine, "STATUS", plugin, &list.configuration(plugin, None), None).await?;
    }
    Ok(())
}

struct List {
    name: String,
    version: String,
    plugins: Vec<Map<String, Value>>,
}

fn read(machine: &Machine) -> anyhow::Result<List> {
    let path = machine.file(CONFLIST);
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let list: Value = serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
    List::of(&list).with_context(|| format!("reading {}", path.display()))
}

impl List {
    /// The version is the highest of `cniVersions`, as runtimes choose it that know all of them; else `cniVersion`.
    fn of(list: &Value) -> anyhow::Result<Self> {
        let text = |field: &str| {
            let value = list.get(field).and_then(Value::as_str);
            value.map(str::to_owned).with_context(|| format!("there is no {field}"))
        };
        let several = list.get("cniVersions").and_then(Value::as_array).into_iter().flatten();
        let highest = several.filter_map(Value::as_str).max_by_key(|version| numbers(version));
        let version = highest.map_or_else(|| text("cniVersion"), |version| Ok(version.to_owned()))?;
        let plugins = list.get("plugins").and_then(Value::as_array).cloned().unwrap_or_default();
        let plugins = plugins.into_iter().filter_map(|plugin| plugin.as_object().cloned()).collect();
        Ok(Self { name: text("name")?, version, plugins })
    }

    /// What one plugin gets on stdin: its part of the list, with the name, the version, what it asked to be told at
    /// run time, and the result so far.
    fn configuration(&self, plugin: &Map<String, Value>, previous: Option<&Value>) -> Value {
        let mut own = plugin.clone();
        own.insert("name".into(), json!(self.name));
        own.insert("cniVersion".into(), json!(self.version));
        let capabilities = own.remove("capabilities");
        let asked = |capability: &str| {
            capabilities.as_ref().and_then(|all| all.get(capability)).and_then(Value::as_bool) == Some(true)
        };
        if asked("io.kubernetes.cri.pod-annotations") {
            own.insert("runtimeConfig".into(), json!({"io.kubernetes.cri.pod-annotations": {}}));
        }
        if let Some(previous) = previous {
            own.insert("prevResult".into(), previous.clone());
        }
        Value::Object(own)
    }
}

/// A version as it is compared.
fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|number| number.parse().unwrap_or(0)).collect()
}

async fn execute(
    machine: &Machine,
    verb: &str,
    plugin: &Map<String, Value>,
    stdin: &Value,
    what: Option<&Attachment>,
) -> anyhow::Result<String> {
    let kind = plugin.get("type").and_then(Value::as_str).context("a plugin in the conflist has no type")?;
    let mut command = machine.netns().command(&format!("{PLUGINS}/{kind}"));
    command.env("CNI_COMMAND", verb).env("CNI_PATH", PLUGINS);
    if let Some(what) = what {
        let arguments = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID={}",
            what.namespace, what.pod, what.container, what.uid
        );
        command
            .env("CNI_CONTAINERID", &what.container)
            .env("CNI_NETNS", &what.netns)
            .env("CNI_IFNAME", &what.interface)
            .env("CNI_ARGS", arguments);
    }
    let output = command::run_with(&mut command, stdin.to_string().as_bytes()).await?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let doing = || match what {
        Some(what) => format!("{verb} for pod {}/{} on {}", what.namespace, what.pod, machine.name()),
        None => format!("{verb} on {}", machine.name()),
    };
    match serde_json::from_str::<Refusal>(&output.stdout) {
        Ok(refusal) => Err(anyhow::Error::new(refusal).context(doing())),
        Err(_) => output.success().with_context(doing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_gets_name_version_and_what_it_asked_for_but_not_its_capabilities() {
        let plugin = json!({"type": "caracal", "capabilities": {"io.kubernetes.cri.pod-annotations": true}});
        let plugin = plugin.as_object().unwrap().clone();
        let list = List { name: "caracal".into(), version: "1.1.0".into(), plugins: vec![plugin.clone()] };
        let stdin = list.configuration(&plugin, Some(&json!({"ips": []})));
        assert_eq!(
            stdin,
            json!({"type": "caracal", "name": "caracal", "cniVersion": "1.1.0",
                "runtimeConfig": {"io.kubernetes.cri.pod-annotations": {}}, "prevResult": {"ips": []}})
        );
    }

    #[test]
    fn the_highest_version_is_taken_where_several_are_offered() {
        let plain = json!({"name": "n", "cniVersion": "1.0.0", "plugins": [{"type": "caracal"}]});
        let mut several = plain.clone();
        several["cniVersions"] = json!(["0.4.0", "1.1.0", "1.0.0"]);
        let version = |list: &Value| List::of(list).unwrap().version;
        assert_eq!((version(&plain).as_str(), version(&several).as_str()), ("1.0.0", "1.1.0"));
        assert!(List::of(&json!({"cniVersion": "1.0.0"})).is_err());
    }

    #[test]
    fn a_refusal_tells_code_and_details() {
        let said = r#"{"cniVersion":"1.1.0","code":11,"msg":"try again later","details":"no block yet"}"#;
        let refusal: Refusal = serde_json::from_str(said).unwrap();
        assert_eq!(refusal.to_string(), "the plugin refused with code 11: try again later (no block yet)");
    }
}
