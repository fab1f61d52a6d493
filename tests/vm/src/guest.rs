//! The guest's end: process 1, which buries orphans, and its one child, which runs the commands.

mod session;

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::Failure;
use crate::frame::Frame;
use session::{Session, Sessions};

/// The hidden verb of process 1.
pub const INIT: &str = "guest";
/// The hidden verb of its child.
pub const ATTENDANT: &str = "guest-attendant";

/// Process 1: starts the attendant, waits for whatever ends, and turns the machine off with it.
pub fn init() -> Failure {
    let outcome = run_attendant();
    println!("caracal-vm: the guest ended: {outcome:?}");
    // "o" is "off". Process 1 must not end before that, or the kernel panics, which ends the machine too.
    if let Err(error) = fs::write("/proc/sysrq-trigger", "o") {
        return Failure::io("turning the virtual machine off")(error);
    }
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn run_attendant() -> Result<(), Failure> {
    if std::process::id() != 1 {
        return Err(Failure::Refused("this verb is for process 1 of the virtual machine".into()));
    }
    let child = Command::new("/proc/self/exe")
        .arg0("caracal-vm")
        .arg(ATTENDANT)
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .spawn()
        .map_err(Failure::io("starting the attendant"))?;
    let attendant = Pid::from_raw(child.id().cast_signed());
    loop {
        match waitpid(None, None) {
            Ok(status) if status.pid() == Some(attendant) => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Failure::os("waiting for the attendant")(errno)),
        }
    }
}

/// The attendant: takes frames from the virtio port and starts what they ask for, until the port breaks.
pub fn attend() -> Result<(), Failure> {
    let path = port()?;
    let doing = || format!("talking to the host through {}", path.display());
    // A port takes one opener; the two threads share it.
    let port = File::options().read(true).write(true).open(&path).map_err(Failure::io(doing()))?;
    let writer = port.try_clone().map_err(Failure::io(doing()))?;
    let (out, outbox) = sync_channel::<(u32, Frame)>(64);
    std::thread::spawn(move || {
        let mut writer = writer;
        // Its end is seen by all who send.
        while let Ok((session, frame)) = outbox.recv() {
            if frame.write(session, &mut writer).is_err() {
                return;
            }
        }
    });
    tell(&out, 0, Frame::Ready);
    let sessions: Sessions = Arc::new(Mutex::new(std::collections::HashMap::new()));
    let mut reader = port;
    while let Some((number, frame)) = Frame::read(&mut reader).map_err(Failure::io(doing()))? {
        if let Frame::Start(start) = frame {
            match Session::start(number, start, &out, &sessions) {
                Ok(session) => drop(lock(&sessions).insert(number, session)),
                Err(words) => tell(&out, number, Frame::Refused(words)),
            }
            continue;
        }
        // One that has just ended is asked for nothing any more.
        if let Some(session) = lock(&sessions).get(&number) {
            session.on(frame);
        }
    }
    Ok(())
}

fn lock(sessions: &Sessions) -> std::sync::MutexGuard<'_, std::collections::HashMap<u32, Session>> {
    sessions.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Queues a frame for the host. When the line is broken the machine ends anyway.
fn tell(out: &SyncSender<(u32, Frame)>, session: u32, frame: Frame) {
    out.send((session, frame)).ok();
}

/// The device of the virtio port named `control`.
fn port() -> Result<PathBuf, Failure> {
    let folder = Path::new("/sys/class/virtio-ports");
    let entries = fs::read_dir(folder).map_err(Failure::io("looking for the line to the host"))?;
    for entry in entries.flatten() {
        let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if name.trim() == "control" {
            return Ok(Path::new("/dev").join(entry.file_name()));
        }
    }
    Err(Failure::Refused(format!("{} has no port named `control`", folder.display())))
}
