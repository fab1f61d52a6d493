//! The agent as it is shipped: a process of its own, with a folder for all that it keeps, in the namespace of the test.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use caracal_cni::install::CONFLIST;
use caracal_wait::eventually;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::rig::Node;

/// The agent of a node, running or not.
pub(crate) struct Process {
    folder: tempfile::TempDir,
    child: Child,
}

impl Process {
    /// Starts it for the first time, and waits until runtimes may use it.
    pub(crate) async fn start(node: &Node) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("kubeconfig"), node.kubeconfig()).unwrap();
        fs::create_dir(folder.path().join("net.d")).unwrap();
        let child = spawn(folder.path());
        let process = Self { folder, child };
        process.ready().await;
        eventually("the conflist is written", || process.conflist().exists()).await;
        process
    }

    /// Waits until its socket takes calls.
    pub(crate) async fn ready(&self) {
        let socket = self.folder.path().join("run/cni.sock");
        eventually("the agent listens", || UnixStream::connect(&socket).is_ok()).await;
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Starts it again after it has ended.
    pub(crate) fn again(&mut self) {
        assert!(self.has_ended());
        self.child = spawn(self.folder.path());
    }

    /// Ends it as an upgrade does, and starts it again.
    pub(crate) async fn restart(&mut self) {
        kill(Pid::from_raw(self.pid().cast_signed()), Signal::SIGTERM).unwrap();
        assert!(self.child.wait().unwrap().success());
        self.again();
        self.ready().await;
    }

    /// The conflist that it writes.
    pub(crate) fn conflist(&self) -> PathBuf {
        self.folder.path().join("net.d").join(CONFLIST)
    }

    /// The plugins of that.
    pub(crate) fn plugins(&self) -> Value {
        let text = fs::read_to_string(self.conflist()).unwrap();
        let list: Value = serde_json::from_str(&text).unwrap();
        list["plugins"].clone()
    }

    /// What `caracalctl` says of it.
    pub(crate) fn ctl(&self, words: &[&str]) -> Value {
        let output = self.ask(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Whether it lives: one that is being killed may still seem to listen, but answers nothing.
    pub(crate) fn answers(&self) -> bool {
        self.ask(&["node", "status"]).status.success()
    }

    fn ask(&self, words: &[&str]) -> Output {
        let program = Path::new(env!("CARGO_BIN_EXE_caracal-agent")).with_file_name("caracalctl");
        let socket = self.folder.path().join("run/admin.sock");
        Command::new(program).arg("--socket").arg(socket).args(words).args(["-o", "json"]).output().unwrap()
    }

    /// Who holds which address, as its allocator says.
    pub(crate) fn held(&self) -> Vec<(String, String)> {
        let shown = self.ctl(&["ipam", "show", "--blocks"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let blocks = shown["blocks"].as_array().unwrap().iter();
        let held = blocks.flat_map(|block| block["allocations"].as_array().cloned().unwrap_or_default());
        held.map(|one| (text(&one["handle"]), text(&one["address"]))).collect()
    }
}

fn spawn(folder: &Path) -> Child {
    let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    Command::new(env!("CARGO_BIN_EXE_caracal-agent"))
        .args(["--node-name", "n1", "--metrics-listen", "127.0.0.1:9091"])
        .args(["--kubeconfig", &path("kubeconfig"), "--run-dir", &path("run"), "--state-dir", &path("state")])
        .args(["--cni-conf-dir", &path("net.d"), "--cni-bin-dir", &path("none")])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        if std::thread::panicking() {
            let said = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let last: Vec<&str> = said.lines().rev().take(40).collect();
            eprintln!("the agent said last:\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}
