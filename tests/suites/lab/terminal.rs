//! `caracal-lab` as people use it: its options, its JSON, its verbs from another terminal, its words when something is
//! wrong. The labs here are started inside the case's own sandbox.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Sandbox, sandbox};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
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

/// Types a line into `cargo lab shell`, and leaves; gives what was said.
async fn in_a_shell(inside: &Sandbox, lab: &str, target: &str, line: &str) -> anyhow::Result<String> {
    let mut child = Command::new(inside.programs().join("caracal-lab"))
        .args(["shell", "--name", lab, target])
        .env_remove(sandbox::MARK)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().context("the shell has no standard input")?;
    stdin.write_all(format!("{line}\nexit\n").as_bytes()).await?;
    let output =
        tokio::time::timeout(SOON, child.wait_with_output()).await.context("the shell does not end")??;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
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

pub(crate) async fn its_words_fit_100_columns_and_have_no_colours_in_a_pipe(
    inside: Sandbox,
) -> anyhow::Result<()> {
    for words in [["--once", "--nodes=4"].as_slice(), &["--once", "--nodes=8", "--pods=2", "--tor"]] {
        let (code, out, err) = run(&inside, words).await?;
        ensure!(code == 0, "exit code {code}: {out}{err}");
        let wide: Vec<&str> = out.lines().filter(|line| line.chars().count() > 100).collect();
        ensure!(wide.is_empty(), "lines of more than 100 columns:\n{}", wide.join("\n"));
        ensure!(!out.contains('\x1b'), "colours in a pipe: {out}");
        for part in ["tor0 (caracal", "✓ agents: ", "Pings from row to column", "the lab worked"] {
            ensure!(out.contains(part), "no `{part}` in\n{out}");
        }
    }
    Ok(())
}

pub(crate) async fn ipip_is_used_where_the_kernel_has_it_and_refused_with_the_ways_out_elsewhere(
    inside: Sandbox,
) -> anyhow::Result<()> {
    let device = ["link", "add", "probe", "type", "ipip", "local", "127.0.0.1", "remote", "127.0.0.2"];
    let exists = Command::new("ip").args(device).output().await?.status.success();
    let (code, out, err) = run(&inside, &["--once", "--encap", "ipip", "--pods", "1"]).await?;
    if exists {
        ensure!(code == 0 && out.contains("dev tunl0"), "exit code {code}: {out}{err}");
    } else {
        ensure!(code == 1, "exit code {code}: {out}");
        for way in ["modprobe ipip", "--encap vxlan", "cargo lab --vm"] {
            ensure!(err.contains(way), "no word of `{way}`: {err}");
        }
    }
    Ok(())
}

pub(crate) async fn what_cannot_work_is_refused_in_one_line_before_anything_is_made(
    inside: Sandbox,
) -> anyhow::Result<()> {
    for (words, told) in [
        ("--encap never", "--encap: `never` needs routers that know"),
        ("--reflectors 5", "--reflectors: 1 to 4 of the 4 nodes can reflect, not 5"),
        ("--racks 3 --nodes 2", "every rack needs a node"),
        ("--topology /nowhere.toml", "reading the topology /nowhere.toml: No such file"),
    ] {
        let words: Vec<&str> = words.split_whitespace().chain(["--once"]).collect();
        let (code, out, err) = run(&inside, &words).await?;
        ensure!(code == 1 && err.contains(told) && out.is_empty(), "{words:?}: exit code {code}: {out}{err}");
        ensure!(err.lines().count() == 1, "more than one line: {err}");
    }
    Ok(())
}

pub(crate) async fn pods_come_and_go_under_load(inside: Sandbox) -> anyhow::Result<()> {
    let words = ["--once", "--json", "--nodes", "2", "--pods", "1", "--load", "20"];
    let (code, out, err) = run(&inside, &words).await?;
    let document = json(&out)?;
    let load = &document["load"];
    ensure!(code == 0, "exit code {code}: {} {load} {err}", document["failures"]);
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

    let mut follower = Command::new(inside.programs().join("caracal-lab"))
        .args(["logs", "--name", "here", "-f", "-n", "1", "n1"])
        .env_remove(sandbox::MARK)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (code, said, err) = ask("fault --name here n1 kill-agent").await?;
    ensure!(code == 0 && said.contains("as a DaemonSet does"), "{said}{err}");
    wait::until(SOON, "the agent was started again", || async {
        let now = machine(&status().await?, "n1")?;
        let again = now["processes"][0]["restarts"] == 1 && now["sessions"] == serde_json::json!([1, 1]);
        if again { Ok(()) } else { Err(NotYet::because(now.to_string())) }
    })
    .await?;
    read_to(&mut follower, "--- /run/lab/bin/caracal-agent").await.context("following the agent's log")?;
    follower.kill().await?;
    // The kernel tells of a carrier up to a second after the cable was taken or given back.
    for (fault, cabled) in [("cut", false), ("restore", true)] {
        let (code, _, err) = ask(&format!("fault --name here tor0 {fault}")).await?;
        ensure!(code == 0, "{fault}: {err}");
        wait::until(SOON, "the status shows the cable as it is", || async {
            let now = machine(&status().await?, "tor0")?;
            if now["cabled"] == cabled { Ok(()) } else { Err(NotYet::because(now.to_string())) }
        })
        .await?;
    }
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
    let (_, said, _) = ask("exec --name here n1-p1 pwd").await?;
    ensure!(
        said.trim() == std::env::current_dir()?.display().to_string(),
        "a relative path would lead to {said}"
    );
    let said = in_a_shell(&inside, "here", "n2", "cat /etc/machine-id; ip -br address show eth0").await?;
    ensure!(said.contains("172.30.1.12/24"), "{said}");
    let (code, said, err) = ask("kubectl --name here get nodes -o name").await?;
    if code == 0 {
        ensure!(said.contains("node/n1") && said.contains("node/n2"), "{said}");
        let (_, said, _) = ask("kubectl --name here get pods --no-headers").await?;
        ensure!(said.lines().count() > 0 && said.lines().all(|line| line.contains(" 1/1 ")), "{said}");
    } else {
        ensure!(err.contains("kubectl is not installed") && err.contains("kubernetes-client"), "{err}");
    }
    let (code, _, err) = ask("exec --name here n9 true").await?;
    ensure!(code == 1 && err.contains("it has: ") && err.contains("n1-p1"), "{err}");
    Ok(())
}
