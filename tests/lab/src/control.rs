//! The control plane: one machine with the API server and the elected controller.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::command::PATIENCE;
use crate::machine::Machine;
use crate::process::Process;
use crate::sandbox::Sandbox;

/// The namespace that the product lives in.
pub const NAMESPACE: &str = "caracal-system";
/// The kubeconfig, in the lab's state folder.
pub(crate) const KUBECONFIG: &str = "kubeconfig";
const PORT: u16 = 6443;

/// The machine and its two programs.
#[derive(Debug)]
pub struct Control {
    machine: Machine,
    api: Process,
    controller: Process,
    kubeconfig: PathBuf,
    listen: SocketAddr,
    server: String,
}

impl Control {
    /// Readies both programs and writes the kubeconfig; starts nothing.
    pub(crate) fn install(machine: Machine, sandbox: &Sandbox) -> anyhow::Result<Self> {
        let address: IpAddr = machine.addresses().first().context("the control plane has no address")?.ip();
        let listen = SocketAddr::new(address, PORT);
        let server = format!("http://{listen}");
        let kubeconfig = sandbox.state().join(KUBECONFIG);
        std::fs::write(&kubeconfig, kubeconfig_for(&server))
            .with_context(|| format!("writing {}", kubeconfig.display()))?;
        let process = |name: &str, program: &str, arguments: Vec<String>| {
            let program = sandbox.programs().join(program);
            Process::new(name, machine.netns(), program, arguments, &sandbox.logs())
        };
        let api = process("apiserver", "caracal-apiserver", vec![format!("--listen={listen}")]);
        let controller = process(
            "controller",
            "caracal-controller",
            vec![
                format!("--kubeconfig={}", kubeconfig.display()),
                "--identity=control".into(),
                format!("--namespace={NAMESPACE}"),
            ],
        );
        Ok(Self { machine, api, controller, kubeconfig, listen, server })
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

    /// The kubeconfig that everybody in the lab uses.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Makes trouble in the API server through its side door, or ends it: a request below `/lab`, as the server's own
    /// documentation lists them.
    pub async fn trouble(&self, method: &str, path: &str, body: &str) -> anyhow::Result<()> {
        let asking = || format!("asking the API server for trouble: {method} /lab/{path}");
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
        anyhow::ensure!(status.contains(" 200 "), "{}: {answer}", asking());
        Ok(())
    }

    /// The API server's URL.
    pub fn server(&self) -> &str {
        &self.server
    }
}

fn kubeconfig_for(server: &str) -> String {
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters: [{{name: lab, cluster: {{server: \"{server}\"}}}}]\n\
         users: [{{name: lab, user: {{}}}}]\n\
         contexts: [{{name: lab, context: {{cluster: lab, user: lab}}}}]\n\
         current-context: lab\n"
    )
}
