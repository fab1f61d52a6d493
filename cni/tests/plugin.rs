//! The plugin as a runtime sees it: a process with an environment, standard input, output and an exit code.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use caracal_cni::frame::{self, Answer, Call, HEADER};
use serde_json::{Value, json};

/// Environment of a call: names and values.
type Variables = Vec<(&'static str, &'static str)>;

/// Waits until nobody serves a socket that was closed here: from its fork to its exec a program that a test beside this one starts
/// has a copy of it, too.
fn until_refused(socket: &Path) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while UnixStream::connect(socket).is_ok() {
        assert!(Instant::now() < deadline, "{} is still served", socket.display());
        thread::sleep(Duration::from_millis(5));
    }
}

/// Runs the plugin with the variables that every call has, and those given.
fn plugin(variables: &[(&str, &str)], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_caracal-cni"))
        .env_clear()
        .env("CNI_PATH", "/opt/cni/bin")
        // The namespace of the tests is often their own.
        .env("CNI_NETNS_OVERRIDE", "1")
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // VERSION and the about text end without reading: a broken pipe is theirs to choose.
    let mut pipe = child.stdin.take().unwrap();
    if let Err(error) = pipe.write_all(stdin.as_bytes()) {
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    }
    drop(pipe);
    child.wait_with_output().unwrap()
}

fn config(version: &str, directory: &Path) -> String {
    json!({"cniVersion": version, "name": "net", "type": "caracal-cni", "socket": directory.join("cni.sock")})
        .to_string()
}

fn container<'a>(command: &'a str, netns: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![("CNI_COMMAND", command), ("CNI_CONTAINERID", "c1"), ("CNI_IFNAME", "eth0"), ("CNI_NETNS", netns)]
}

fn error_of(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Takes one call from the socket, answers it, and returns the call with what was readable through its descriptor.
fn answer_one(mut stream: UnixStream, answer: Option<&Answer>) -> (Call, Option<String>) {
    let (mut header, mut filled, mut passed) = ([0; HEADER], 0, None);
    while filled < HEADER {
        let (count, descriptor) = frame::receive_header(stream.as_fd(), &mut header[filled..]).unwrap();
        assert_ne!(count, 0);
        filled += count;
        passed = passed.or(descriptor);
    }
    let mut body = vec![0; frame::body_length(header).unwrap()];
    stream.read_exact(&mut body).unwrap();
    if let Some(answer) = answer {
        stream.write_all(&frame::encode(answer).unwrap()).unwrap();
    }
    // A namespace, unlike a file that stands for one, cannot be read.
    let text = passed.and_then(|descriptor| std::io::read_to_string(File::from(descriptor)).ok());
    (frame::decode(&body).unwrap(), text)
}

#[test]
fn version_needs_neither_input_nor_agent() {
    let output = plugin(&[("CNI_COMMAND", "VERSION")], "");
    assert!(output.status.success());
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let supported = json!(["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
    assert_eq!(found, json!({"cniVersion": "1.1.0", "supportedVersions": supported}));
}

#[test]
fn without_a_command_it_says_what_it_is_and_succeeds() {
    let output = plugin(&[], "");
    assert!(output.status.success() && output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("0.3.0"));
}

#[test]
fn the_hosts_namespace_is_no_containers_unless_the_caller_insists() {
    let directory = tempfile::tempdir().unwrap();
    let mut variables = container("ADD", "/proc/self/ns/net");
    variables.push(("CNI_NETNS_OVERRIDE", ""));
    let error = error_of(&plugin(&variables, &config("1.0.0", directory.path())));
    assert_eq!(error["code"], 8, "{error}");
    assert!(error["msg"].as_str().unwrap().contains("CNI_NETNS_OVERRIDE"), "{error}");
}

#[test]
fn it_installs_itself_and_takes_itself_away() {
    let host = tempfile::tempdir().unwrap();
    let (bin, conf) = (host.path().join("bin"), host.path().join("net.d"));
    fs::create_dir(&conf).unwrap();
    let run = |verb: &str, words: &[&std::ffi::OsStr]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_caracal-cni"));
        command.env_clear().arg(verb).args(words).stdin(Stdio::null()).output().unwrap()
    };
    let bin_dir: [&std::ffi::OsStr; 2] = ["--bin-dir".as_ref(), bin.as_ref()];
    for _ in 0..2 {
        assert!(run("install", &bin_dir).status.success());
    }
    let names = |folder: &Path| {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&bin), ["caracal"], "nothing unfinished is left beside it");
    let installed = Command::new(bin.join("caracal")).env("CNI_COMMAND", "VERSION").output().unwrap();
    assert!(installed.status.success());

    // As the agent leaves it.
    fs::write(conf.join("10-other.conflist"), "other").unwrap();
    caracal_cni::install::Conflist::default().write(&conf).unwrap();
    caracal_cni::install::set_aside(&conf).unwrap();
    assert_eq!(names(&conf), ["10-caracal.conflist", "10-other.conflist.caracal_bak"]);
    let both: [&std::ffi::OsStr; 4] =
        ["--bin-dir".as_ref(), bin.as_ref(), "--conf-dir".as_ref(), conf.as_ref()];
    for _ in 0..2 {
        assert!(run("uninstall", &both).status.success());
    }
    assert_eq!((names(&bin), names(&conf)), (vec![], vec!["10-other.conflist".to_owned()]));
    assert_eq!(fs::read_to_string(conf.join("10-other.conflist")).unwrap(), "other");
    assert!(!run("frobnicate", &[]).status.success());
}

#[test]
fn bad_calls_are_refused_before_the_agent_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let config = |version| config(version, directory.path());
    let table: [(Variables, String, u32); 6] = [
        (vec![("CNI_COMMAND", "FROB")], config("1.0.0"), 4),
        (vec![("CNI_COMMAND", "ADD")], config("1.0.0"), 4),
        (container("ADD", "/nowhere/netns"), config("1.0.0"), 8),
        (container("ADD", "/proc/self/ns/net"), config("0.2.0"), 1),
        (container("ADD", "/proc/self/ns/net"), "{".to_owned(), 6),
        (vec![("CNI_COMMAND", "STATUS")], config("1.0.0"), 1),
    ];
    for (variables, stdin, code) in table {
        let error = error_of(&plugin(&variables, &stdin));
        assert_eq!(error["code"], code, "{error}");
    }
    let error = error_of(&plugin(&container("ADD", "/nowhere/netns"), &config("0.4.0")));
    assert_eq!(error["cniVersion"], "0.4.0");
    assert!(error["msg"].as_str().unwrap().contains("/nowhere/netns"));
}

