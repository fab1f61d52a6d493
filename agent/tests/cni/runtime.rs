//! A container runtime's part, as libcni plays it: a list of plugins, executed one after the other, each with the result of the
//! one before, at DEL backwards; what the runtime adds goes to the plugins that ask for it by `capabilities`.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use caracal_linux::namespace::Namespace;
use serde_json::{Map, Value, json};

use std::os::fd::AsFd;

use crate::rig::Pod;

/// Where Debian puts the stock plugins (containernetworking-plugins).
const STOCK: &str = "/usr/lib/cni";

/// What a plugin refused with: its error, or what it printed.
pub(crate) type Refused = Value;

/// A network configuration list, and where its plugins are.
pub(crate) struct Runtime {
    /// Holds the installed plugin, and folders for what stock plugins keep.
    pub(crate) folder: tempfile::TempDir,
    version: String,
    plugins: Vec<Map<String, Value>>,
}

impl Runtime {
    /// Installs the plugin, as the init container does, and takes a list in one version.
    pub(crate) fn new(version: &str, plugins: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let built = Path::new(env!("CARGO_BIN_EXE_caracal-agent")).with_file_name("caracal-cni");
        let installed = Command::new(&built).args(["install", "--bin-dir"]).arg(folder.path()).output();
        let installed =
            installed.unwrap_or_else(|error| panic!("{}: {error}; cargo build makes it", built.display()));
        assert!(installed.status.success(), "{installed:?}");
        let plugins =
            plugins.as_array().unwrap().iter().map(|one| one.as_object().unwrap().clone()).collect();
        Self { folder, version: version.into(), plugins }
    }

    /// One operation of another plugin of the same list, as a plugin that delegates to it would ask.
    pub(crate) async fn delegated(&self, command: &str, pod: &Pod, stdin: Value) -> Output {
        execute(Command::new(self.plugin()), self.variables(command, pod), stdin.to_string()).await
    }

    /// Where our own plugin lies.
    pub(crate) fn plugin(&self) -> PathBuf {
        self.folder.path().join("caracal")
    }

    fn path(&self) -> String {
        format!("{}:{STOCK}", self.folder.path().display())
    }

    /// What one plugin gets on its standard input.
    pub(crate) fn stdin(&self, plugin: usize, capabilities: &Value, previous: Option<&Value>) -> Value {
        let mut own = self.plugins[plugin].clone();
        own.insert("name".into(), json!("net"));
        own.insert("cniVersion".into(), json!(self.version));
        let asked = own.remove("capabilities").unwrap_or(Value::Null);
        let passed: Map<String, Value> = capabilities
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| asked[name.as_str()] == true)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !passed.is_empty() {
            own.insert("runtimeConfig".into(), Value::Object(passed));
        }
        if let Some(previous) = previous {
            own.insert("prevResult".into(), previous.clone());
        }
        Value::Object(own)
    }

    /// The variables of a call.
    pub(crate) fn variables(&self, command: &str, pod: &Pod) -> Vec<(&'static str, String)> {
        let netns = format!("/proc/{}/fd/{}", std::process::id(), pod.namespace.as_fd().as_raw_fd());
        let args = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={}", pod.name);
        vec![
            ("CNI_COMMAND", command.into()),
            ("CNI_CONTAINERID", pod.container.clone()),
            ("CNI_IFNAME", "eth0".into()),
            ("CNI_NETNS", netns),
            ("CNI_PATH", self.path()),
            ("CNI_ARGS", args),
        ]
    }

    async fn run(
        &self,
        command: &str,
        plugin: usize,
        pod: &Pod,
        stdin: Value,
    ) -> Result<Option<Value>, Refused> {
        let kind = self.plugins[plugin]["type"].as_str().unwrap().to_owned();
        let program =
            self.path().split(':').map(|folder| Path::new(folder).join(&kind)).find(|file| file.exists());
        let program = program
            .unwrap_or_else(|| panic!("no plugin {kind}: apt-get install containernetworking-plugins"));
        let output = execute(Command::new(program), self.variables(command, pod), stdin.to_string()).await;
        let said = serde_json::from_slice(&output.stdout).ok();
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            return Ok(said);
        }
        Err(json!({"plugin": kind, "command": command, "said": said, "stderr": complaints}))
    }

    /// ADD through the list: the last result.
    pub(crate) async fn add(&self, pod: &Pod, capabilities: &Value) -> Result<Value, Refused> {
        let mut result = None;
        for plugin in 0..self.plugins.len() {
            let stdin = self.stdin(plugin, capabilities, result.as_ref());
            result = self.run("ADD", plugin, pod, stdin).await?;
        }
        Ok(result.unwrap_or(Value::Null))
    }

    /// CHECK through the list.
    pub(crate) async fn check(&self, pod: &Pod, capabilities: &Value, result: &Value) -> Result<(), Refused> {
        for plugin in 0..self.plugins.len() {
            self.run("CHECK", plugin, pod, self.stdin(plugin, capabilities, Some(result))).await?;
        }
        Ok(())
    }

    /// DEL through the list, backwards.
    pub(crate) async fn del(
        &self,
        pod: &Pod,
        capabilities: &Value,
        result: Option<&Value>,
    ) -> Result<(), Refused> {
        for plugin in (0..self.plugins.len()).rev() {
            let said = self.run("DEL", plugin, pod, self.stdin(plugin, capabilities, result)).await?;
            assert_eq!(said, None, "DEL prints nothing");
        }
        Ok(())
    }

    /// One operation of the list's first plugin.
    pub(crate) async fn one(&self, command: &str, pod: &Pod, stdin: Value) -> Result<Option<Value>, Refused> {
        self.run(command, 0, pod, stdin).await
    }
}

/// Runs a program to its end, in the namespace of the calling thread, without holding that up.
pub(crate) async fn execute(
    mut program: Command,
    variables: Vec<(&'static str, String)>,
    stdin: String,
) -> Output {
    let done = tokio::task::spawn_blocking(move || {
        program.envs(variables).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = program.spawn().unwrap();
        // One that is killed does not read.
        if let Err(error) = child.stdin.take().unwrap().write_all(stdin.as_bytes()) {
            assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        }
        child.wait_with_output().unwrap()
    });
    done.await.unwrap()
}

/// Does something inside a namespace, without holding up the calling thread.
pub(crate) async fn inside<T: Send + 'static>(
    namespace: &Namespace,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let namespace = namespace.clone();
    tokio::task::spawn_blocking(move || namespace.run(work).unwrap()).await.unwrap()
}
