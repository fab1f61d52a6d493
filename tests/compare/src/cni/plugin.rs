//! What is measured, and how a runtime executes it.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use crate::report::OURS;

/// Where Debian puts the stock plugins.
const STOCK: &str = "/usr/lib/cni";

/// A plugin with its configuration.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// Its name in tables.
    pub(crate) name: &'static str,
    /// Whether the API server is stopped meanwhile.
    pub(crate) without_api: bool,
    program: PathBuf,
    stdin: String,
}

impl Subject {
    /// The subject of a name, which keeps its files below a folder.
    pub(crate) fn named(name: &str, folder: &Path) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("asking for this program's path")?;
        let of_stock = |name: &'static str, subnet: &str, mut config: Value| {
            config["cniVersion"] = json!("1.0.0");
            config["name"] = json!(name);
            config["ipam"] = json!({"type": "host-local", "dataDir": folder.join("host-local"), "ranges": [[{"subnet": subnet}]],
                                    "routes": [{"dst": "0.0.0.0/0"}]});
            let program = Path::new(STOCK).join(config["type"].as_str().unwrap_or_default());
            Self { name, without_api: false, program, stdin: config.to_string() }
        };
        let ours = |name: &'static str, without_api| {
            let config = json!({"cniVersion": "1.0.0", "name": "caracal", "type": "caracal",
                                "socket": folder.join("run/cni.sock")});
            let program = own.with_file_name("caracal-cni");
            Self { name, without_api, program, stdin: config.to_string() }
        };
        let subject = match name {
            OURS => ours(OURS, false),
            "caracal-no-api" => ours("caracal-no-api", true),
            "ptp" => of_stock("ptp", "10.66.0.0/16", json!({"type": "ptp"})),
            "bridge" => {
                let config = json!({"type": "bridge", "bridge": "cni0", "isGateway": true});
                of_stock("bridge", "10.67.0.0/16", config)
            }
            "host-local" => {
                let subject = of_stock("host-local", "10.68.0.0/16", json!({"type": "ptp"}));
                Self { program: subject.program.with_file_name("host-local"), ..subject }
            }
            "caracal-ipam" => {
                let config = json!({"cniVersion": "1.0.0", "name": "delegated", "type": "ptp", "ipam": {"type": "caracal"},
                                    "socket": folder.join("run/cni.sock")});
                Self { name: "caracal-ipam", stdin: config.to_string(), ..ours(OURS, false) }
            }
            other => bail!(
                "there is no subject `{other}`: caracal, caracal-no-api, ptp and bridge are there, and caracal-ipam and \
                 host-local, which give addresses only"
            ),
        };
        let program = subject.program.display();
        ensure!(subject.program.exists(), "{name} cannot be measured: there is no {program}");
        Ok(subject)
    }

    /// One operation: how long it took. Any failure ends the measurement.
    pub(crate) fn operate(&self, command: &str, container: &str, netns: &str) -> anyhow::Result<Duration> {
        self.execute(command, container, netns, &self.stdin)
    }

    /// One STATUS, which is of CNI 1.1.
    pub(crate) fn status(&self) -> anyhow::Result<Duration> {
        self.execute("STATUS", "", "", &self.stdin.replace("\"1.0.0\"", "\"1.1.0\""))
    }

    fn execute(&self, command: &str, container: &str, netns: &str, stdin: &str) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        let mut child = Command::new(&self.program)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", container)
            .env("CNI_NETNS", netns)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", STOCK)
            .env("CNI_ARGS", format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={container}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))?;
        let mut pipe = child.stdin.take().context("a plugin without an input")?;
        match pipe.write_all(stdin.as_bytes()) {
            // It need not read what it does not need.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            written => written.context("writing the configuration")?,
        }
        drop(pipe);
        let output = child.wait_with_output().context("waiting for a plugin")?;
        let took = begin.elapsed();
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{command} by {}: {}: {said}", self.name, output.status);
        Ok(took)
    }
}

/// What is compared.
pub(crate) fn versions() -> anyhow::Result<String> {
    let package = "containernetworking-plugins";
    let output = Command::new("dpkg-query").args(["-W", "-f", "${Version}", package]).output();
    let output = output.context("asking dpkg-query for a version")?;
    Ok(format!(
        "caracal {}, {package} {}",
        env!("CARGO_PKG_VERSION"),
        String::from_utf8_lossy(&output.stdout)
    ))
}
