//! DEL while no agent runs: it removes the device of exactly its attachment, and always succeeds.
//!
//! Runs in a network namespace of its own, which needs root; it says so and passes over itself otherwise.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use caracal_cni::name::Alias;
use caracal_linux::object::link::IfName;
use nix::sched::{CloneFlags, unshare};

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn del(run: &Path, container: &str, netns: &str) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_caracal-cni"))
        .env_clear()
        .envs([
            ("CNI_COMMAND", "DEL"),
            ("CNI_CONTAINERID", container),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/x"),
        ])
        .env("CNI_NETNS", netns)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let config =
        format!(r#"{{"cniVersion": "1.1.0", "name": "net", "socket": "{}/cni.sock"}}"#, run.display());
    child.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
}

#[test]
fn only_the_device_of_the_attachment_goes() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: making a network namespace needs root");
        return;
    }
    // The test's thread alone moves; the processes it starts follow it.
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    for (device, container) in [("cali1", "old"), ("cali2", "new")] {
        let interface = IfName::new("eth0").unwrap();
        let alias = Alias { network: "net".into(), container: container.into(), interface };
        ip(&format!("link add {device} type veth peer name p{device}"));
        ip(&format!("link set {device} alias {alias}"));
    }
    let run = tempfile::tempdir().unwrap();
    let left = || {
        let left = caracal_cni::detached::left(run.path()).unwrap();
        let mut left: Vec<String> = left.into_iter().map(|(_, alias)| alias.container).collect();
        left.sort();
        left
    };
    del(run.path(), "unknown", "");
    assert!(ip("-br link").contains("cali1"));
    del(run.path(), "old", "/run/netns/gone");
    assert_eq!(left(), ["old", "unknown"], "the agent is told what to free");
    let devices = ip("-br link");
    assert!(!devices.contains("cali1") && devices.contains("cali2"), "{devices}");
    del(run.path(), "old", "");
    assert!(ip("-br link").contains("cali2"));
}
