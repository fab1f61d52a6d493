//! The kernel and its modules: looked for in the cache, else fetched from Debian and unpacked there.
//!
//! The package is only downloaded and unpacked, never installed: this machine's own boot files stay what they are.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::{Flock, FlockArg};

use crate::Failure;

/// Where kernels are kept, when it is not `target/vm`.
pub const CACHE: &str = "CARACAL_VM_CACHE";

/// The modules without which the first script cannot reach this machine's files.
const FIRST_MODULES: &[&str] = &["virtio_pci", "virtio_console", "virtiofs", "overlay"];

/// A kernel, unpacked.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// What qemu starts.
    pub image: PathBuf,
    /// What becomes `/lib/modules` inside.
    pub modules: PathBuf,
    /// Modules to insert first, in this order.
    pub first: Vec<PathBuf>,
}

/// The cache folder: of the variable, else beside what cargo built, else among temporary files.
pub fn cache() -> PathBuf {
    if let Some(folder) = std::env::var_os(CACHE) {
        return folder.into();
    }
    let own = std::env::current_exe().unwrap_or_default();
    let target = own.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    target.map_or_else(|| std::env::temp_dir().join("caracal-vm"), |target| target.join("vm"))
}

/// The kernel of the cache; the first time it is fetched, which `say` is told.
pub fn find(cache: &Path, say: &dyn Fn(&str)) -> Result<Kernel, Failure> {
    if std::env::consts::ARCH != "x86_64" {
        return Err(Failure::Processor(std::env::consts::ARCH));
    }
    fs::create_dir_all(cache).map_err(Failure::io(format!("making {}", cache.display())))?;
    let kept = cache.join("kernel");
    if let Some(kernel) = read(&kept) {
        return Ok(kernel);
    }
    // Several runners may start together; one fetches.
    let lock = cache.join("lock");
    let file = File::create(&lock).map_err(Failure::io(format!("making {}", lock.display())))?;
    let _held = Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| Failure::os(format!("locking {}", lock.display()))(errno))?;
    if let Some(kernel) = read(&kept) {
        return Ok(kernel);
    }
    say("fetching Debian's cloud kernel for the virtual machine, once");
    let new = cache.join("new");
    // What a killed runner left: remove both, in case one of them is half there.
    for folder in [&new, &kept] {
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(Failure::io(format!("removing {}", folder.display())))?;
        }
    }
    fetch(&new)?;
    fs::rename(&new, &kept).map_err(Failure::io(format!("naming {}", kept.display())))?;
    read(&kept).ok_or(Failure::OddKernel { package: kept.display().to_string(), what: "kernel" })
}

/// What a complete folder of the cache holds.
fn read(kept: &Path) -> Option<Kernel> {
    let first = fs::read_to_string(kept.join("first")).ok()?;
    let release = fs::read_to_string(kept.join("release")).ok()?;
    Some(Kernel {
        image: kept.join("boot").join(format!("vmlinuz-{release}")),
        modules: kept.join("lib/modules"),
        first: first.lines().map(|path| kept.join(path)).collect(),
    })
}

fn fetch(new: &Path) -> Result<(), Failure> {
    const DOING: &str = "fetching Debian's cloud kernel";
    let make =
        |path: &Path| fs::create_dir_all(path).map_err(Failure::io(format!("making {}", path.display())));
    let download = new.join("download");
    make(&download)?;
    run(DOING, Command::new("apt-get").args(["-q", "-o", "DPkg::Lock::Timeout=300", "update"]))?;
    let depends =
        run(DOING, Command::new("apt-cache").args(["depends", "--important", "linux-image-cloud-amd64"]))?;
    let package = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
        .ok_or(Failure::NoKernelPackage)?
        .to_owned();
    // Its sandbox user cannot write below folders of root.
    run(
        DOING,
        Command::new("apt-get")
            .args(["-q", "-o", "APT::Sandbox::User=root", "download", &package])
            .current_dir(&download),
    )?;
    let odd = |what| Failure::OddKernel { package: package.clone(), what };
    let file = only_entry(&download).ok_or_else(|| odd("file"))?;
    run("unpacking the kernel", Command::new("dpkg-deb").arg("-x").arg(&file).arg(new))?;
    fs::remove_dir_all(&download).map_err(Failure::io(format!("removing {}", download.display())))?;
    let modules = only_entry(&new.join("lib/modules")).ok_or_else(|| odd("folder of modules"))?;
    let release =
        modules.file_name().and_then(|name| name.to_str()).ok_or_else(|| odd("release"))?.to_owned();
    run("indexing the kernel's modules", Command::new("depmod").arg("-b").arg(new).arg(&release))?;
    let first = first_modules(new, &release)?;
    let write = |name: &str, text: &str| {
        let path = new.join(name);
        fs::write(&path, text).map_err(Failure::io(format!("writing {}", path.display())))
    };
    write("first", &first.join("\n"))?;
    write("release", &release)
}

/// The files of [`FIRST_MODULES`] and of what they need, in the order in which to insert them.
fn first_modules(new: &Path, release: &str) -> Result<Vec<String>, Failure> {
    let mut first: Vec<String> = Vec::new();
    for module in FIRST_MODULES {
        let mut modprobe = Command::new("modprobe");
        modprobe.arg("-d").arg(new).args(["-S", release, "--show-depends", module]);
        for line in run("asking which modules the kernel needs first", &mut modprobe)?.lines() {
            // "builtin NAME" lines need nothing.
            let Some(path) = line.strip_prefix("insmod ") else { continue };
            let path = path.trim().split(' ').next().unwrap_or_default();
            let path = Path::new(path).strip_prefix(new).unwrap_or(Path::new(path));
            let path = path.display().to_string();
            if !first.contains(&path) {
                first.push(path);
            }
        }
    }
    Ok(first)
}

fn only_entry(folder: &Path) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).next()
}

/// Runs a program to its end; what it prints.
fn run(doing: &'static str, command: &mut Command) -> Result<String, Failure> {
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.display().to_string())
        .collect();
    let words = words.join(" ");
    command.stdin(Stdio::null()).env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
    let output = command.output().map_err(Failure::io(format!("{doing}: starting `{words}`")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let said =
        said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned();
    Err(Failure::Command { doing, command: words, status: output.status, said })
}

/// The programs of the host that a machine needs, each with the Debian package that brings it.
const PROGRAMS: &[(&str, &str)] = &[
    (crate::qemu::PROGRAM, "qemu-system-x86"),
    (crate::initrd::BUSYBOX, "busybox-static"),
    ("/sbin/modprobe", "kmod"),
    ("/usr/bin/setsid", "util-linux"),
];

/// Refuses with all that is missing at once.
pub fn programs() -> Result<(), Failure> {
    let missing: Vec<_> = PROGRAMS.iter().filter(|(program, _)| !Path::new(program).exists()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = |pick: fn(&(&'static str, &'static str)) -> &'static str| {
        missing.iter().map(|one| pick(one)).collect::<Vec<_>>().join(" ")
    };
    Err(Failure::Missing { programs: list(|one| one.0), packages: list(|one| one.1) })
}
