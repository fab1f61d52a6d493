//! A node: a machine with the real agent and plugin, and the lab in the roles of kubelet and runtime.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use crate::command;
use crate::machine::Machine;
use crate::netns::Netns;
use crate::pod::Pod;
use crate::process::Process;
use crate::runtime::{self, Attachment};
use crate::sandbox::Sandbox;
use crate::wait::{self, NotYet};

/// The agent's administration socket on its node.
pub const ADMIN_SOCKET: &str = "/run/caracal/admin.sock";

/// A pod's namespace before ADD has succeeded.
#[derive(Debug)]
pub struct Unwired {
    netns: Netns,
    attachment: Attachment,
}

/// A machine of the cluster.
#[derive(Debug)]
pub struct Node {
    machine: Machine,
    agent: Process,
    ctl: PathBuf,
}

impl Node {
    /// Installs the plugin, and readies the agent, which writes the conflist; starts nothing.
    pub(crate) fn install(machine: Machine, sandbox: &Sandbox, kubeconfig: &Path) -> anyhow::Result<Self> {
        let plugin = machine.file(runtime::PLUGINS).join("caracal");
        let built = sandbox.programs().join("caracal-cni");
        std::fs::copy(&built, &plugin).with_context(|| format!("installing {}", plugin.display()))?;
        std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755))
            .with_context(|| format!("making {} executable", plugin.display()))?;
        let arguments = vec![
            format!("--node-name={}", machine.name()),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--cni-conf-dir={}", runtime::CONFIGURATIONS),
        ];
        let agent = Process::new(
            &format!("{}-agent", machine.name()),
            machine.netns(),
            sandbox.programs().join("caracal-agent"),
            arguments,
            &sandbox.logs(),
        );
        Ok(Self { machine, agent, ctl: sandbox.programs().join("caracalctl") })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.machine.name()
    }

    /// Its machine: namespace, addresses, files.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Its network namespace.
    pub fn netns(&self) -> &Netns {
        self.machine.netns()
    }

    /// Its agent.
    pub fn agent(&self) -> &Process {
        &self.agent
    }

    /// Waits until the plugin's STATUS says that pods can be made.
    pub async fn ready(&self, deadline: Duration) -> anyhow::Result<()> {
        wait::until(deadline, &format!("the network of {} is ready for pods", self.name()), || async {
            self.agent.must_live().await?;
            runtime::status(&self.machine).await.map_err(NotYet::from)
        })
        .await
    }

    /// Makes a pod's namespace and has the plugin wire it, as a runtime does. Knows nothing of the API.
    pub async fn attach(&self, namespace: &str, pod: &str, uid: &str) -> anyhow::Result<Pod> {
        let unwired = self.prepare(namespace, pod, uid).await?;
        match self.wire(&unwired).await {
            Ok(pod) => Ok(pod),
            // A runtime answers a failed ADD by DEL; the first error is the one to tell.
            Err(error) => match self.unwire(&unwired).await {
                Ok(()) => Err(error),
                Err(again) => Err(error.context(format!("and the DEL after it failed: {again:#}"))),
            },
        }
    }

    /// Makes a pod's namespace, and asks the plugin nothing.
    pub async fn prepare(&self, namespace: &str, pod: &str, uid: &str) -> anyhow::Result<Unwired> {
        let container = random_id()?;
        let netns = Netns::make(&format!("cni-{pod}-{}", &container[..8])).await?;
        command::ip_batch(Some(netns.name()), "link set lo up\n").await?;
        let attachment = Attachment {
            container,
            netns: netns.path(),
            interface: "eth0".into(),
            namespace: namespace.into(),
            pod: pod.into(),
            uid: uid.into(),
        };
        Ok(Unwired { netns, attachment })
    }

    /// ADD. When it fails, what it did so far is undone by [`Self::unwire`], which the caller owes.
    pub async fn wire(&self, unwired: &Unwired) -> anyhow::Result<Pod> {
        let begin = Instant::now();
        let result = runtime::add(&self.machine, &unwired.attachment).await?;
        let (netns, attachment) = (unwired.netns.clone(), unwired.attachment.clone());
        Pod::new(self.name(), netns, attachment, result, begin.elapsed())
    }

    /// DEL for a pod whose ADD did not succeed, and removes its namespace.
    pub async fn unwire(&self, unwired: &Unwired) -> anyhow::Result<()> {
        runtime::del(&self.machine, &unwired.attachment, None).await?;
        unwired.netns.remove().await
    }

    /// Has the plugin unwire a pod, and removes its namespace.
    pub async fn detach(&self, pod: &Pod) -> anyhow::Result<()> {
        runtime::del(&self.machine, &pod.attachment, Some(&pod.result)).await?;
        pod.netns.remove().await
    }

    /// Runs `caracalctl` against this node's agent and reads its JSON.
    pub async fn ctl(&self, words: &[&str]) -> anyhow::Result<Value> {
        self.machine.ctl(&self.ctl, ADMIN_SOCKET, words).await
    }
}

/// 64 hexadecimal digits, as runtimes name their containers.
fn random_id() -> anyhow::Result<String> {
    let mut id = String::new();
    while id.len() < 64 {
        let uuid = std::fs::read_to_string("/proc/sys/kernel/random/uuid")
            .context("asking the kernel for a UUID")?;
        id.extend(uuid.chars().filter(char::is_ascii_hexdigit));
    }
    id.truncate(64);
    Ok(id)
}
