//! The agent killed at the steps that it takes for ADD and DEL (`strace`, attached to it, injects the signal), and started again:
//! no address is lost or given twice, no device is left, and a pod whose ADD was answered is reached.
//!
//! A step is a system call with an effect on others, with its number among those of its kind and thread. The sweep is of all
//! threads, and of those that write the journal and the kernel and remove devices once more alone, since the first of several
//! threads that comes to a number ends the process. `CARACAL_KILLS=all` makes the whole of it, a number that many of each
//! operation, spread over its course; `CARACAL_KILLS_SEED` shifts which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use caracal_wait::eventually;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::POOLS;
use crate::process::Process;
use crate::rig::{Node, Pod, addresses, in_namespace, ip, lines, run};
use crate::runtime::{Refused, Runtime};

/// How many steps of each operation are tried where nothing else is asked for.
const USUALLY: usize = 16;

/// How often the agent is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Calls that change nothing outside the process: a kill there is one at the next call that does.
const WITHOUT_EFFECT: [&str; 22] = [
    "brk",
    "clock_nanosleep",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_wait",
    "fcntl",
    "fstat",
    "futex",
    "getpid",
    "getrandom",
    "getsockname",
    "gettid",
    "madvise",
    "mmap",
    "mprotect",
    "munmap",
    "rt_sigprocmask",
    "sched_getaffinity",
    "sched_yield",
    "set_robust_list",
    "sigaltstack",
    "statx",
];

/// Threads that are also swept alone.
const ALONE: [&str; 3] = ["journal", "kernel", "removal"];

/// Where the agent is to be killed.
#[derive(Clone, Debug)]
struct Step {
    /// Only this thread's calls count, if one is named.
    thread: Option<&'static str>,
    call: String,
    number: usize,
}

/// A strace that has attached itself.
struct Strace {
    child: Child,
    _said: BufReader<ChildStderr>,
}

impl Strace {
    /// Attaches to all threads of a process, or to one.
    async fn attach(pid: u32, thread: Option<&str>, options: &[String]) -> Self {
        let to = thread.map_or(pid, |name| thread_named(pid, name));
        let mut strace = Command::new("strace");
        if thread.is_none() {
            strace.arg("-f");
        }
        strace.args(options).args(["-p", &to.to_string()]).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = strace.spawn().expect("strace must be there: apt-get install strace");
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let attached = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            said.read_line(&mut line).unwrap();
            assert!(line.contains("attached"), "strace must be allowed: {line}");
            said
        });
        Self { child, _said: attached.await.unwrap() }
    }

    /// Lets go of what it watches, if that still lives: by SIGTERM it writes the rest of its trace; but where what it watches is
    /// being killed just then, it may wait for ever. By SIGKILL the kernel lets go.
    async fn end(mut self, by: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), by).unwrap();
        tokio::task::spawn_blocking(move || self.child.wait().unwrap()).await.unwrap();
    }
}

fn threads(pid: u32) -> BTreeMap<u32, String> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let name = |id: &u32| fs::read_to_string(format!("/proc/{pid}/task/{id}/comm"));
    ids.filter_map(|id| Some((id, name(&id).ok()?.trim().to_owned()))).collect()
}

fn thread_named(pid: u32, name: &str) -> u32 {
    let found = threads(pid).into_iter().find(|(_, thread)| thread == name);
    found.unwrap_or_else(|| panic!("the agent has no thread `{name}`")).0
}

/// The steps of an operation, in the order in which they came, from a trace of all threads.
fn steps(trace: &Path, names: &BTreeMap<u32, String>) -> Vec<Step> {
    let text = fs::read_to_string(trace).unwrap();
    let (mut counts, mut reached) = (BTreeMap::new(), BTreeSet::new());
    let mut steps = Vec::new();
    for line in text.lines() {
        // `PID call(…`; what begins with `<...` is the rest of a call that began before.
        let Some((id, rest)) = line.split_once(char::is_whitespace) else { continue };
        let (Ok(id), Some((call, _))) = (id.parse::<u32>(), rest.trim().split_once('(')) else { continue };
        if WITHOUT_EFFECT.contains(&call)
            || !call.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            continue;
        }
        let number = counts.entry((id, call.to_owned())).and_modify(|count| *count += 1).or_insert(1_usize);
        let own = names.get(&id).and_then(|name| ALONE.into_iter().find(|alone| alone == name));
        for thread in [None, own] {
            if (thread.is_none() || own.is_some()) && reached.insert((thread, call.to_owned(), *number)) {
                steps.push(Step { thread, call: call.to_owned(), number: *number });
            }
        }
    }
    steps
}

