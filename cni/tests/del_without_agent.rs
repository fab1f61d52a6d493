//! DEL while no agent runs: it removes the device of exactly its attachment, and always succeeds.
//!
//! Runs in a network namespace of its own, which needs root; it says so and passes over itself otherwise.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

use std::io::Write;
use std::process::{Command, Stdio};

use caracal_cni::name::Alias;
use caracal_linux::object::link::IfName;
use nix::sched::{CloneFlags, unshare};

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn del(container: &str, netns: &str) {
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
    let config = br#"{"cniVersion": "1.1.0", "name": "net", "socket": "/nonexistent/cni.sock"}"#;
    child.stdin.take().unwrap().write_all(config).unwrap();
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
    del("unknown", "");
    assert!(ip("-br link").contains("cali1"));
    del("old", "/run/netns/gone");
    let left = ip("-br link");
    assert!(!left.contains("cali1") && left.contains("cali2"), "{left}");
    del("old", "");
    assert!(ip("-br link").contains("cali2"));
}
