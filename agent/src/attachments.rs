//! One record per attachment, on disk: what this node has promised to whom.
//!
//! An address is in use exactly as long as its attachment's record is here; the API objects only follow. So ADD, DEL,
//! CHECK and GC work without the API server, also after a restart of the agent. Tunnel addresses are records too.
//! The same file keeps what allocation needs to go on after a restart: who this owner is, and which blocks it owns.

mod attachment;
mod error;
mod journal;
mod machine;
mod recover;
mod store;

pub use attachment::{Address, Attachment, AttachmentKey, Extras, Phase, PodRef};
pub use error::JournalError;
pub use journal::Journal;
pub use machine::{boot_id, machine_id};
pub use recover::{Damage, Recovered};
