//! What is measured: how each is configured and started, as a good operator would do it for this load.

mod bird;
mod caracal;
mod frr;
mod gobgp;
mod openbgpd;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::generator::family::Family;
use crate::load::{Client, PORT};
use crate::place;
use crate::report::{CEILING, OURS};

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// Its name in tables.
    pub(crate) name: &'static str,
    /// What is executed.
    program: PathBuf,
    /// Writes its configuration into a folder and gives the words that start it.
    pub(crate) prepare: fn(&Subject, &Path, &[Client]) -> anyhow::Result<Vec<String>>,
    /// Its version.
    pub(crate) version: fn(&Subject) -> anyhow::Result<String>,
}

/// The subject of a name.
pub(crate) fn named(name: &str, daemon: Option<&Path>) -> anyhow::Result<Subject> {
    let own = std::env::current_exe().context("asking for this program's path")?;
    let beside = own.with_file_name("caracal-bgpd");
    let subject = match name {
        CEILING => Subject {
            name: CEILING,
            program: own,
            prepare: relay,
            version: |_| Ok("(the ceiling)".to_owned()),
        },
        OURS => {
            let program = daemon.map_or(beside, Path::to_owned);
            Subject { name: OURS, program, prepare: caracal::prepare, version: caracal::version }
        }
        "bird" => Subject {
            name: "bird",
            program: "/usr/sbin/bird".into(),
            prepare: bird::prepare,
            version: |_| debian("bird2"),
        },
        "frr" => Subject {
            name: "frr",
            program: "/usr/lib/frr/bgpd".into(),
            prepare: frr::prepare,
            version: |_| debian("frr"),
        },
        "gobgp" => Subject {
            name: "gobgp",
            program: "/usr/bin/gobgpd".into(),
            prepare: gobgp::prepare,
            version: |_| debian("gobgpd"),
        },
        "openbgpd" => Subject {
            name: "openbgpd",
            program: "/usr/sbin/bgpd".into(),
            prepare: openbgpd::prepare,
            version: |_| debian("openbgpd"),
        },
        other => {
            bail!("there is no subject `{other}`: relay, caracal, bird, frr, gobgp and openbgpd are there")
        }
    };
    ensure!(
        subject.program.exists(),
        "{name} cannot be measured: there is no {}. Install its Debian package, or leave it out with --subjects",
        subject.program.display()
    );
    Ok(subject)
}

impl Subject {
    /// The program and its arguments.
    pub(crate) fn words(&self, arguments: &[&str]) -> Vec<String> {
        let program = self.program.display().to_string();
        std::iter::once(program).chain(arguments.iter().map(|one| (*one).to_owned())).collect()
    }
}

fn relay(subject: &Subject, _: &Path, clients: &[Client]) -> anyhow::Result<Vec<String>> {
    let listen = SocketAddr::new(place::subject(family(clients)), PORT);
    Ok(subject.words(&["relay", &listen.to_string()]))
}

/// What the peers announce, all of them the same.
fn family(clients: &[Client]) -> Family {
    clients.first().map_or(Family::V4, Client::family)
}

/// Writes a file that its owner alone can read: some daemons insist. Its path.
pub(crate) fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<String> {
    let path = folder.join(name);
    std::fs::write(&path, text)
        .and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)))
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(path.display().to_string())
}

/// The version of a Debian package.
fn debian(package: &str) -> anyhow::Result<String> {
    let output = Command::new("dpkg-query").args(["-W", "-f", "${Version}", package]).output();
    let output = output.context("asking dpkg-query for a version")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
