//! What can go wrong with the journal.

use std::path::PathBuf;
use std::sync::Arc;

/// Why the journal could not be opened, read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has it open.
    #[error(
        "journal {} is in use by another process: two agents must never run on one node; stop the other one (it is \
         found with: fuser {})", .path.display(), .path.display()
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file system refuses.
    #[error("{doing} {} failed: {cause}", .path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: Arc<std::io::Error>,
    },
    /// The store refuses.
    #[error("{doing} in journal {} failed: {cause}", .path.display())]
    Store {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the store said.
        cause: Arc<redb::Error>,
    },
    /// A record could not be turned into text.
    #[error("record {key} could not be written as JSON: {cause}")]
    Encode {
        /// Its key.
        key: String,
        /// What was wrong.
        cause: Arc<serde_json::Error>,
    },
    /// The journal's thread has ended.
    #[error("the journal has stopped; what was asked of it was not kept")]
    Stopped,
}
