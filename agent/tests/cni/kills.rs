//! The plugin killed at every step it takes (`strace` injects the signal): what is left goes with the runtime's next DEL or GC.

use std::collections::BTreeMap;
use std::process::Command;

use caracal_cni::Version;
use serde_json::{Value, json};

use crate::POOLS;
use crate::rig::{Agent, Node, Pod, in_namespace, ip, lines};
use crate::runtime::{Runtime, execute};

/// What a process does before its own work begins, or without effect on anyone.
const WITHOUT_EFFECT: [&str; 16] = [
    "access",
    "arch_prctl",
    "brk",
    "close",
    "fstat",
    "getrandom",
    "madvise",
    "mmap",
    "mprotect",
    "munmap",
    "newfstatat",
    "prlimit64",
    "rseq",
    "rt_sigaction",
    "set_robust_list",
    "set_tid_address",
];

/// One operation under strace with these options.
async fn under_strace(
    options: &[String],
    runtime: &Runtime,
    command: &str,
    pod: &Pod,
    stdin: &Value,
) -> bool {
    let mut strace = Command::new("strace");
    strace.args(options).arg(runtime.plugin());
    let output = execute(strace, runtime.variables(command, pod), stdin.to_string()).await;
    output.status.success()
}

/// The steps of an operation: each system call with its number among those of its kind.
fn steps(trace: &str) -> Vec<(String, usize)> {
    let mut counts = BTreeMap::new();
    let mut steps = Vec::new();
    for name in trace.lines().filter_map(|line| line.split_once('(').map(|(name, _)| name.trim().to_owned()))
    {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        let count = counts.entry(name.clone()).or_insert(0);
        *count += 1;
        if !WITHOUT_EFFECT.contains(&name.as_str()) {
            steps.push((name, *count));
        }
    }
    steps
}

async fn is_bare(agent: &Agent, after: &str) {
    assert_eq!(agent.attachments().await, 0, "{after}");
    assert_eq!(lines(&ip("-br link")).len(), 1, "{after}: {}", ip("-br link"));
    assert_eq!(lines(&ip("route show proto 67 scope link")).len(), 0, "{after}");
}

#[test]
fn a_plugin_killed_at_any_step_leaves_nothing_that_the_next_call_does_not_take_away() {
    in_namespace(|| async {
        let node = Node::new(&POOLS).await;
        let agent = node.agent().await;
        let plugin = json!([{"type": "caracal", "socket": agent.socket}]);
        // Each step is taken in another version.
        let runtimes: Vec<Runtime> =
            Version::ALL.iter().map(|version| Runtime::new(version.as_str(), plugin.clone())).collect();
        let runtime = &runtimes[runtimes.len() - 1];
        let none = json!({});
        let stdin = runtime.stdin(0, &none, None);
        let mut empty = stdin.clone();
        empty["cni.dev/valid-attachments"] = json!([]);
        let trace = runtime.folder.path().join("trace");
        let observe = vec!["-o".to_owned(), trace.display().to_string()];
        for command in ["ADD", "DEL"] {
            let pod = Pod::new("web-0", "observed");
            if command == "DEL" {
                runtime.add(&pod, &none).await.unwrap();
            }
            assert!(
                under_strace(&observe, runtime, command, &pod, &stdin).await,
                "strace must be there, and allowed"
            );
            runtime.del(&pod, &none, None).await.unwrap();
            let steps = steps(&std::fs::read_to_string(&trace).unwrap());
            assert!(steps.len() > 10, "{steps:?}");
            let mut killed = 0;
            for (number, (call, count)) in steps.iter().enumerate() {
                let version = number % runtimes.len();
                let runtime = &runtimes[version];
                let stdin = runtime.stdin(0, &none, None);
                // The pod stays, its sandbox is another with each attempt.
                let pod = Pod::new("web-0", &format!("{}-{number}", command.to_lowercase()));
                if command == "DEL" {
                    runtime.add(&pod, &none).await.unwrap();
                }
                let inject = format!("inject={call}:signal=KILL:when={count}");
                let options = ["-o", "/dev/null", "-e", &inject].map(str::to_owned);
                killed += usize::from(!under_strace(&options, runtime, command, &pod, &stdin).await);
                // A runtime retries DEL; one that has forgotten the container sends GC.
                if !Version::ALL[version].has_gc_and_status() || (number / runtimes.len()).is_multiple_of(2) {
                    runtime.del(&pod, &none, None).await.unwrap();
                } else {
                    runtime.one("GC", &pod, empty.clone()).await.unwrap();
                }
                is_bare(&agent, &format!("{command} killed at {call} number {count}")).await;
            }
            assert!(killed * 2 > steps.len(), "{killed} of {} attempts were killed", steps.len());
        }
        let pod = Pod::new("web-0", "last");
        let result = runtime.add(&pod, &none).await.unwrap();
        runtime.del(&pod, &none, Some(&result)).await.unwrap();
        agent.stop().await;
        node.stop().await;
    });
}
