//! A mesh whose sessions are signed (TCP-MD5) with what a Secret says, read by agents that may do what `deploy/` allows.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, ensure};
use caracal_api::BgpConfiguration;
use caracal_lab::show::Silent;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, Node, Sandbox, Topology, probe};
use caracal_suites::condition;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);
/// The Secret, and where the agents are.
const NAME: &str = "bgp";
const NAMESPACE: &str = "caracal-system";
const PASSWORDS: [&str; 3] = ["first", "second", "third"];

fn secrets(lab: &Lab) -> Api<Secret> {
    Api::namespaced(lab.cluster().client(), NAMESPACE)
}

async fn say(lab: &Lab, password: &str) -> anyhow::Result<()> {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": NAME}, "stringData": {"mesh": password}
    });
    let params = PatchParams::apply("operator").force();
    secrets(lab).patch(NAME, &params, &Patch::Apply(secret)).await.context("writing the Secret")?;
    Ok(())
}

/// The established sessions of a node as the kernel has them, `here there`, and which of the passwords they are signed with.
async fn signed(node: &Node) -> anyhow::Result<(BTreeSet<String>, Vec<&'static str>)> {
    let words = ["ss", "-Hitn", "state", "established", "( sport = :179 or dport = :179 )"];
    let text = node.netns().exec(&words).await?.success()?;
    // What belongs to a session stands in lines of its own, indented.
    let sessions = text.lines().filter(|line| !line.starts_with([' ', '\t']));
    let ends = |line: &str| line.split_whitespace().skip(2).take(2).collect::<Vec<_>>().join(" ");
    // ss prints the keys themselves before all else, the words around them where they belong.
    let keys = PASSWORDS.iter().copied().filter(|key| text.contains("md5keys:") && text.contains(key));
    Ok((sessions.map(ends).collect(), keys.collect()))
}

/// Waits until both nodes have sessions that are signed with this and nothing else: those of the first node.
async fn are_signed_with(lab: &Lab, password: &str) -> anyhow::Result<BTreeSet<String>> {
    for node in lab.nodes() {
        wait::until(SOON, &format!("{}'s sessions are signed with `{password}`", node.name()), || async {
            let (sessions, keys) = signed(node).await?;
            let up = node.ctl(&["bgp", "peers"]).await?;
            let up =
                up["peers"].as_array().is_some_and(|all| all.iter().any(|one| one["state"] == "Established"));
            let fits = up && !sessions.is_empty() && keys == [password];
            if fits { Ok(()) } else { Err(NotYet::because(format!("{sessions:?} with {keys:?}"))) }
        })
        .await?;
    }
    Ok(signed(&lab.nodes()[0]).await?.0)
}

pub(crate) async fn a_mesh_is_signed_with_what_a_secret_says(sandbox: Sandbox) -> anyhow::Result<()> {
    let lab = Lab::up(sandbox, Topology::one_rack(2, 1), &Silent).await?;
    let (from, to) = (&lab.pods()[0], &lab.pods()[1]);
    let configurations: Api<BgpConfiguration> = Api::all(lab.cluster().client());
    let spec = json!({"spec": {"nodeMeshPassword": {"secretKeyRef": {"name": NAME, "key": "mesh"}}}});
    let patched = configurations.patch("default", &PatchParams::default(), &Patch::Merge(spec)).await;
    patched.context("asking for a password")?;

    // Without the Secret nothing is said in the open, and it is told why.
    for node in lab.nodes() {
        let message = condition::becomes(node, "ConfigurationAccepted", "LeftOut", SOON).await?;
        ensure!(message.contains("Secret caracal-system/bgp"), "{}: {message}", node.name());
        wait::until(SOON, &format!("{} has no session", node.name()), || async {
            let (sessions, _) = signed(node).await?;
            if sessions.is_empty() { Ok(()) } else { Err(NotYet::because(format!("{sessions:?}"))) }
        })
        .await?;
    }

    say(&lab, PASSWORDS[0]).await?;
    let before = are_signed_with(&lab, PASSWORDS[0]).await?;
    for v6 in [false, true] {
        probe::ping(from.netns(), to.address(v6)?).await?;
    }

    // Another one: the connections stand.
    say(&lab, PASSWORDS[1]).await?;
    let after = are_signed_with(&lab, PASSWORDS[1]).await?;
    ensure!(before == after, "sessions were {before:?} and are {after:?}");

    secrets(&lab).delete(NAME, &DeleteParams::default()).await.context("deleting the Secret")?;
    for node in lab.nodes() {
        condition::becomes(node, "ConfigurationAccepted", "LeftOut", SOON).await?;
    }
    say(&lab, PASSWORDS[2]).await?;
    are_signed_with(&lab, PASSWORDS[2]).await?;
    lab.down(&Silent).await
}
