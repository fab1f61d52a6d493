//! Faults on demand. Processes are killed by their own handles ([`crate::Process::kill`]).

use crate::control::Control;
use crate::node::Node;

/// Something with a cable.
pub trait Cabled {
    /// The machine whose cable it is.
    fn machine(&self) -> &crate::machine::Machine;
}

impl Cabled for Node {
    fn machine(&self) -> &crate::machine::Machine {
        Self::machine(self)
    }
}

impl Cabled for Control {
    fn machine(&self) -> &crate::machine::Machine {
        Self::machine(self)
    }
}

/// Takes the cable out of the rack's switch: the machine loses carrier and reaches nobody.
pub async fn partition(who: &impl Cabled) -> anyhow::Result<()> {
    who.machine().set_ports("down").await
}

/// Puts the cable back.
pub async fn restore(who: &impl Cabled) -> anyhow::Result<()> {
    who.machine().set_ports("up").await
}
