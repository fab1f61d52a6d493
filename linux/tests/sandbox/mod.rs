//! What the tests of this package share: fresh network namespaces and `ip` as a second opinion.
//!
//! Not every test file uses all of it.
#![allow(dead_code, reason = "compiled once for each test file, of which each uses a part")]

pub(crate) mod wants;

use std::process::Command;

use caracal_linux::namespace::Namespace;
use caracal_linux::object::link::IfName;

/// A fresh network namespace with its loopback device up.
pub(crate) fn namespace() -> Namespace {
    let namespace = Namespace::create()
        .expect("these tests make network namespaces, which takes CAP_SYS_ADMIN: run them as root");
    ip(&namespace, "link set lo up");
    namespace
}

/// Runs `ip` with these arguments inside, and returns what it prints. Its failure is the test's.
pub(crate) fn ip(namespace: &Namespace, arguments: &str) -> String {
    let (ok, text) = try_ip(namespace, arguments);
    assert!(ok, "ip {arguments}: {text}");
    text
}

/// Runs `ip`; whether it succeeded, and what it printed.
pub(crate) fn try_ip(namespace: &Namespace, arguments: &str) -> (bool, String) {
    let output = namespace
        .run(|| Command::new("ip").args(arguments.split_whitespace()).output())
        .expect("entering the namespace")
        .expect("these tests need `ip` of the Debian package iproute2");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

pub(crate) fn device(name: &str) -> IfName {
    IfName::new(name).expect("a device name")
}

/// A device that is up and carries: one end of a veth whose other end (`<name>p`) is up as well.
pub(crate) fn wire(namespace: &Namespace, name: &str) -> IfName {
    ip(namespace, &format!("link add {name} type veth peer name {name}p"));
    ip(namespace, &format!("link set {name}p up"));
    ip(namespace, &format!("link set {name} up"));
    device(name)
}
