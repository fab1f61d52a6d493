//! A small virtual machine with a stock Debian kernel, for what the kernel of this machine lacks (`ipip` above all).
//!
//! `caracal-vm run -- COMMAND` boots Debian's unchanged cloud kernel in qemu without KVM, which works everywhere and is
//! up in about two seconds, runs the command inside, shows its output as it comes, and exits as it exits.
//!
//! Inside are this machine's own files, through virtiofs, read-only below an overlay in memory: what was built outside
//! runs inside, everything can be written, and nothing of it comes back, except in folders that are shared on purpose.
//! `/run` is empty, there is no network but the loopback device, kernel modules load on demand.
//!
//! | module | purpose |
//! |---|---|
//! | [`kernel`] | finds or fetches the kernel and its modules |
//! | [`initrd`] | the first files of the machine: modules to reach the others, and the first script |
//! | [`share`] | folders of this machine, served to the guest |
//! | [`qemu`] | the machine itself |
//! | [`tether`] | no process outlives the runner, whatever the runner dies of |
//! | [`frame`] | what host and guest say to each other over one virtio port |
//! | [`switchboard`], [`client`] | the host's end: many commands in one machine, from several terminals |
//! | [`guest`] | the guest's end: process 1, and the commands |
//! | [`machine`] | all of it together |
//!
//! Nothing is left behind: machine and file servers are tethered to the runner, sockets are nameless or abstract, what
//! qemu wants as files are memory files. Only the kernel is kept, in `target/vm`.
//!
//! Everything is threads and blocking calls: the few streams there are do not need more, and a virtio port or a
//! terminal is not what asynchronous runtimes expect (a short read does not mean that it is empty).

pub mod client;
pub mod frame;
pub mod guest;
pub mod initrd;
pub mod kernel;
pub mod machine;
pub mod name;
pub mod qemu;
pub mod share;
pub mod switchboard;
pub mod terminal;
pub mod tether;

mod failure;
mod window;

pub use failure::Failure;

/// Set in the environment of every command inside.
pub const INSIDE: &str = "CARACAL_VM";
/// Exit code of the runner when the command never came to run, as with `timeout` and `env`.
pub const NOT_RUN: u8 = 125;
/// Exit code of the runner when the command's time was over.
pub const OUT_OF_TIME: u8 = 124;
