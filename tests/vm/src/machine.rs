//! A machine from its start to its end.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::frame::Start;
use crate::initrd::Settings;
use crate::qemu::{Capacity, Qemu};
use crate::share::{Caching, Share};
use crate::switchboard::Switchboard;
use crate::{Failure, client, initrd, kernel, name};

/// For the kernel to come up and the guest to say so, on a busy machine.
const BOOT: Duration = Duration::from_secs(90);

/// What a machine is to be.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its size.
    pub capacity: Capacity,
    /// Under which others find it; none, nobody does.
    pub name: Option<String>,
    /// Folders that it may really write, at the same path inside.
    pub shares: Vec<PathBuf>,
    /// The cache of kernels.
    pub cache: PathBuf,
}

/// A running machine. Dropped, all of it ends.
#[derive(Debug)]
pub struct Machine {
    qemu: Qemu,
    _shares: Vec<Share>,
    board: Switchboard,
    line: Receiver<()>,
    booted: Duration,
}

impl Machine {
    /// Boots it; call it from the main thread, which is the one that its processes are tethered to.
    pub fn boot(plan: &Plan, say: &dyn Fn(&str)) -> Result<Self, Failure> {
        kernel::programs()?;
        let listener = plan.name.as_deref().map(name::take).transpose()?;
        let kernel = kernel::find(&plan.cache, say)?;
        let begin = Instant::now();
        let program = std::env::current_exe().map_err(Failure::io("asking for this program's own path"))?;
        let folders = plan.shares.iter().map(|folder| absolute(folder)).collect::<Result<Vec<_>, _>>()?;
        let hostname = plan.name.as_deref().unwrap_or("vm");
        let initrd = initrd::build(&kernel, &Settings { program: &program, hostname, shares: &folders })?;
        let mut shares = vec![Share::start(Path::new("/"), Caching::Always, Stdio::null())?];
        for folder in &folders {
            shares.push(Share::start(Path::new(folder), Caching::Auto, Stdio::null())?);
        }
        let (mut qemu, guest) = Qemu::start(&kernel, &initrd, &shares, plan.capacity)?;
        let (board, line) = Switchboard::start(guest)?;
        match line.recv_timeout(BOOT) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => {
                return Err(Failure::NotUp { seconds: BOOT.as_secs(), words: qemu.last_words() });
            }
            Err(RecvTimeoutError::Disconnected) => return Err(ended(&mut qemu, "before it was up")),
        }
        if let Some(listener) = listener {
            board.listen(listener);
        }
        Ok(Self { qemu, _shares: shares, board, line, booted: begin.elapsed() })
    }

    /// From the start of the first process to the guest's first word.
    pub fn booted(&self) -> Duration {
        self.booted
    }

    /// Runs a command with this process's terminal or pipes; its exit code, or none when its time was over.
    pub fn run(&mut self, start: Start, limit: Option<Duration>) -> Result<Option<u8>, Failure> {
        let line = self.board.own_line()?;
        // Held here and not by the client's thread, which is left behind when the time is over.
        let _raw = client::lend_terminal(&start)?;
        let (tell, done) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || tell.send(client::attend(line, start)));
        let outcome = match limit {
            Some(limit) => match done.recv_timeout(limit) {
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                other => other.ok(),
            },
            None => done.recv().ok(),
        };
        match outcome {
            Some(Err(Failure::Gone)) | None => Err(ended(&mut self.qemu, "before the command did")),
            Some(outcome) => outcome.map(Some),
        }
    }

    /// Whether the line to the guest still stands.
    pub fn lives(&self) -> bool {
        matches!(self.line.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty))
    }
}

fn ended(qemu: &mut Qemu, when: &'static str) -> Failure {
    // The line breaks a moment before the process is gone.
    let deadline = Instant::now() + Duration::from_secs(2);
    let status = loop {
        match qemu.ended() {
            Ok(Some(status)) => break status,
            Err(error) => break error.to_string(),
            Ok(None) if Instant::now() >= deadline => break "qemu still runs".into(),
            Ok(None) => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    Failure::Ended { when, status, words: qemu.last_words() }
}

fn absolute(folder: &Path) -> Result<String, Failure> {
    let whole = folder.canonicalize().map_err(Failure::io(format!("sharing {}", folder.display())))?;
    whole.to_str().map(str::to_owned).ok_or_else(|| Failure::Path(whole.clone()))
}
