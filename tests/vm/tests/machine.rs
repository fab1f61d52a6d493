//! Real machines, as `caracal-vm` boots them. `cargo verify` runs this by name: `cargo test --test machine`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

/// Boot and a small command, on a machine that is busy with much else.
const PATIENCE: Duration = Duration::from_secs(120);

/// The runner, on a machine that has the kernel already: what the first one says while it fetches it is not what the
/// command says.
fn runner(words: &[&str]) -> Command {
    static FETCHED: Once = Once::new();
    FETCHED.call_once(|| {
        let prepared = Command::new(env!("CARGO_BIN_EXE_caracal-vm")).arg("prepare").status().unwrap();
        assert!(prepared.success(), "caracal-vm prepare: {prepared}");
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_caracal-vm"));
    command.args(words).stdin(Stdio::null());
    command
}

fn run(words: &[&str]) -> Output {
    let mut all = vec!["run", "--cpus", "1", "--memory", "512"];
    all.extend(words);
    runner(&all).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A machine that says `up` and stays until its input ends.
struct Staying {
    runner: Child,
}

impl Staying {
    fn boot(words: &[&str]) -> Self {
        let mut all = vec!["run", "--cpus", "1", "--memory", "512"];
        all.extend(words);
        all.extend(["--", "sh", "-c", "echo up; cat; echo ended"]);
        let mut runner = runner(&all).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(runner.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        runner.stdout = Some(output.into_inner());
        Self { runner }
    }

    /// The processes that belong to it.
    fn children(&self) -> Vec<u32> {
        let pid = self.runner.id();
        let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        list.split_whitespace().map(|number| number.parse().unwrap()).collect()
    }
}

impl Drop for Staying {
    fn drop(&mut self) {
        self.runner.kill().and_then(|()| self.runner.wait().map(drop)).ok();
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_command_is_run_as_here_with_streams_and_exit_code() {
    let mut child = runner(&["run", "--", "sh", "-c", "pwd; tr a-z A-Z; echo wrong >&2; exit 7"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // More than the streams between here and there hold at once.
    let line = "caracal ".repeat(300_000);
    let mut input = child.stdin.take().unwrap();
    let sent = line.clone();
    let writing = std::thread::spawn(move || input.write_all(sent.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    let here = std::env::current_dir().unwrap();
    assert_eq!(text(&output.stdout), format!("{}\n{}", here.display(), line.to_uppercase()));
    assert_eq!(text(&output.stderr), "wrong\n");
    assert_eq!(output.status.code(), Some(7));
}

#[test]
fn a_command_that_cannot_start_or_takes_too_long_has_a_code_of_its_own() {
    let absent = run(&["--", "/no/such/program"]);
    assert_eq!(absent.status.code(), Some(125));
    assert!(text(&absent.stderr).contains("/no/such/program"), "{}", text(&absent.stderr));
    let late = run(&["--timeout", "1", "--", "sleep", "1000"]);
    assert_eq!(late.status.code(), Some(124));
    assert!(text(&late.stderr).contains("after 1 s"), "{}", text(&late.stderr));
}

#[test]
fn only_shared_folders_keep_what_is_written_inside() {
    let folder = tempfile::tempdir().unwrap();
    let (shared, other) = (folder.path().join("shared"), folder.path().join("other"));
    std::fs::create_dir_all(&shared).unwrap();
    std::fs::create_dir_all(&other).unwrap();
    let script = format!(
        "echo kept > {}/file && echo lost > {}/file && cat {}/file",
        shared.display(),
        other.display(),
        other.display()
    );
    let output = run(&["--share", shared.to_str().unwrap(), "--", "sh", "-c", &script]);
    assert_eq!(text(&output.stdout), "lost\n", "{}", text(&output.stderr));
    assert_eq!(std::fs::read_to_string(shared.join("file")).unwrap(), "kept\n");
    assert!(!other.join("file").exists());
}

#[test]
fn the_kernel_has_ipip_and_the_other_devices_of_a_node() {
    let script = "for kind in ipip vxlan veth bridge dummy wireguard; do \
                    modprobe $kind || exit 1; \
                  done; ip link show tunl0; \
                  ip link add w0 type wireguard && ip link add v0 type vxlan id 1 dstport 4789 && \
                  unshare --user --map-root-user --net true && echo all";
    let output = run(&["--", "sh", "-c", script]);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(said.contains("tunl0@NONE: <NOARP> mtu 1480"), "{said}");
    assert!(said.ends_with("all\n"), "{said}");
}

#[test]
fn a_killed_runner_leaves_no_process_and_another_machine_untouched() {
    let name = format!("test-{}", std::process::id());
    let other = Staying::boot(&["--name", &name]);
    let mut killed = Staying::boot(&[]);
    let children = killed.children();
    assert_eq!(children.len(), 2, "qemu and one file server");
    killed.runner.kill().unwrap();
    killed.runner.wait().unwrap();
    until("the killed runner's processes are gone", || {
        children.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists())
    });
    let output = runner(&["exec", "--name", &name, "--", "hostname"]).output().unwrap();
    assert_eq!(text(&output.stdout), format!("{name}\n"), "{}", text(&output.stderr));

    let twice = run(&["--name", &name, "--", "true"]);
    assert!(text(&twice.stderr).contains("is running already"), "{}", text(&twice.stderr));
    drop(other);
    until("its name is free", || {
        let output = runner(&["exec", "--name", &name, "--", "true"]).output().unwrap();
        text(&output.stderr).contains("no virtual machine named")
    });
}

#[test]
fn a_signal_reaches_the_command_and_its_verdict_is_the_runners() {
    let mut child = runner(&["run", "--", "sh", "-c", "trap 'exit 42' TERM; echo up; sleep 1000 & wait"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(42));
}
