//! `deploy/agent.yaml` carried out on a node, in place of a kubelet: its containers run as it says, by containerd.
//!
//! The one thing that is otherwise: the lab's API speaks plain HTTP, so the agent is given a kubeconfig instead of the files
//! of its service account.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use caracal_lab::control::NAMESPACE;
use caracal_lab::show::Silent;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, Node, Sandbox, runtime};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec};

use crate::containerd::PLAIN;
use crate::image;
use crate::world::{self, Host, SOON};

/// The pod as the manifest has it, on one node.
struct Kubelet<'a> {
    host: &'a Host<'a>,
    pod: PodSpec,
    kubeconfig: &'a Path,
}

impl<'a> Kubelet<'a> {
    fn read(lab: &'a Lab, host: &'a Host<'a>) -> anyhow::Result<Self> {
        let file = lab.deploy().join("agent.yaml");
        let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let manifest: DaemonSet =
            serde_saphyr::from_str(&text).with_context(|| format!("reading {}", file.display()))?;
        let pod = manifest.spec.context("no spec")?.template.spec.context("no pod")?;
        ensure!(pod.host_network == Some(true), "only the host's network can be given here");
        Ok(Self { host, pod, kubeconfig: lab.control().agents_kubeconfig() })
    }

    fn node(&self) -> &Node {
        self.host.node
    }

    /// Runs the containers that come first to their ends, one after the other.
    async fn initialise(&self) -> anyhow::Result<()> {
        for container in self.pod.init_containers.iter().flatten() {
            self.run(container, &["--rm"]).await?;
        }
        Ok(())
    }

    /// Starts the one that stays.
    async fn start(&self) -> anyhow::Result<()> {
        self.run(self.container()?, &["--detach"]).await.map(drop)
    }

    /// Kills it and removes what is left.
    async fn kill(&self) -> anyhow::Result<()> {
        let name = self.container()?.name.clone();
        self.ctr(&["task", "kill", "--signal", "SIGKILL", &name]).await?;
        wait::until(SOON, &format!("the container {name} has ended"), || async {
            let tasks = self.ctr(&["task", "list"]).await?;
            match tasks.lines().find(|line| line.starts_with(&name)) {
                Some(line) if !line.contains("STOPPED") => Err(NotYet::because(line.to_owned())),
                _ => Ok(()),
            }
        })
        .await?;
        self.ctr(&["task", "delete", &name]).await?;
        self.ctr(&["container", "delete", &name]).await.map(drop)
    }

    /// Runs a program in the container that stays; what it prints.
    async fn exec(&self, words: &[&str]) -> anyhow::Result<String> {
        let name = self.container()?.name.clone();
        let line = [&["task", "exec", "--exec-id", words[0], name.as_str()], words].concat();
        self.ctr(&line).await
    }

    fn container(&self) -> anyhow::Result<&Container> {
        match self.pod.containers.as_slice() {
            [one] => Ok(one),
            more => bail!("{} containers, and one was expected", more.len()),
        }
    }

    async fn run(&self, container: &Container, how: &[&str]) -> anyhow::Result<String> {
        let mut words: Vec<String> =
            ["run", "--snapshotter", "native", "--net-host"].map(str::to_owned).to_vec();
        words.extend(how.iter().map(|word| (*word).to_owned()));
        let security = container.security_context.as_ref();
        if security.and_then(|security| security.privileged) == Some(true) {
            words.push("--privileged".into());
        }
        for variable in container.env.iter().flatten() {
            words.extend(["--env".into(), format!("{}={}", variable.name, self.value(variable)?)]);
        }
        for mount in container.volume_mounts.iter().flatten() {
            let volume = self.pod.volumes.iter().flatten().find(|volume| volume.name == mount.name);
            let host = volume.and_then(|volume| volume.host_path.as_ref());
            let host = &host.with_context(|| format!("the volume {} is not of the host", mount.name))?.path;
            let access = if mount.read_only == Some(true) { "ro" } else { "rw" };
            words.push("--mount".into());
            words.push(format!("type=bind,src={host},dst={},options=rbind:{access}", mount.mount_path));
        }
        let kubeconfig = self.kubeconfig.display();
        words.extend(["--env".into(), "CARACAL_KUBECONFIG=/kubeconfig".into(), "--mount".into()]);
        words.push(format!("type=bind,src={kubeconfig},dst=/kubeconfig,options=bind:ro"));
        words.extend([image::CARACAL.into(), container.name.clone()]);
        words.extend(container.command.iter().chain(&container.args).flatten().cloned());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.ctr(&words).await.with_context(|| format!("the container {}", container.name))
    }

    fn value(&self, variable: &EnvVar) -> anyhow::Result<String> {
        if let Some(value) = &variable.value {
            return Ok(value.clone());
        }
        let field = variable.value_from.as_ref().and_then(|from| from.field_ref.as_ref());
        match field.map(|field| field.field_path.as_str()) {
            Some("spec.nodeName") => Ok(self.node().name().to_owned()),
            Some("metadata.namespace") => Ok(NAMESPACE.to_owned()),
            other => bail!("{} comes from {other:?}, which is not known here", variable.name),
        }
    }

    async fn ctr(&self, words: &[&str]) -> anyhow::Result<String> {
        self.host.containerd.ctr(self.node(), words).await
    }
}

pub(crate) async fn the_agent_runs_as_its_manifest_says(sandbox: Sandbox) -> anyhow::Result<()> {
    let lab = world::lab(sandbox).await?;
    let mut hosts = world::hosts(&lab).await?;
    // As on a node that joins: no agent, no plugin, no configuration.
    let [one, two] = hosts.as_mut_slice() else { bail!("two nodes were asked for") };
    one.node.agent().kill().await?;
    let machine = one.node.machine();
    for folder in [runtime::PLUGINS, runtime::CONFIGURATIONS] {
        for name in ["caracal", "10-caracal.conflist"] {
            let file = machine.file(folder).join(name);
            if file.exists() {
                std::fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
            }
        }
    }
    let archive = image::caracal(&machine.file("/"), lab.programs()).await?;
    one.containerd.import(one.node, PLAIN, &archive).await?;

    let kubelet = Kubelet::read(&lab, one)?;
    kubelet.initialise().await?;
    ensure!(machine.file(runtime::PLUGINS).join("caracal").exists(), "the plugin was not installed");
    kubelet.start().await?;
    one.agent_answers().await?;
    one.containerd.ready(one.node).await?;
    lab.sessions_established(SOON).await?;
    let (near, far) = (one.run(&lab, "near").await?, two.run(&lab, "far").await?);
    world::reach_each_other(one, &near, two, &far).await?;
    let said = kubelet.exec(&["caracalctl", "bgp", "peers"]).await?;
    ensure!(said.contains("Established"), "{said}");

    // Another container in its place finds all of it again.
    kubelet.kill().await?;
    kubelet.start().await?;
    one.agent_answers().await?;
    lab.sessions_established(SOON).await?;
    world::reach_each_other(one, &near, two, &far).await?;
    one.remove(&lab, &near).await?;
    two.remove(&lab, &far).await?;
    one.is_bare().await?;
    kubelet.kill().await?;
    // The lab ends its own.
    one.node.agent().start().await?;
    one.agent_answers().await?;
    drop(hosts);
    lab.down(&Silent).await
}
