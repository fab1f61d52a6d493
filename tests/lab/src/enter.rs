//! Entering a running lab from another terminal: `caracal-lab exec n1 ip route`.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::control::KUBECONFIG;
use crate::sandbox::{self, STATE};
use crate::{netns, router};

/// The note, in the lab's state folder, of the ways into its machines.
pub(crate) const INDEX: &str = "machines.json";

/// The network between the machines, by the name under which it is entered.
const FABRIC: &str = "fabric";

/// Replaces this process by a command inside a node, a pod, or the fabric; returns only when that fails.
pub fn exec(lab: &str, target: &str, words: &[String]) -> anyhow::Result<()> {
    let found = sandbox::find(lab)?;
    let root = format!("/proc/{}/root", found.inner);
    let path = format!("{root}{STATE}/{INDEX}");
    let index = std::fs::read_to_string(&path)
        .with_context(|| format!("reading {path}: the lab is still being built, or you are not root"))?;
    let index: BTreeMap<String, Vec<String>> =
        serde_json::from_str(&index).with_context(|| format!("reading {path}"))?;
    let namespaces = names(&format!("{root}/run/netns"))?;
    let way = way_in(target, &index, &namespaces)?;

    let (program, arguments) = words.split_first().context("no command was given")?;
    let mut command = Command::new("nsenter");
    command.arg(format!("--target={}", found.inner));
    let mut folder = std::env::current_dir().ok();
    if !shares_user_namespace(found.inner)? {
        command.args(["--user", "--preserve-credentials"]);
        // Root inside is whoever started the lab; nobody else, not even root outside, keeps rights there through an
        // exec (user_namespaces(7)).
        let process = format!("/proc/{}", found.inner);
        let owner = std::fs::metadata(&process).with_context(|| format!("reading {process}"))?;
        if nix::unistd::geteuid().is_root() {
            command.uid(owner.uid()).gid(owner.gid());
            folder = None;
        }
    }
    command.args(["--mount", "--pid", "--net", "--ipc", "--uts", "--"]);
    if !way.is_empty() {
        command.arg("nsenter").args(way).arg("--");
    }
    // nsenter ends up in the root folder. The lab shows homes and /tmp as they are: relative paths keep their meaning.
    if let Some(folder) = folder.filter(|folder| Path::new(&format!("{root}{}", folder.display())).is_dir()) {
        command.arg("env").arg(format!("--chdir={}", folder.display()));
    }
    command.arg(program).args(arguments).env("PATH", netns::path());
    command.env("KUBECONFIG", format!("{STATE}/{KUBECONFIG}"));
    if Path::new(&format!("{root}{STATE}/nodes/{target}{}", router::SOCKET)).exists() {
        command.env("CARACAL_SOCKET", router::SOCKET);
    }
    Err(command.exec()).context("executing nsenter")
}

/// `kubectl` in the fabric, where the API server is reached; returns only when that fails.
pub fn kubectl(lab: &str, arguments: &[String]) -> anyhow::Result<()> {
    const PROGRAM: &str = "kubectl";
    sandbox::find(lab)?;
    if !netns::path().split(':').any(|folder| Path::new(folder).join(PROGRAM).exists()) {
        bail!(
            "kubectl is not installed in /usr/local/bin or /usr/bin: put one there, of any version (Debian's package is \
             kubernetes-client)"
        );
    }
    let words: Vec<String> = std::iter::once(PROGRAM.to_owned()).chain(arguments.iter().cloned()).collect();
    exec(lab, FABRIC, &words)
}

/// Whether a process lives in this one's user namespace: entering it again would be refused.
fn shares_user_namespace(pid: i32) -> anyhow::Result<bool> {
    let read = |who: &str| {
        let path = format!("/proc/{who}/ns/user");
        std::fs::read_link(&path).with_context(|| {
            format!("reading {path}: is the lab another user's? Enter it as that user or as root")
        })
    };
    Ok(read("self")? == read(&pid.to_string())?)
}

fn names(folder: &str) -> anyhow::Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("reading {folder}"))?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

/// Words of `nsenter` for a machine, a pod by its name, or the fabric (none).
fn way_in(
    target: &str,
    machines: &BTreeMap<String, Vec<String>>,
    namespaces: &[String],
) -> anyhow::Result<Vec<String>> {
    if target == FABRIC {
        return Ok(Vec::new());
    }
    if let Some(way) = machines.get(target) {
        return Ok(way.clone());
    }
    // A pod's namespace is named cni-<pod>-<begin of the container's id>.
    let pod_of = |name: &str| Some(name.strip_prefix("cni-")?.rsplit_once('-')?.0.to_owned());
    if let Some(name) = namespaces.iter().find(|name| pod_of(name).as_deref() == Some(target)) {
        return Ok(vec![format!("--net=/run/netns/{name}")]);
    }
    let mut known: Vec<String> = machines.keys().cloned().collect();
    known.extend(namespaces.iter().filter_map(|name| pod_of(name)));
    known.push(FABRIC.into());
    bail!("the lab has no `{target}`; it has: {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machines() -> BTreeMap<String, Vec<String>> {
        BTreeMap::from([("n1".to_owned(), vec!["--net=/run/netns/n1".to_owned()])])
    }

    #[test]
    fn a_node_and_a_pod_are_found_by_name() {
        let namespaces = ["n1".to_owned(), "cni-n1-p2-0a1b2c3d".to_owned()];
        assert_eq!(way_in("n1", &machines(), &namespaces).unwrap(), ["--net=/run/netns/n1"]);
        assert_eq!(
            way_in("n1-p2", &machines(), &namespaces).unwrap(),
            ["--net=/run/netns/cni-n1-p2-0a1b2c3d"]
        );
    }

    #[test]
    fn an_unknown_target_is_answered_with_what_there_is() {
        let error = way_in("n9", &machines(), &["cni-web-00000000".to_owned()]).unwrap_err().to_string();
        assert_eq!(error, "the lab has no `n9`; it has: n1, web, fabric");
    }
}
