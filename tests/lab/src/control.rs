//! The control plane: one machine with the API server and the elected controller.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::command::PATIENCE;
use crate::machine::Machine;
use crate::process::Process;
use crate::sandbox::Sandbox;

/// The namespace that the product lives in.
pub const NAMESPACE: &str = "caracal-system";
/// The administrator's kubeconfig, in the lab's state folder.
pub(crate) const KUBECONFIG: &str = "kubeconfig";
/// The service accounts of `deploy/access.yaml`.
const ACCOUNTS: [&str; 2] = ["caracal-agent", "caracal-controller"];
const PORT: u16 = 6443;

/// The machine and its two programs.
#[derive(Debug)]
pub struct Control {
    machine: Machine,
    api: Process,
    controller: Process,
    kubeconfig: PathBuf,
    agents_kubeconfig: PathBuf,
    listen: SocketAddr,
    server: String,
}

impl Control {
    /// Readies both programs and writes the kubeconfig; starts nothing.
    pub(crate) fn install(machine: Machine, sandbox: &Sandbox) -> anyhow::Result<Self> {
        let address: IpAddr = machine.addresses().first().context("the control plane has no address")?.ip();
        let listen = SocketAddr::new(address, PORT);
        let server = format!("http://{listen}");
        let kubeconfig = |file: &str, account: Option<&str>| {
            let path = sandbox.state().join(file);
            std::fs::write(&path, kubeconfig_for(&server, account))
                .with_context(|| format!("writing {}", path.display()))?;
            anyhow::Ok(path)
        };
        let [of_agents, of_controller] =
            ACCOUNTS.map(|account| kubeconfig(&format!("{KUBECONFIG}.{account}"), Some(account)));
        let (kubeconfig, of_agents, of_controller) =
            (kubeconfig(KUBECONFIG, None)?, of_agents?, of_controller?);
        let process = |name: &str, program: &str, arguments: Vec<String>| {
            let program = sandbox.programs().join(program);
            Process::new(name, machine.netns(), program, arguments, &sandbox.logs())
        };
        let api = process("apiserver", "caracal-apiserver", vec![format!("--listen={listen}")]);
        let controller = process(
            "controller",
            "caracal-controller",
            vec![
                format!("--kubeconfig={}", of_controller.display()),
                "--identity=control".into(),
                format!("--namespace={NAMESPACE}"),
            ],
        );
        Ok(Self { machine, api, controller, kubeconfig, agents_kubeconfig: of_agents, listen, server })
    }

    /// Its machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The API server.
    pub fn api(&self) -> &Process {
        &self.api
    }

    /// The controller.
    pub fn controller(&self) -> &Process {
        &self.controller
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The kubeconfig of agents, who may do what their service account may.
    pub fn agents_kubeconfig(&self) -> &Path {
        &self.agents_kubeconfig
    }

    /// Makes trouble in the API server through its side door, or ends it: a request below `/lab`, as the server's own
    /// documentation lists them.
    pub async fn trouble(&self, method: &str, path: &str, body: &str) -> anyhow::Result<()> {
        self.side_door(method, path, body).await.map(drop)
    }

    /// Fails if an agent or the controller has asked the API server for what `deploy/access.yaml` does not allow.
    pub async fn refused_nothing(&self) -> anyhow::Result<()> {
        let answer = self.side_door("GET", "refused", "").await?;
        let refused = answer["refused"].as_array().context("no list of what was refused")?;
        ensure!(refused.is_empty(), "deploy/access.yaml does not allow what was asked: {refused:#?}");
        Ok(())
    }

    /// One request to the API server's side door, and the JSON of its answer.
    async fn side_door(&self, method: &str, path: &str, body: &str) -> anyhow::Result<Value> {
        let asking = || format!("asking the API server's side door: {method} /lab/{path}");
        let exchange = async {
            let mut stream = TcpStream::connect(self.listen).await?;
            let request = format!(
                "{method} /lab/{path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                self.listen,
                body.len()
            );
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        let answer =
            tokio::time::timeout(PATIENCE, exchange).await.with_context(asking)?.with_context(asking)?;
        let status = answer.lines().next().unwrap_or_default();
        ensure!(status.contains(" 200 "), "{}: {answer}", asking());
        let (_, body) = answer.split_once("\r\n\r\n").with_context(asking)?;
        serde_json::from_str(body).with_context(asking)
    }

    /// The API server's URL.
    pub fn server(&self) -> &str {
        &self.server
    }
}

/// For a service account, or for the administrator.
fn kubeconfig_for(server: &str, account: Option<&str>) -> String {
    let token = account.map(|name| format!("token: \"system:serviceaccount:{NAMESPACE}:{name}\""));
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters: [{{name: lab, cluster: {{server: \"{server}\"}}}}]\n\
         users: [{{name: lab, user: {{{}}}}}]\n\
         contexts: [{{name: lab, context: {{cluster: lab, user: lab}}}}]\n\
         current-context: lab\n",
        token.unwrap_or_default()
    )
}
