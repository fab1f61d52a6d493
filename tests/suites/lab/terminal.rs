//! `caracal-lab` as people use it: its options, its JSON, its verbs from another terminal, its words when something is
//! wrong. The labs here are started inside the case's own sandbox.

use std::time::Duration;

use anyhow::{Context, ensure};
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Sandbox, sandbox};
use serde_json::Value;
use tokio::process::Command;

use crate::sandbox::{lab_with, read_to};

const SOON: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(120);

/// Runs `caracal-lab` to its end: exit code, standard output, standard error.
async fn run(inside: &Sandbox, words: &[&str]) -> anyhow::Result<(i32, String, String)> {
    let mut command = Command::new(inside.programs().join("caracal-lab"));
    command.args(words).env_remove(sandbox::MARK).kill_on_drop(true);
    let output = tokio::time::timeout(LONG, command.output())
        .await
        .with_context(|| format!("`caracal-lab {}` does not end", words.join(" ")))??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr)))
}

fn json(text: &str) -> anyhow::Result<Value> {
    serde_json::from_str(text).with_context(|| format!("reading JSON: {text}"))
}

pub(crate) async fn a_topology_is_read_from_a_file(inside: Sandbox) -> anyhow::Result<()> {
    let file = inside.state().join("topology.toml");
    let text = "pods-per-node = 1\nfamilies = \"v4\"\nencapsulation = \"vxlan\"\n\
        [[rack]]\nname = \"left\"\nnodes = [\"alpha\"]\n[[rack]]\nname = \"right\"\nnodes = [\"beta\"]\n\
        [[pool]]\nname = \"small\"\ncidr = \"10.77.0.0/24\"\nblock-size = 28\nnat-outgoing = false\n";
    std::fs::write(&file, text)?;
    let path = file.display().to_string();
    let (code, out, err) = run(&inside, &["--once", "--json", "--topology", &path]).await?;
    ensure!(code == 0, "exit code {code}: {err}");
    let document = json(&out)?;
    ensure!(document["good"] == true, "{out}");
    let nodes = document["report"]["nodes"].as_array().context("no nodes")?;
    let names: Vec<&str> = nodes.iter().filter_map(|node| node["node"].as_str()).collect();
    ensure!(names == ["alpha", "alpha", "beta", "beta"], "nodes and pods: {names:?}");
    let blocks = document["report"]["blocks"].as_array().context("no blocks")?;
    ensure!(
        blocks.iter().all(|block| block["cidr"].as_str().is_some_and(|cidr| cidr.ends_with("/28"))),
        "{blocks:?}"
    );

    std::fs::write(&file, text.replace("nodes = [\"beta\"]", "nods = 1"))?;
    let (code, _, err) = run(&inside, &["--once", "--topology", &path]).await?;
    ensure!(code == 1 && err.contains("line 9") && err.contains("`nods`"), "{code}: {err}");
    ensure!(err.lines().count() == 1, "more than one line: {err}");
    Ok(())
}

pub(crate) async fn pods_come_and_go_under_load(inside: Sandbox) -> anyhow::Result<()> {
    let words = ["--once", "--json", "--nodes", "2", "--pods", "1", "--load", "20"];
    let (code, out, err) = run(&inside, &words).await?;
    ensure!(code == 0, "exit code {code}: {err}");
    let load = &json(&out)?["load"];
    let count = |field: &str| load[field].as_u64().with_context(|| format!("no {field} in {load}"));
    ensure!(count("failed")? == 0 && count("live")? == 0, "{load}");
    // Ten seconds at 20 a second; a busy machine may fall behind.
    ensure!(count("added")? >= 20 && count("added")? == count("deleted")?, "{load}");
    Ok(())
}

pub(crate) async fn a_running_lab_is_asked_and_disturbed_from_another_terminal(
    inside: Sandbox,
) -> anyhow::Result<()> {
    let (_, _, err) = run(&inside, &["status", "--name", "here"]).await?;
    ensure!(err.contains("no lab named `here`"), "{err}");
    let mut child = lab_with(&inside, "here", &["--nodes", "2", "--pods", "1"])?;
    read_to(&mut child, "The lab is up").await?;
    let ask = async |words: &str| {
        let words: Vec<&str> = words.split_whitespace().collect();
        run(&inside, &words).await
    };
    let status = async || json(&ask("status --name here --json").await?.1);
    let machine = |status: &Value, name: &str| {
        let machines = status["machines"].as_array().cloned().unwrap_or_default();
        machines
            .into_iter()
            .find(|machine| machine["name"] == name)
            .with_context(|| format!("no {name} in {status}"))
    };

    let before = machine(&status().await?, "n1")?;
    ensure!(before["cabled"] == true && before["sessions"] == serde_json::json!([1, 1]), "{before}");
    ensure!(before["processes"][0]["restarts"] == 0 && before["pods"] == 1, "{before}");

    let (code, said, err) = ask("fault --name here n1 kill-agent").await?;
    ensure!(code == 0 && said.contains("as a DaemonSet does"), "{said}{err}");
    wait::until(SOON, "the agent was started again", || async {
        let now = machine(&status().await?, "n1")?;
        let again = now["processes"][0]["restarts"] == 1 && now["sessions"] == serde_json::json!([1, 1]);
        if again { Ok(()) } else { Err(NotYet::because(now.to_string())) }
    })
    .await?;
    let (code, ..) = ask("fault --name here tor0 cut").await?;
    ensure!(code == 0 && machine(&status().await?, "tor0")?["cabled"] == false, "the cut is not seen");
    let (code, ..) = ask("fault --name here tor0 restore").await?;
    ensure!(code == 0 && machine(&status().await?, "tor0")?["cabled"] == true, "the restore is not seen");
    let (code, _, err) = ask("fault --name here n1 api-down").await?;
    ensure!(code == 1 && err.contains("these can: kill-agent"), "{err}");

    let (_, said, _) = ask("logs --name here n1").await?;
    ensure!(said.matches("--- /run/lab/bin/caracal-agent").count() == 2, "two lives expected: {said}");
    let (_, said, _) = ask("logs --name here").await?;
    ensure!(said.contains("apiserver") && said.contains("tor1-bgpd"), "{said}");
    let (_, said, _) = ask("exec --name here outside ip -br address").await?;
    ensure!(said.contains("172.29.0.100/24"), "{said}");
    let (_, said, err) = ask("exec --name here tor0 caracalctl bgp peers").await?;
    ensure!(said.contains("tor1"), "{said}{err}");
    let (_, said, _) = ask("exec --name here control printenv KUBECONFIG").await?;
    ensure!(said.trim() == "/run/lab/kubeconfig", "{said}");
    let (code, _, err) = ask("exec --name here n9 true").await?;
    ensure!(code == 1 && err.contains("it has: ") && err.contains("n1-p1"), "{err}");
    Ok(())
}
