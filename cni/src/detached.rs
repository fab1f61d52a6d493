//! What was detached while no agent answered: a file an attachment, in a folder beside the agent's socket.
//!
//! The plugin cannot free what the agent holds. It says here that the container is gone, the agent reads it when it is back,
//! frees address and record, and removes the file. The folder lies in `/run`: after a reboot nothing of it counts any more, as
//! nothing that was attached lives.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use sha1::{Digest, Sha1};

use crate::name::Alias;

/// The folder, beside the socket.
const FOLDER: &str = "detached";

/// Says that an attachment is over. Without the agent's own folder nothing was attached since the machine was started, and
/// nothing need be said.
pub fn leave(run: &Path, attachment: &Alias) -> io::Result<()> {
    let folder = run.join(FOLDER);
    match fs::create_dir(&folder) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let text = attachment.to_string();
    let name: String = Sha1::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let unfinished = folder.join(format!(".{name}.{}", std::process::id()));
    let mut file = File::create(&unfinished)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&unfinished, folder.join(name))
}

/// What was left, with the file of each: to be removed when it has been done. Files of another kind are passed over.
pub fn left(run: &Path) -> io::Result<Vec<(PathBuf, Alias)>> {
    let entries = match fs::read_dir(run.join(FOLDER)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            // Still being written.
            continue;
        }
        let path = entry.path();
        if let Some(alias) = fs::read_to_string(&path).ok().and_then(|text| text.parse().ok()) {
            all.push((path, alias));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use caracal_linux::object::link::IfName;

    #[test]
    fn what_is_left_is_found_once_for_each_attachment() {
        let run = tempfile::tempdir().unwrap();
        let alias = |container: &str| Alias {
            network: "net".into(),
            container: container.into(),
            interface: IfName::new("eth0").unwrap(),
        };
        for container in ["a", "b", "a"] {
            leave(run.path(), &alias(container)).unwrap();
        }
        fs::write(run.path().join(FOLDER).join("other"), "something else").unwrap();
        let mut found: Vec<String> =
            left(run.path()).unwrap().into_iter().map(|(_, alias)| alias.container).collect();
        found.sort();
        assert_eq!(found, ["a", "b"]);
        for (path, _) in left(run.path()).unwrap() {
            fs::remove_file(path).unwrap();
        }
        assert!(left(run.path()).unwrap().is_empty());
    }

    #[test]
    fn where_no_agent_has_run_nothing_is_said() {
        let run = tempfile::tempdir().unwrap();
        let missing = run.path().join("missing");
        let interface = IfName::new("eth0").unwrap();
        let alias = Alias { network: "n".into(), container: "c".into(), interface };
        leave(&missing, &alias).unwrap();
        assert!(!missing.exists() && left(&missing).unwrap().is_empty());
    }
}
