//! `caracal-bgpd --check` as a process: what it says of good and bad files, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

const HEAD: &str = "[speaker]\nas = 64601\nrouter-id = \"192.0.2.1\"\n";

/// Checks a file; the folder it lies in goes with the test.
fn check(text: &str) -> (TempDir, PathBuf, Output) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bgpd.toml");
    fs::write(&file, text).unwrap();
    let output = checked(&file);
    (folder, file, output)
}

fn checked(file: &std::path::Path) -> Output {
    let program = env!("CARGO_BIN_EXE_caracal-bgpd");
    Command::new(program).arg("--config").arg(file).arg("--check").output().unwrap()
}

#[test]
fn a_good_file_is_called_good_and_nothing_is_started() {
    let peers =
        "[[peer]]\naddress = \"192.0.2.2\"\nas = 64602\n[[peer]]\naddress = \"2001:db8::2\"\nas = 64603\n";
    // A folder that is not there, and routes in the kernel: a check touches neither.
    let socket = "socket = \"/nowhere/at/all/bgpd.sock\"\n[fib]\n";
    let (_folder, file, output) =
        check(&format!("{HEAD}{socket}[[originate]]\nprefix = \"198.51.100.0/24\"\n{peers}"));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, format!("{}: good: 2 peers, 1 own prefixes\n", file.display()));
    assert!(output.stderr.is_empty(), "a good file draws no complaint");
}

#[test]
fn every_kind_of_mistake_is_told_by_line_and_field_with_exit_code_2() {
    let peer = "[[peer]]\naddress = \"192.0.2.2\"\nas = 64602\n";
    let policy = "[[policy]]\nname = \"p\"\ndefault = \"accept\"\n[[policy.rule]]\n";
    let cases: &[(&str, String, &str)] = &[
        ("no TOML", "[speaker\nas = 1\n".to_owned(), ":1: "),
        ("a key that is missing", "[speaker]\nas = 1\n".to_owned(), ":1: speaker: missing field `router-id`"),
        (
            "a key that is misspelt",
            format!("{HEAD}{peer}hold-tiem = 9\n"),
            ":7: peer[1].hold-tiem: there is no key `hold-tiem`: did you mean `hold-time`?",
        ),
        ("a value of another type", format!("{HEAD}{peer}passive = 1\n"), ":7: peer[1].passive: "),
        (
            "a value out of range",
            format!("{HEAD}{peer}hold-time = 2\n"),
            ":7: peer[1].hold-time: 2 is not allowed: ",
        ),
        (
            "an address that is none",
            format!("{HEAD}[[peer]]\naddress = \"192.0.2.300\"\nas = 64602\n"),
            ":5: peer[1].address: `192.0.2.300` is no IP address",
        ),
        (
            "a network with bits beyond its length",
            format!("{HEAD}[[originate]]\nprefix = \"192.0.2.1/24\"\n"),
            ":5: originate[1].prefix: `192.0.2.1/24` has bits set beyond its length: did you mean 192.0.2.0/24?",
        ),
        (
            "a policy that is not there",
            format!("{HEAD}{peer}import = \"q\"\n{policy}action = \"accept\"\n"),
            ":7: peer[1].import: ",
        ),
        (
            "a peer twice",
            format!("{HEAD}{peer}{peer}"),
            ":8: peer[2].address: there is another peer at 192.0.2.2",
        ),
        (
            "a rule that can match nothing",
            format!("{HEAD}{policy}prefixes = [\"10.0.0.0/8 le 7\"]\naction = \"accept\"\n"),
            ":8: policy[1].rule[1].prefixes[1]: ",
        ),
        ("what contradicts itself", format!("{HEAD}{peer}multihop = 3\nttl-security = 1\n"), ":4: peer[1]"),
    ];
    for (what, text, wanted) in cases {
        let (_folder, file, output) = check(text);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{what}: {said}");
        assert!(said.starts_with(&format!("{}{wanted}", file.display())), "{what}: {said}");
        assert!(output.stdout.is_empty(), "{what} is not also called good");
    }
}

#[test]
fn a_file_that_is_not_there_is_told_with_its_name_and_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bgpd.toml");
    let output = checked(&file);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.starts_with(&format!("reading the configuration file {}: ", file.display())), "{said}");
}
