//! Short commands, run to their end with a deadline.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Longer than any command of the lab takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a command said.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command, for messages.
    pub line: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// The standard output, or an error with what it complained of.
    pub fn success(self) -> anyhow::Result<String> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        let said = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        bail!("`{}`: {}: {}", self.line, self.status, said.trim());
    }
}

/// Runs a command to its end; its exit code is in the answer.
pub async fn run(command: &mut Command) -> anyhow::Result<Output> {
    run_with(command, &[]).await
}

/// The same, feeding it `input`.
pub async fn run_with(command: &mut Command, input: &[u8]) -> anyhow::Result<Output> {
    run_within(command, input, PATIENCE).await
}

/// The same for one that may take so long.
pub async fn run_within(command: &mut Command, input: &[u8], patience: Duration) -> anyhow::Result<Output> {
    let line = describe(command);
    command
        .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("starting `{line}`"))?;
    let work = async {
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read its input says why by its exit code.
            stdin.write_all(input).await.ok();
        }
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(patience, work)
        .await
        .with_context(|| format!("`{line}` did not end within {} s", patience.as_secs()))?
        .with_context(|| format!("waiting for `{line}`"))?;
    Ok(Output {
        line,
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs lines of `ip -batch`, in the fabric or in a namespace; all of them or an error.
pub async fn ip_batch(netns: Option<&str>, lines: &str) -> anyhow::Result<()> {
    let mut command = Command::new("ip");
    if let Some(netns) = netns {
        command.args(["-n", netns]);
    }
    command.args(["-batch", "-"]);
    let output = run_with(&mut command, lines.as_bytes()).await?;
    if output.status.success() {
        return Ok(());
    }
    let said = output.stderr.trim().to_owned();
    if said.contains("Unknown device type") || said.contains("not supported") {
        bail!(
            "the kernel lacks a kind of device that the lab needs ({said}): load it with \
             `modprobe -a bridge veth`, or use a kernel that has CONFIG_BRIDGE and CONFIG_VETH"
        );
    }
    bail!("building the lab's network with `ip`: {said}; asked for:\n{lines}");
}

/// A command as one would type it, without the ways into a namespace.
fn describe(command: &Command) -> String {
    let command = command.as_std();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn input_is_fed_and_output_read() {
        let output = run_with(&mut Command::new("cat"), b"hello").await.unwrap();
        assert_eq!(output.success().unwrap(), "hello");
    }

    #[tokio::test]
    async fn a_failure_tells_the_command_and_its_words() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such thing >&2; exit 3"]);
        let error = run(&mut command).await.unwrap().success().unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("no such thing"), "{error}");
    }
}
