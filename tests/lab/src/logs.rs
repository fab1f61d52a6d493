//! Reading the logs of a running lab from another terminal.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::process;
use crate::sandbox::{self, STATE};

/// Between two looks at a log that is followed.
const PAUSE: Duration = Duration::from_millis(200);

/// The names of all logs of a running lab, with their sizes in bytes.
pub fn list(lab: &str) -> anyhow::Result<Vec<(String, u64)>> {
    let folder = folder(lab)?;
    let reading = || format!("reading {}: does the lab belong to another user?", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        let name = entry.file_name().to_string_lossy().trim_end_matches(".log").to_owned();
        found.push((name, entry.metadata().with_context(reading)?.len()));
    }
    found.sort();
    Ok(found)
}

/// Writes the last lines of one log, or all of them; then, if it is to be followed, what is added until the lab ends.
pub fn show(
    lab: &str,
    name: &str,
    lines: Option<usize>,
    follow: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let all = list(lab)?;
    let name = choose(name, all.iter().map(|(name, _)| name.as_str()))?;
    let path = folder(lab)?.join(format!("{name}.log"));
    let mut file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
    if let Some(lines) = lines {
        out.write_all(process::tail(&path, lines).as_bytes())?;
        out.write_all(b"\n")?;
        file.seek(SeekFrom::End(0)).with_context(|| format!("seeking in {}", path.display()))?;
    }
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer) {
            // The lab's files go with it, but not while they are open: its process tells.
            Ok(0) if !follow || sandbox::find(lab).is_err() => return Ok(()),
            Ok(0) => std::thread::sleep(PAUSE),
            Ok(length) => {
                let written = out.write_all(&buffer[..length]).and_then(|()| out.flush());
                match written {
                    // A reader that has seen enough (`| head`).
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                    written => written.context("writing the log")?,
                }
            }
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }
}

fn folder(lab: &str) -> anyhow::Result<PathBuf> {
    let found = sandbox::find(lab)?;
    Ok(Path::new(&format!("/proc/{}/root{STATE}", found.inner)).join("logs"))
}

/// The log that is meant: by its whole name, or by the machine's if that has one program.
fn choose<'a>(asked: &str, names: impl Iterator<Item = &'a str>) -> anyhow::Result<String> {
    let names: Vec<&str> = names.collect();
    if names.contains(&asked) {
        return Ok(asked.to_owned());
    }
    let of_machine: Vec<&&str> = names
        .iter()
        .filter(|name| name.strip_prefix(asked).is_some_and(|rest| rest.starts_with('-')))
        .collect();
    match of_machine.as_slice() {
        [one] => Ok((**one).to_owned()),
        [] => bail!("the lab has no process `{asked}`; it has: {}", names.join(", ")),
        several => {
            let several: Vec<&str> = several.iter().map(|name| **name).collect();
            bail!("{asked} has several processes: say one of {}", several.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_stands_for_its_only_program() {
        let names = ["apiserver", "n1-agent", "n10-agent", "tor0-bgpd", "tor0-zebra"];
        let choose = |asked: &str| choose(asked, names.into_iter()).map_err(|error| error.to_string());
        assert_eq!(choose("apiserver").unwrap(), "apiserver");
        assert_eq!(choose("n1").unwrap(), "n1-agent");
        assert_eq!(
            choose("tor0").unwrap_err(),
            "tor0 has several processes: say one of tor0-bgpd, tor0-zebra"
        );
        assert!(choose("n2").unwrap_err().contains("it has: apiserver, n1-agent"));
    }
}