/// All of them, or some that are spread over the whole.
fn chosen(steps: &[Step]) -> Vec<Step> {
    let asked = std::env::var("CARACAL_KILLS").ok();
    if asked.as_deref() == Some("all") {
        return steps.to_vec();
    }
    let count = asked.map_or(USUALLY, |count| count.parse().expect("CARACAL_KILLS is `all` or a number"));
    let seed = std::env::var("CARACAL_KILLS_SEED").ok();
    let seed: usize = seed.map_or(0, |seed| seed.parse().expect("CARACAL_KILLS_SEED is a number"));
    let every = (steps.len() / count).max(1);
    steps.iter().skip(seed % every).step_by(every).cloned().collect()
}

/// Waits for what the agent is to do, and starts it again as soon as it has ended. Whether it was killed.
async fn through_kills<T>(agent: &mut Process, doing: impl Future<Output = T>) -> (bool, T) {
    let mut doing = std::pin::pin!(doing);
    let mut killed = false;
    loop {
        tokio::select! {
            outcome = &mut doing => return (killed, outcome),
            () = tokio::time::sleep(LOOK_EVERY) => {
                if agent.has_ended() {
                    killed = true;
                    agent.again();
                }
            }
        }
    }
}

/// One operation while somebody watches or kills the agent. Whether it was killed, and what came of the operation.
async fn operation(
    agent: &mut Process,
    runtime: &Runtime,
    command: &str,
    pod: &Pod,
    (strace, ends): (Strace, Signal),
) -> (bool, Result<Option<Value>, Refused>) {
    let stdin = runtime.stdin(0, &json!({}), None);
    let (mut killed, outcome) = through_kills(agent, runtime.one(command, pod, stdin)).await;
    if !killed && let Ok(Some(result)) = &outcome {
        // What ADD does after its answer are steps as well: CHECK waits for their end. It may be CHECK that the agent is killed in.
        let stdin = runtime.stdin(0, &json!({}), Some(result));
        killed = through_kills(agent, runtime.one("CHECK", pod, stdin)).await.0;
    }
    strace.end(ends).await;
    // Nobody kills it any more. If somebody has, that may take a moment.
    eventually("the agent answers", || {
        if agent.has_ended() {
            killed = true;
            agent.again();
        }
        agent.answers()
    })
    .await;
    agent.ready().await;
    (killed, outcome)
}

async fn is_reached(address: &str, after: &str) {
    eventually(&format!("{address} is reached: {after}"), || run("ping", &format!("-c 1 -W 1 {address}")).0)
        .await;
}

/// What is left is the witness alone: its device, its routes, its addresses, its record.
async fn only_the_witness_is_left(agent: &Process, witness: &BTreeSet<String>, after: &str) {
    let devices = || lines(&ip("-br link")).into_iter().filter(|line| line.starts_with("cali")).count();
    let holds = || agent.held().into_iter().map(|(_, address)| address).collect::<BTreeSet<_>>() == *witness;
    eventually(&format!("no address is held by what is gone: {after}"), holds).await;
    assert_eq!(devices(), 1, "{after}: {}", ip("-br link"));
    assert_eq!(lines(&ip("route show proto 67 scope link")).len(), 1, "{after}");
    assert_eq!(agent.ctl(&["node", "status"])["attachments"].to_string().trim_matches('"'), "1", "{after}");
    for address in witness {
        is_reached(address, after).await;
    }
}