#[test]
fn status_follows_the_age_of_the_heartbeat_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let heartbeat = directory.path().join("heartbeat");
    let status = || {
        let begun = Instant::now();
        let output = plugin(&[("CNI_COMMAND", "STATUS")], &config("1.1.0", directory.path()));
        (output, begun.elapsed())
    };
    let (output, took) = status();
    let error = error_of(&output);
    assert_eq!(error["code"], 50);
    assert!(error["msg"].as_str().unwrap().contains("has not been ready"), "{error}");
    // It waits for nobody, as ADD does, which takes twice as long; the rest is for a machine with other work to do.
    assert!(took < Duration::from_secs(15), "{took:?}");
    let file = File::create(&heartbeat).unwrap();
    for (age, ready) in [(0, true), (50, true), (65, false), (3600, false)] {
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        let (output, _) = status();
        assert_eq!(output.status.success(), ready, "age {age}: {output:?}");
        if ready {
            assert!(output.stdout.is_empty());
        } else {
            assert_eq!(error_of(&output)["code"], 50);
        }
    }
    file.set_modified(SystemTime::now() + Duration::from_secs(3600)).unwrap();
    assert!(!status().0.status.success(), "a heartbeat from an hour ahead says nothing");
}

#[test]
fn add_passes_everything_to_the_agent_and_its_answer_back() {
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join("cni.sock")).unwrap();
    let netns = directory.path().join("netns");
    fs::write(&netns, "the pod's namespace").unwrap();
    let answer = Answer { exit: 1, stdout: "{\"code\":100}".to_owned() };
    let agent = thread::spawn(move || answer_one(listener.accept().unwrap().0, Some(&answer)));
    let stdin = config("1.0.0", directory.path());
    let mut variables = container("ADD", netns.to_str().unwrap());
    variables.push(("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=p"));
    variables.push(("TRACEPARENT", "00-ab-cd-01"));
    let output = plugin(&variables, &stdin);
    let (call, passed) = agent.join().unwrap();
    assert_eq!(passed.as_deref(), Some("the pod's namespace"));
    assert_eq!(call.stdin, stdin);
    for (name, value) in variables {
        assert_eq!(call.environment.get(name), Some(value));
    }
    assert_eq!((output.status.code(), output.stdout), (Some(1), b"{\"code\":100}".to_vec()));
}

#[test]
fn add_waits_for_an_agent_that_is_starting() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, stdin) = (directory.path().join("cni.sock"), config("1.0.0", directory.path()));
    // A socket that nobody listens at any more is what a killed agent leaves behind.
    drop(UnixListener::bind(&socket).unwrap());
    until_refused(&socket);
    let call = thread::spawn(move || plugin(&container("ADD", "/proc/self/ns/net"), &stdin));
    fs::remove_file(&socket).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    answer_one(listener.accept().unwrap().0, Some(&Answer { exit: 0, stdout: "done".to_owned() }));
    assert_eq!(call.join().unwrap().stdout, b"done");
}

#[test]
fn an_agent_that_ends_amid_an_add_makes_it_try_again_later() {
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join("cni.sock")).unwrap();
    let agent = thread::spawn(move || answer_one(listener.accept().unwrap().0, None));
    let output = plugin(&container("ADD", "/proc/self/ns/net"), &config("1.0.0", directory.path()));
    agent.join().unwrap();
    let error = error_of(&output);
    assert_eq!(error["code"], 11);
    assert!(error["msg"].as_str().unwrap().contains("ended before it answered"), "{error}");
}

#[test]
fn add_gives_up_after_thirty_seconds_without_an_agent() {
    let directory = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let output = plugin(&container("ADD", "/proc/self/ns/net"), &config("1.1.0", directory.path()));
    let took = begun.elapsed();
    assert_eq!(error_of(&output)["code"], 11);
    // Runtimes give it two minutes; the rest is for a machine with other work to do.
    assert!((Duration::from_secs(29)..Duration::from_secs(90)).contains(&took), "{took:?}");
}
