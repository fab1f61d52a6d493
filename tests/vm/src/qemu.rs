//! The machine itself: qemu without KVM, which needs nothing of the host and works inside other virtual machines.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::kernel::Kernel;
use crate::share::Share;
use crate::{Failure, tether};

/// The program.
pub const PROGRAM: &str = "/usr/bin/qemu-system-x86_64";

/// The kernel's command line. `norandmaps`: qemu keeps translated code by its address, so without randomised addresses
/// a program starts in a third of the time. The rest leaves out what costs time and protects nobody here.
const KERNEL_LINE: &str = "console=ttyS0 quiet panic=-1 norandmaps init_on_alloc=0 mitigations=off nokaslr apparmor=0 \
                           audit=0 cryptomgr.notests";

/// How large a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Processors. More than one help only work that runs in parallel.
    pub cpus: u8,
    /// Memory in MiB, taken as it is used; it also holds all that is written inside.
    pub memory: u32,
}

/// A running qemu. Dropped, it is killed.
#[derive(Debug)]
pub struct Qemu {
    child: Child,
    console: File,
    words: File,
}

impl Qemu {
    /// Starts it; call it from the main thread (see [`tether`]). Gives the host's end of the virtio port too.
    pub fn start(
        kernel: &Kernel,
        initrd: &File,
        shares: &[Share],
        capacity: Capacity,
    ) -> Result<(Self, UnixStream), Failure> {
        let (console, words) = (memory_file("console")?, memory_file("qemu")?);
        let (ours, theirs) =
            UnixStream::pair().map_err(Failure::io("making a line to the virtual machine"))?;
        let mut command = tether::command(PROGRAM);
        let Capacity { cpus, memory } = capacity;
        command.args(["-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", "max"]);
        command.args(["-smp", &cpus.to_string(), "-m", &memory.to_string()]);
        command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
        command.arg("-kernel").arg(&kernel.image);
        command.args(["-initrd", &path_of(initrd)?, "-append", KERNEL_LINE]);
        // Virtiofs wants memory that another process can see.
        command.args(["-object", &format!("memory-backend-memfd,id=memory,size={memory}M,share=on")]);
        command.args(["-numa", "node,memdev=memory", "-device", "virtio-rng-pci"]);
        for (number, share) in shares.iter().enumerate() {
            let tag = if number == 0 { "root".to_owned() } else { format!("share{}", number - 1) };
            let descriptor = tether::pass_on(&share.stream)?;
            command.args(["-chardev", &format!("socket,id={tag},fd={descriptor}")]);
            command.args(["-device", &format!("vhost-user-fs-pci,chardev={tag},tag={tag}")]);
        }
        command.args(["-chardev", &format!("file,id=console,path={}", path_of(&console)?)]);
        command.args(["-serial", "chardev:console", "-device", "virtio-serial"]);
        command.args(["-chardev", &format!("socket,id=control,fd={}", tether::pass_on(&theirs)?)]);
        command.args(["-device", "virtserialport,chardev=control,name=control"]);
        let log = words.try_clone().map_err(Failure::io("opening qemu's log twice"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(Failure::io("starting qemu"))?;
        Ok((Self { child, console, words }, ours))
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Result<Option<String>, Failure> {
        let status = self.child.try_wait().map_err(Failure::io("waiting for qemu"))?;
        Ok(status.map(|status| format!("qemu: {status}")))
    }

    /// The last lines of its console and of its own errors.
    pub fn last_words(&mut self) -> String {
        const LINES: usize = 25;
        let mut text = String::new();
        for file in [&mut self.console, &mut self.words] {
            let mut bytes = Vec::new();
            // Whatever can be read is better than nothing.
            file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut bytes)).ok();
            let all = String::from_utf8_lossy(&bytes).replace('\r', "");
            let lines: Vec<&str> = all.lines().filter(|line| !line.trim().is_empty()).collect();
            for line in &lines[lines.len().saturating_sub(LINES)..] {
                text.push_str(&format!("  {line}\n"));
            }
        }
        if text.is_empty() { "  (nothing)".into() } else { text.trim_end().to_owned() }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It holds nothing that would have to be saved.
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}

fn memory_file(name: &str) -> Result<File, Failure> {
    let doing = format!("making a memory file for {name}");
    Ok(File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC).map_err(Failure::os(doing))?))
}

/// A path under which the child can open a descriptor that it inherits.
fn path_of(file: &File) -> Result<String, Failure> {
    tether::pass_on(file)?;
    Ok(format!("/proc/self/fd/{}", file.as_raw_fd()))
}
