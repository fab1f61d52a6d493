//! The lab inside the virtual machine: `cargo lab --vm`, and reaching it from another terminal.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::place::Place;

/// The option that asks for it.
const OPTION: &str = "--vm";
/// Memory in MiB that a lab gets unless `--vm-memory` says otherwise: some twenty nodes, taken only as it is used.
const MEMORY: &str = "4096";
/// Processors that a lab gets unless `--vm-cpus` says otherwise.
const CPUS: &str = "2";
/// How a machine's name looks among the kernel's sockets.
const SOCKET: &str = "@caracal-vm/";
/// The lab's name when it has no other.
const LAB: &str = "lab";

/// What the words of `cargo lab` or `cargo compare` ask of a virtual machine.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// The words without our own.
    pub(crate) rest: Vec<String>,
    memory: String,
    cpus: String,
}

impl Wish {
    /// The command that boots such a machine, by the program in this folder.
    pub(crate) fn command(&self, programs: &Path) -> Command {
        let mut command = Command::new(programs.join("caracal-vm"));
        command.args(["run", "--memory", &self.memory, "--cpus", &self.cpus]);
        command
    }
}

/// Whether the lab, or a comparison, is to run in a virtual machine, and in which.
pub(crate) fn wish(arguments: &[String]) -> anyhow::Result<Option<Wish>> {
    let (mut asked, mut memory, mut cpus) = (false, MEMORY.to_owned(), CPUS.to_owned());
    let mut rest = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().cloned().with_context(|| format!("{word} wants a number"));
        match word.as_str() {
            OPTION => asked = true,
            "--vm-memory" => memory = value()?,
            "--vm-cpus" => cpus = value()?,
            _ => rest.push(word.clone()),
        }
    }
    anyhow::ensure!(asked || rest == arguments, "--vm-memory and --vm-cpus mean something with --vm only");
    Ok(asked.then_some(Wish { rest, memory, cpus }))
}

/// The command that brings the lab up in a machine of its own. Its name is the lab's, so that others find it.
pub(crate) fn lab(place: &Place, wish: &Wish) -> anyhow::Result<Command> {
    let mut command = wish.command(&place.programs);
    command.args(["--name", name(&wish.rest)]);
    // Written inside for people outside.
    if let Some(folder) = option(&wish.rest, "--keep-logs") {
        let folder = PathBuf::from(folder);
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        command.arg("--share").arg(folder);
    }
    command.arg("--").arg(place.program("caracal-lab")).args(&wish.rest);
    Ok(command)
}

/// The command that passes a verb on a running lab (`exec n1 ip route`) into its machine, if it lives in one.
pub(crate) fn pass_on(place: &Place, arguments: &[String]) -> Option<Command> {
    let verb = arguments.first().filter(|word| !word.starts_with('-'))?;
    let name = name(arguments);
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    if !is_listed(&sockets, name) {
        return None;
    }
    let mut command = Command::new(place.program("caracal-vm"));
    command.args(["exec", "--name", name, "--"]);
    // The machine's own root shell, beside all namespaces of the lab.
    if verb == "console" {
        command.arg("bash");
    } else {
        command.arg(place.program("caracal-lab")).args(arguments);
    }
    Some(command)
}

/// The lab that the words are about. After `exec` and `kubectl` the options stand before the target: what follows belongs to the
/// command that runs there.
fn name(arguments: &[String]) -> &str {
    let ours = match arguments.split_first() {
        Some((verb, rest)) if verb == "exec" || verb == "kubectl" => {
            let pairs = rest.chunks(2).take_while(|pair| pair[0].starts_with("--name")).count();
            &rest[..(2 * pairs).min(rest.len())]
        }
        _ => arguments,
    };
    option(ours, "--name").unwrap_or(LAB)
}

/// The value of an option, given as `--option value` or `--option=value`.
pub(crate) fn option<'a>(arguments: &'a [String], option: &str) -> Option<&'a str> {
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if word == option {
            return words.next().map(String::as_str);
        }
        if let Some(value) = word.strip_prefix(option).and_then(|rest| rest.strip_prefix('=')) {
            return Some(value);
        }
    }
    None
}

fn is_listed(sockets: &str, name: &str) -> bool {
    sockets
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .any(|path| path.strip_prefix(SOCKET).is_some_and(|found| found == name))
}

/// Cargo's setting that runs each test program through a machine.
pub(crate) fn as_test_runner(program: &Path, memory: u32) -> String {
    let words =
        [program.display().to_string(), "run".into(), "--memory".into(), memory.to_string(), "--".into()];
    let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("target.'cfg(all())'.runner=[{}]", words.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn our_own_words_are_taken_out_and_the_labs_words_are_left() {
        let wish = wish(&words("--vm --once --vm-memory 512 --encap ipip")).unwrap().unwrap();
        assert_eq!(wish.rest, words("--once --encap ipip"));
        assert_eq!((wish.memory.as_str(), wish.cpus.as_str()), ("512", CPUS));
    }

    #[test]
    fn without_the_option_there_is_no_machine() {
        assert_eq!(wish(&words("--once")).unwrap(), None);
        wish(&words("--vm-cpus 4")).unwrap_err();
        wish(&words("--vm --vm-cpus")).unwrap_err();
    }

    #[test]
    fn a_machine_is_found_by_the_name_of_its_lab() {
        let sockets = "Num RefCount Protocol Flags Type St Inode Path\n\
                       0000: 00000002 00000000 00010000 0001 01 92 @caracal-vm/lab\n";
        assert!(is_listed(sockets, name(&words("exec n1 ip route"))));
        assert!(!is_listed(sockets, name(&words("exec --name two n1 ip route"))));
        assert_eq!(name(&words("status --name=two")), "two");
        assert_eq!(name(&words("exec n1 tool --name two")), LAB);
        assert_eq!(name(&words("kubectl get nodes --name two")), LAB);
    }
}
