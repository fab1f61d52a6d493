//! Starting from what a restart finds: the journal's records, and the blocks as they were last.

use crate::want::{Allocation, Attributes, Handle};

/// An address that is in use, as the journal has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Who holds it.
    pub handle: Handle,
    /// The address.
    pub allocation: Allocation,
    /// Who it is for.
    pub attributes: Attributes,
}

/// Whether the journal's records are all that was ever promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JournalTrust {
    /// They are: what the block's object has beyond them was released, only not published yet.
    Whole,
    /// The journal is new, or was damaged: what the block's object has is in use too, and what it does not have may be.
    Lost,
}
