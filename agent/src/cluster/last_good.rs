//! The last good state of one kind, on disk, for a start without the API server.
//!
//! One JSON file a kind, root only, replaced atomically. It is a cache: what cannot be read is reported and left out,
//! and what cannot be written is reported and tried again with the next change.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::warn;

use super::snapshot::{Snapshot, key};

/// Where one kind's last good state lies.
#[derive(Clone, Debug)]
pub struct LastGood {
    path: PathBuf,
}

impl LastGood {
    /// The file of a kind in a folder.
    pub fn new(folder: &Path, plural: &str) -> Self {
        Self { path: folder.join(format!("{plural}.json")) }
    }

    /// What was saved, marked as not synced; empty when nothing was, or nothing readable.
    pub fn load<K: Resource + DeserializeOwned>(&self) -> Snapshot<K> {
        let objects: Vec<K> = match self.read() {
            Ok(objects) => objects,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                warn!(file = %self.path.display(), %error, "the last good state cannot be read; starting without");
                Vec::new()
            }
        };
        let items = objects.into_iter().map(|o| (key(&o), Arc::new(o))).collect();
        Snapshot { items, synced: false }
    }

    fn read<K: DeserializeOwned>(&self) -> io::Result<Vec<K>> {
        let text = fs::read(&self.path)?;
        serde_json::from_slice(&text).map_err(io::Error::other)
    }

    /// Saves a snapshot.
    pub fn save<K: Serialize>(&self, snapshot: &Snapshot<K>) {
        let objects: Vec<&K> = snapshot.items.values().map(Arc::as_ref).collect();
        if let Err(error) = self.write(&objects) {
            warn!(file = %self.path.display(), %error, "the last good state cannot be saved");
        }
    }

    fn write<K: Serialize>(&self, objects: &[&K]) -> io::Result<()> {
        let text = serde_json::to_vec(objects).map_err(io::Error::other)?;
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let fresh = self.path.with_extension("json.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(&text)?;
        file.sync_data()?;
        fs::rename(&fresh, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use caracal_api::{NetworkNode, NetworkNodeSpec};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_was_saved_is_loaded_as_not_synced_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let file = LastGood::new(folder.path(), "networknodes");
        let spec =
            NetworkNodeSpec { ipv4: Some("192.0.2.1/24".into()), as_number: 64512, ..Default::default() };
        file.save(&Snapshot::from_iter([NetworkNode::new("n1", spec)]));
        let loaded: Snapshot<NetworkNode> = file.load();
        assert!(!loaded.synced);
        assert_eq!(loaded.get("n1").unwrap().spec.ipv4.as_deref(), Some("192.0.2.1/24"));
        let mode = fs::metadata(folder.path().join("networknodes.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_left_out_not_fatal() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("networknodes.json"), "[{").unwrap();
        let loaded: Snapshot<NetworkNode> = LastGood::new(folder.path(), "networknodes").load();
        assert!(loaded.items.is_empty());
    }
}
