//! One command inside: a few threads around a child process.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{lock, tell};
use crate::frame::{CHUNK, Frame, Start, WINDOW};
use crate::terminal;
use crate::window::Window;

/// All sessions by number.
pub(super) type Sessions = Arc<Mutex<HashMap<u32, Session>>>;

/// How long what a command left running may go on printing. Without an end it would hold the session for ever.
const AFTERWARDS: Duration = Duration::from_millis(500);
/// From a hangup to the end of what ignores it.
const PATIENCE: Duration = Duration::from_secs(3);

/// A running command, as the frames for it see it.
#[derive(Debug)]
pub(super) struct Session {
    group: Pid,
    window: Arc<Window>,
    input: SyncSender<Option<Vec<u8>>>,
    terminal: Option<File>,
}

type Out = SyncSender<(u32, Frame)>;

impl Session {
    /// Starts the command, or says why not.
    pub(super) fn start(number: u32, start: Start, out: &Out, sessions: &Sessions) -> Result<Self, String> {
        let (mut child, ends) = spawn(&start)?;
        let group = Pid::from_raw(child.id().cast_signed());
        let window = Arc::new(Window::new());
        let (input, to_write) = sync_channel(WINDOW + 1);
        std::thread::spawn({
            let out = out.clone();
            move || write_input(number, &to_write, ends.input, &out)
        });
        let (done, all_done) = sync_channel::<()>(0);
        for (source, wrap) in ends.outputs {
            let (out, window, done) = (out.clone(), window.clone(), done.clone());
            std::thread::spawn(move || {
                pump(number, source, wrap, &window, &out);
                drop(done);
            });
        }
        drop(done);
        std::thread::spawn({
            let (out, sessions, window) = (out.clone(), sessions.clone(), window.clone());
            move || {
                let code = wait(&mut child);
                // Ends when the last of the pumps has dropped its sender.
                if matches!(all_done.recv_timeout(AFTERWARDS), Err(RecvTimeoutError::Timeout)) {
                    window.close();
                }
                nix::unistd::sync();
                lock(&sessions).remove(&number);
                tell(&out, number, Frame::Exited(code));
            }
        });
        Ok(Self { group, window, input, terminal: ends.terminal })
    }

    /// A frame from the host.
    pub(super) fn on(&self, frame: Frame) {
        match frame {
            // The host keeps to its window, so there is room; else it loses what it sent.
            Frame::Input(bytes) => drop(self.input.try_send(Some(bytes))),
            Frame::InputEnd => drop(self.input.try_send(None)),
            Frame::Credit(frames) => self.window.add(frames),
            Frame::Signal(number) => {
                if let Ok(signal) = Signal::try_from(number) {
                    self.signal(signal);
                }
            }
            Frame::Resize(size) => {
                if let Some(terminal) = &self.terminal {
                    terminal::resize(terminal, size).ok();
                }
            }
            Frame::Hangup => self.hang_up(),
            Frame::Ready
            | Frame::Start(_)
            | Frame::Output(_)
            | Frame::Errors(_)
            | Frame::Exited(_)
            | Frame::Refused(_) => {}
        }
    }

    fn signal(&self, signal: Signal) {
        // It may have ended a moment ago.
        killpg(self.group, signal).ok();
    }

    /// Nobody listens: ends the command, first kindly.
    fn hang_up(&self) {
        self.window.close();
        self.signal(Signal::SIGHUP);
        self.signal(Signal::SIGTERM);
        let group = self.group;
        std::thread::spawn(move || {
            let deadline = Instant::now() + PATIENCE;
            while killpg(group, None).is_ok() {
                if Instant::now() >= deadline {
                    killpg(group, Signal::SIGKILL).ok();
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
    }
}

type Source = Box<dyn Read + Send>;
/// Makes a frame of what a stream gave.
type Wrap = fn(Vec<u8>) -> Frame;
/// What a command prints to.
type Outputs = Vec<(Source, Wrap)>;

/// The guest's ends of a child's streams.
struct Ends {
    input: Box<dyn Write + Send>,
    outputs: Outputs,
    terminal: Option<File>,
}

fn spawn(start: &Start) -> Result<(Child, Ends), String> {
    let (program, arguments) = start.words.split_first().ok_or("no command was given")?;
    let mut command = match start.terminal {
        // Leads a session whose terminal is its standard input.
        Some(_) => {
            let mut command = Command::new("setsid");
            command.arg("--ctty").arg(program);
            command
        }
        None => {
            let mut command = Command::new(program);
            command.process_group(0);
            command
        }
    };
    command
        .args(arguments)
        .env_clear()
        .envs(start.environment.iter().cloned())
        .env(crate::INSIDE, "1")
        .current_dir(&start.folder);
    let failed = |error: std::io::Error| format!("starting `{program}` in {}: {error}", start.folder);
    let Some(size) = start.terminal else {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let (Some(input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(format!("`{program}` has no pipes"));
        };
        let outputs: Outputs = vec![(Box::new(output), Frame::Output), (Box::new(errors), Frame::Errors)];
        return Ok((child, Ends { input: Box::new(input), outputs, terminal: None }));
    };
    let twice =
        |file: &File| file.try_clone().map_err(|error| format!("opening the terminal twice: {error}"));
    let (master, slave) = terminal::open(size).map_err(|error| format!("making a terminal: {error}"))?;
    command.stdin(twice(&slave)?).stdout(twice(&slave)?).stderr(slave);
    let child = command.spawn().map_err(failed)?;
    let outputs: Outputs = vec![(Box::new(twice(&master)?), Frame::Output)];
    Ok((child, Ends { input: Box::new(twice(&master)?), outputs, terminal: Some(master) }))
}

/// Copies what a command prints, as far as the host has room.
fn pump(number: u32, mut source: Source, wrap: Wrap, window: &Window, out: &Out) {
    let mut buffer = vec![0; CHUNK];
    loop {
        // A terminal whose last program has ended answers EIO: its end.
        let length = match source.read(&mut buffer) {
            Ok(length) if length > 0 => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            _ => return,
        };
        if !window.take() {
            return;
        }
        tell(out, number, wrap(buffer[..length].to_vec()));
    }
}

/// Copies what the host sends into the command; dropping the pipe is its end of file.
fn write_input(
    number: u32,
    to_write: &Receiver<Option<Vec<u8>>>,
    mut input: Box<dyn Write + Send>,
    out: &Out,
) {
    while let Ok(Some(bytes)) = to_write.recv() {
        // A command that does not read its input is nothing unusual; the host may go on.
        input.write_all(&bytes).ok();
        tell(out, number, Frame::Credit(1));
    }
}

fn wait(child: &mut Child) -> u8 {
    match child.wait() {
        Ok(status) => {
            let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
            u8::try_from(code).unwrap_or(u8::MAX)
        }
        Err(_) => crate::NOT_RUN,
    }
}
