//! What people are told when something does not work, and the exit codes that scripts see.

use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use crate::support::{Agent, failed, run};

#[test]
fn a_missing_socket_is_explained_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let (code, said) = failed(&path, "bgp peers");
    assert_eq!(code, 3);
    assert!(said.contains(&format!("there is no socket {}", path.display())), "{said}");
    assert!(said.contains("--socket"), "{said}");
}

#[test]
fn a_socket_that_nobody_serves_means_that_the_agent_is_not_running() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    drop(UnixListener::bind(&path).unwrap());
    // From its fork to its exec a program that a test beside this one starts has a copy of the listener, too.
    let deadline = Instant::now() + Duration::from_secs(60);
    while UnixStream::connect(&path).is_ok() {
        assert!(Instant::now() < deadline, "the socket is still served");
        std::thread::sleep(Duration::from_millis(5));
    }
    let (code, said) = failed(&path, "node status");
    assert_eq!(code, 3);
    assert!(said.contains("nobody listens") && said.contains("the agent is not running"), "{said}");
}

#[test]
fn the_agents_own_words_reach_the_user() {
    let agent = Agent::start();
    let (code, said) = agent.refused("bgp reset node-9");
    assert_eq!((code, said.as_str()), (1, "error: resetting peer node-9: there is no BGP peer 'node-9'\n"));
    let (code, said) = agent.refused("bgp refresh tor-a");
    assert_eq!(code, 1);
    assert!(said.contains("is not established"), "{said}");
    let (code, said) = agent.refused("get ippools nobody");
    assert_eq!(code, 1);
    assert!(said.contains("getting ippools: there is no such name"), "{said}");
}

#[test]
fn wrong_arguments_are_refused_before_the_agent_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("admin.sock");
    for (words, hint) in [
        ("get gateways", "there is no kind 'gateways'; the kinds are networknodes, ippools"),
        ("get ippools,nodes one", "names can be given for one kind only"),
        ("bgp routes --family ipx", "possible values: ipv4, ipv6"),
        ("bgp peers -o xml", "possible values: table, wide, json, yaml, name"),
    ] {
        let (code, said) = failed(&nowhere, words);
        assert_eq!(code, 2, "{words}: {said}");
        assert!(said.contains(hint), "{words}: {said}");
    }
}

#[test]
fn a_snapshot_from_disk_is_shown_with_a_note_on_the_side() {
    let agent = Agent::start();
    let output = run(&agent.socket(), "get ipamconfigs -o json");
    assert!(output.status.success());
    let note = String::from_utf8(output.stderr).unwrap();
    assert!(note.contains("last good snapshot"), "{note}");
    assert!(
        serde_json::from_slice::<serde_json::Value>(&output.stdout).is_ok(),
        "the note is not in the document"
    );
}

#[test]
fn versions_without_an_agent_still_print_the_clients() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&folder.path().join("admin.sock"), "version");
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("Client Version:"));
    assert!(run(&folder.path().join("admin.sock"), "version --client").status.success());
}

#[test]
fn completions_and_manual_pages_know_every_verb() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = run(folder.path(), &format!("completion {shell}"));
        let script = String::from_utf8(output.stdout).unwrap();
        for word in ["ipam", "routes", "refresh"] {
            assert!(script.contains(word), "{shell} does not complete {word}");
        }
    }
    let pages = folder.path().join("man");
    assert!(run(folder.path(), &format!("generate-man {}", pages.display())).status.success());
    for page in ["caracalctl.1", "caracalctl-bgp-routes.1", "caracalctl-ipam-show.1"] {
        assert!(pages.join(page).exists(), "{page} is missing");
    }
}
