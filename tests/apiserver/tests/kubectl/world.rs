//! A server on loopback, and kubectls that talk to it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use caracal_apiserver::{Options, Server};
use serde_json::Value;

use super::fetch;

const PATIENCE: Duration = Duration::from_secs(60);

/// A server with our kinds, and a folder for kubeconfig and caches.
pub(crate) struct World {
    folder: PathBuf,
    // Before the runtime, which it needs while it ends.
    server: Option<Server>,
    runtime: tokio::runtime::Runtime,
}

impl World {
    pub(crate) fn open() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("caracal-kubectl-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
        let options = Options { crds: vec![crds], ..Options::default() };
        let server = runtime.block_on(Server::start(options)).unwrap();
        std::fs::write(folder.join("kubeconfig"), server.kubeconfig()).unwrap();
        Self { folder, server: Some(server), runtime }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _inside = self.runtime.enter();
        drop(self.server.take());
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// Runs a case with each kubectl, each with a server of its own.
pub(crate) fn both(case: impl Fn(&Kubectl)) {
    for index in 0..fetch::all().len() {
        let world = World::open();
        let kubectl = &Kubectl::all(&world)[index];
        // Shown when the case fails.
        println!("with {}", kubectl.program.display());
        case(kubectl);
    }
}

/// One kubectl.
#[derive(Clone)]
pub(crate) struct Kubectl {
    program: PathBuf,
    folder: PathBuf,
    more: Option<(&'static str, &'static str)>,
}

impl Kubectl {
    pub(crate) fn all(world: &World) -> Vec<Self> {
        fetch::all()
            .into_iter()
            .map(|program| Self { program, folder: world.folder.clone(), more: None })
            .collect()
    }

    /// The same with one more variable.
    pub(crate) fn with(&self, name: &'static str, value: &'static str) -> Self {
        Self { more: Some((name, value)), ..self.clone() }
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new("timeout");
        command.arg(PATIENCE.as_secs().to_string()).arg(&self.program).args(words.split(' '));
        command.env("KUBECONFIG", self.folder.join("kubeconfig")).env("HOME", &self.folder);
        command.envs(self.more);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Exit code, and what it says on both streams.
    pub(crate) fn try_given(&self, words: &str, input: &str) -> (i32, String) {
        let mut child = self.command(words).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8(said).unwrap())
    }

    /// What it prints, of a command that must succeed.
    #[track_caller]
    pub(crate) fn given(&self, words: &str, input: &str) -> String {
        let mut child = self.command(words).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {words}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    pub(crate) fn ok(&self, words: &str) -> String {
        self.given(words, "")
    }

    /// A field of an object.
    #[track_caller]
    pub(crate) fn json(&self, words: &str, pointer: &str) -> Value {
        let object: Value = serde_json::from_str(&self.ok(&format!("{words} -o json"))).unwrap();
        object.pointer(pointer).cloned().unwrap_or_default()
    }

    /// A command that goes on.
    pub(crate) fn watch(&self, words: &str) -> Watch {
        let mut child = self.command(words).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = sync_channel(16);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Watch { child, lines }
    }
}

/// A kubectl that prints line after line.
pub(crate) struct Watch {
    child: Child,
    lines: Receiver<String>,
}

impl Watch {
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line in time")
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // `timeout` passes SIGTERM on to kubectl; SIGKILL would leave it.
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().ok();
        self.child.wait().ok();
    }
}
