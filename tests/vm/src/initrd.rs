//! The first files of the machine: a script, the busybox that reads it, and the modules that reach this machine's
//! files. The format is cpio's "newc", which the kernel unpacks into its first file system.

use std::fs;
use std::io::Write;
use std::path::Path;

use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;

use crate::Failure;
use crate::kernel::Kernel;

/// Statically linked, since nothing else is there at first.
pub const BUSYBOX: &str = "/bin/busybox";

/// The first program inside. `settings` is written for each machine.
///
/// The overlay is moved onto `/` by `switch_root`: in a bare chroot the kernel refuses user namespaces.
const INIT: &str = r#"#!/busybox sh
/busybox --install -s /bin; export PATH=/bin; . /settings
fail() { echo "caracal-vm: $*"; exit 1; }
mount -t proc proc /proc && mount -t sysfs sys /sys && mount -t devtmpfs dev /dev || fail "no proc, sysfs or devtmpfs"
for m in /modules/*; do insmod "$m" || fail "module $m"; done
mount -t virtiofs -o ro root /low || fail "the root folder of the host cannot be mounted"
mount -t tmpfs -o size=90%,mode=755 up /up; mkdir /up/upper /up/work
mount -t overlay -o lowerdir=/low,upperdir=/up/upper,workdir=/up/work overlay /new || fail "no overlay"
mount -t tmpfs -o mode=755 run /new/run
mkdir -p /new/lib/modules /new/run/netns /new/run/lock /new/proc /new/sys /new/dev /new/tmp
mount -o bind "/low$modules" /new/lib/modules || fail "no modules"
n=0; for s in $shares; do mkdir -p "/new$s"; mount -t virtiofs "share$n" "/new$s" || fail "share $s"; n=$((n+1)); done
hostname "$hostname"; ifconfig lo 127.0.0.1 up
mkdir -p /dev/pts /dev/shm /dev/net /sys/fs/cgroup; [ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
for l in fd: stdin:/0 stdout:/1 stderr:/2; do ln -sf "/proc/self/fd${l#*:}" "/dev/${l%:*}"; done
mount -t devpts -o ptmxmode=666 pts /dev/pts; mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup /sys/fs/cgroup; mount -t bpf bpf /sys/fs/bpf 2>/dev/null
for d in dev proc sys; do mount -o move /$d /new/$d; done
exec switch_root /new "$program" guest
"#;

/// What differs from machine to machine.
#[derive(Debug)]
pub struct Settings<'a> {
    /// This program, as process 1 of the guest.
    pub program: &'a Path,
    /// Its host name.
    pub hostname: &'a str,
    /// Folders that it may really write.
    pub shares: &'a [String],
}

/// Builds the archive in a memory file.
pub fn build(kernel: &Kernel, settings: &Settings<'_>) -> Result<File, Failure> {
    let mut archive = Archive::default();
    for folder in ["bin", "proc", "sys", "dev", "low", "up", "new", "modules"] {
        archive.folder(folder);
    }
    archive.file("busybox", 0o755, &load(Path::new(BUSYBOX))?);
    archive.file("init", 0o755, INIT.as_bytes());
    for (number, path) in kernel.first.iter().enumerate() {
        let name = path.file_name().unwrap_or_default().display();
        archive.file(&format!("modules/{number:02}-{name}"), 0o644, &load(path)?);
    }
    archive.file("settings", 0o644, text(kernel, settings)?.as_bytes());
    let bytes = archive.finish();
    let doing = "making a memory file for the first files of the virtual machine";
    let file = memfd_create("initrd", MFdFlags::MFD_CLOEXEC).map_err(Failure::os(doing))?;
    let mut file = File::from(file);
    file.write_all(&bytes).map_err(Failure::io(doing))?;
    Ok(file)
}

fn load(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(Failure::io(format!("reading {}", path.display())))
}

fn text(kernel: &Kernel, settings: &Settings<'_>) -> Result<String, Failure> {
    let utf8 = |path: &Path| path.to_str().map(str::to_owned).ok_or_else(|| Failure::Path(path.into()));
    // Split at white space by the script.
    if let Some(odd) = settings.shares.iter().find(|share| share.contains(char::is_whitespace)) {
        return Err(Failure::Refused(format!(
            "a shared folder must have no white space in its path: `{odd}`"
        )));
    }
    Ok(format!(
        "program={}\nhostname={}\nmodules={}\nshares={}\n",
        quoted(&utf8(settings.program)?),
        quoted(settings.hostname),
        quoted(&utf8(&kernel.modules)?),
        quoted(&settings.shares.join(" ")),
    ))
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A "newc" archive as it grows.
#[derive(Debug, Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn folder(&mut self, name: &str) {
        self.entry(name, 0o040_755, &[]);
    }

    fn file(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entry(name, 0o100_000 | mode, content);
    }

    /// The header: a magic number and 13 numbers of eight hexadecimal digits; name and content follow, each padded to
    /// four bytes.
    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let name_size = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        self.bytes.extend(b"070701");
        for number in [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0] {
            self.bytes.extend(format!("{number:08x}").as_bytes());
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_header_a_name_and_a_content_each_padded() {
        let mut archive = Archive::default();
        archive.file("ab", 0o644, b"12345");
        let bytes = archive.finish();
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[14..22], b"000081a4");
        assert_eq!(&bytes[54..62], b"00000005");
        assert_eq!(&bytes[94..102], b"00000003");
        assert_eq!(&bytes[110..113], b"ab\0");
        assert_eq!(&bytes[116..121], b"12345");
        assert_eq!(&bytes[124..130], b"070701");
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn a_word_of_the_settings_stays_one_word() {
        assert_eq!(quoted("it's here"), r"'it'\''s here'");
    }
}
