//! Labs of people who are not root. The case itself is root, in its sandbox; it starts labs as a user that no account
//! has, who can read the programs and nothing more.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Sandbox, sandbox};
use tokio::process::Command;

use crate::sandbox::{programs, read_to};

const USER: &str = "54321";
const SOON: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(120);

/// `caracal-lab`, as that user.
fn lab(inside: &Sandbox, words: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"]);
    command.arg(inside.programs().join("caracal-lab")).args(words);
    command.env_remove(sandbox::MARK).current_dir("/").stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Whether this machine lets that user have user namespaces at all: a container's policy may forbid them.
async fn may_have_namespaces() -> anyhow::Result<bool> {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"]);
    Ok(command.args(["unshare", "--user", "--map-root-user", "true"]).output().await?.status.success())
}

pub(crate) async fn anybody_may_have_a_lab(inside: Sandbox) -> anyhow::Result<()> {
    let allowed = may_have_namespaces().await?;
    let output = lab(&inside, &["--once", "--nodes", "2", "--pods", "1"]).output();
    let output = tokio::time::timeout(LONG, output).await.context("the lab does not end")??;
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    if !allowed {
        ensure!(
            !output.status.success() && complained.contains("needs a user namespace"),
            "{said}\n{complained}"
        );
        return Ok(());
    }
    ensure!(output.status.success(), "{said}\n{complained}");
    ensure!(said.contains("the lab worked"), "{said}");
    Ok(())
}

pub(crate) async fn a_killed_lab_of_anybody_leaves_nothing(inside: Sandbox) -> anyhow::Result<()> {
    if !may_have_namespaces().await? {
        return Ok(()); // There is no such lab here; the case above has seen the refusal.
    }
    let mut child =
        lab(&inside, &["--nodes", "2", "--pods", "1", "--name", "theirs"]).stdout(Stdio::piped()).spawn()?;
    read_to(&mut child, "The lab is up").await?;
    // Its user enters it, and so does root; another user does not.
    let words = ["exec", "--name", "theirs", "n1", "cat", "/etc/machine-id"];
    let own = lab(&inside, &words).output().await?;
    ensure!(own.status.success(), "its user: {}", String::from_utf8_lossy(&own.stderr));
    let root = Command::new(inside.programs().join("caracal-lab")).args(words).output().await?;
    ensure!(root.stdout == own.stdout, "root: {}", String::from_utf8_lossy(&root.stderr));

    child.kill().await.context("killing the lab")?;
    wait::until(SOON, "every program of the lab is gone", || async {
        let left = programs()?;
        if left.is_empty() { Ok(()) } else { Err(NotYet::because(left.join(" "))) }
    })
    .await?;
    ensure!(sandbox::find("theirs").is_err(), "the lab's name is still taken");
    Ok(())
}

pub(crate) async fn where_user_namespaces_are_forbidden_the_way_out_is_told(
    inside: Sandbox,
) -> anyhow::Result<()> {
    // A user namespace of our own, with all users, in which no further ones may be made: what the case sets holds
    // there alone.
    let mut holder = Command::new("unshare").args(["--user", "sleep", "300"]).kill_on_drop(true).spawn()?;
    let pid = holder.id().context("the holder of the namespace has ended")?;
    let own = std::fs::read_link("/proc/self/ns/user")?;
    wait::until(SOON, "the holder is in a user namespace of its own", || async {
        let found = std::fs::read_link(format!("/proc/{pid}/ns/user")).context("reading its namespace")?;
        if found == own { Err(NotYet::because("it is in ours")) } else { Ok(()) }
    })
    .await?;
    for map in ["uid_map", "gid_map"] {
        std::fs::write(format!("/proc/{pid}/{map}"), "0 0 65536")
            .with_context(|| format!("writing {map}"))?;
    }
    let script = format!(
        "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --reuid {USER} --regid {USER} --clear-groups -- \
         {} --once",
        inside.programs().join("caracal-lab").display()
    );
    let output = Command::new("nsenter")
        .args(["--user", &format!("--target={pid}"), "--setuid", "0", "--setgid", "0", "sh", "-c", &script])
        .env_remove(sandbox::MARK)
        .output();
    let output = tokio::time::timeout(LONG, output).await.context("the lab does not end")??;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "a lab came up where none could");
    ensure!(
        said.contains("user.max_user_namespaces=10000") && said.contains("or start the lab as root"),
        "{said}"
    );
    ensure!(said.lines().count() == 1, "more than one line: {said}");
    holder.kill().await.context("ending the holder of the namespace")
}