#[test]
fn an_agent_killed_at_any_step_of_add_or_del_loses_nothing_and_gives_nothing_twice() {
    in_namespace(|| async {
        let node = Node::new(&POOLS).await;
        let mut agent = Process::start(&node).await;
        let runtime = Runtime::new("1.1.0", agent.plugins());
        let none = json!({});
        let witness = Pod::new("witness", "witness");
        let witness: BTreeSet<String> =
            addresses(&runtime.add(&witness, &none).await.unwrap()).into_iter().collect();
        let mut all_but_the_witness = runtime.stdin(0, &none, None);
        all_but_the_witness["cni.dev/valid-attachments"] =
            json!([{"containerID": "witness", "ifname": "eth0"}]);
        for command in ["ADD", "DEL"] {
            let trace = runtime.folder.path().join("trace");
            let pod = Pod::new("web-0", &format!("{command}-observed"));
            if command == "DEL" {
                runtime.add(&pod, &none).await.unwrap();
            }
            let options = ["-o".to_owned(), trace.display().to_string()];
            let strace = Strace::attach(agent.pid(), None, &options).await;
            let ending = (strace, Signal::SIGTERM);
            let (killed, outcome) = operation(&mut agent, &runtime, command, &pod, ending).await;
            assert!(!killed && outcome.is_ok(), "{outcome:?}");
            runtime.del(&pod, &none, None).await.unwrap();
            let all = steps(&trace, &threads(agent.pid()));
            let chosen = chosen(&all);
            let mut kills = 0;
            for (number, step) in chosen.iter().enumerate() {
                let after = format!("{command} with {step:?}");
                // The pod stays, its sandbox is another with each attempt.
                let pod = Pod::new("web-0", &format!("{command}-{number}"));
                if command == "DEL" {
                    runtime.add(&pod, &none).await.unwrap();
                }
                let inject = format!("inject={}:signal=KILL:when={}", step.call, step.number);
                let options = ["-o", "/dev/null", "-e", &inject].map(str::to_owned);
                let strace = Strace::attach(agent.pid(), step.thread, &options).await;
                let ending = (strace, Signal::SIGKILL);
                let (killed, outcome) = operation(&mut agent, &runtime, command, &pod, ending).await;
                kills += usize::from(killed);

                let mut living = witness.clone();
                match (command, outcome) {
                    ("ADD", Ok(result)) => {
                        let result = result.unwrap();
                        for address in addresses(&result) {
                            is_reached(&address, &after).await;
                            assert!(living.insert(address), "{after}: given twice: {result}");
                        }
                        let checked = runtime.check(&pod, &none, &result).await;
                        assert_eq!(checked, Ok(()), "{after}");
                    }
                    // The runtime hears that it may try again.
                    ("ADD", Err(refused)) => assert_eq!(refused["said"]["code"], 11, "{after}: {refused}"),
                    (_, outcome) => assert_eq!(outcome, Ok(None), "{after}: DEL fails for nothing"),
                }
                let other = Pod::new("web-1", &format!("{command}-other-{number}"));
                for address in addresses(&runtime.add(&other, &none).await.unwrap()) {
                    assert!(living.insert(address.clone()), "{after}: {address} is given twice");
                }
                runtime.del(&other, &none, None).await.unwrap();
                // Of a DEL that was answered the runtime says nothing more.
                match command {
                    "ADD" if number % 2 == 0 => runtime.del(&pod, &none, None).await.unwrap(),
                    // One that has forgotten the container tells what it knows.
                    "ADD" => drop(runtime.one("GC", &pod, all_but_the_witness.clone()).await.unwrap()),
                    _ => {}
                }
                only_the_witness_is_left(&agent, &witness, &after).await;
            }
            println!("{command}: {} steps, {} tried, {kills} times killed", all.len(), chosen.len());
            assert!(all.len() > 20, "{all:?}");
            assert!(kills * 2 > chosen.len(), "{kills} of {} attempts were killed", chosen.len());
        }
        assert!(agent.conflist().exists(), "the node stays ready for runtimes through all of it");
        drop(agent);
        node.stop().await;
    });
}
