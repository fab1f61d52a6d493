//! The user's end of one command: terminal or pipes, signals, exit code.

use std::io::{IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::{SigSet, Signal};

use crate::Failure;
use crate::frame::{CHUNK, Frame, Start};
use crate::terminal::{self, Raw};
use crate::window::Window;

/// Signals that are passed to the command inside.
const PASSED_ON: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];
/// A user who asks so often gets it at once.
const INSISTING: u32 = 3;

/// Blocks the signals that [`attend`] reads. Before any thread is started, since threads inherit it.
pub fn block_signals() -> Result<(), Failure> {
    signals().thread_block().map_err(Failure::os("blocking signals"))
}

fn signals() -> SigSet {
    PASSED_ON.into_iter().chain([Signal::SIGWINCH]).collect()
}

/// What a command of this process's user starts with: this environment, this folder, and a terminal if both input and
/// output are one.
pub fn start(words: Vec<String>) -> Result<Start, Failure> {
    let folder = std::env::current_dir().map_err(Failure::io("asking for the working directory"))?;
    let folder = folder.to_str().ok_or_else(|| Failure::Path(folder.clone()))?.to_owned();
    // What is not text cannot be passed on, and is nothing that programs here would read.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let both = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let size = if both { terminal::size(&std::io::stdin()).ok() } else { None };
    Ok(Start { words, environment, folder, terminal: size })
}

/// Puts the user's terminal into raw mode if the command is to have one, until the value is dropped.
pub fn lend_terminal(start: &Start) -> Result<Option<Raw>, Failure> {
    let raw = start.terminal.map(|_| Raw::enter()).transpose();
    raw.map_err(Failure::io("putting the terminal into raw mode"))
}

type Line = Arc<Mutex<UnixStream>>;

fn send(line: &Line, frame: &Frame) -> std::io::Result<()> {
    frame.write(0, &mut *line.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Runs a command to its end over a line of the switchboard; its exit code.
///
/// The threads that wait for keys and signals are left behind: nobody can wake them, and the process ends soon.
pub fn attend(line: UnixStream, start: Start) -> Result<u8, Failure> {
    let mut reader = line.try_clone().map_err(Failure::io("opening the line twice"))?;
    let line: Line = Arc::new(Mutex::new(line));
    send(&line, &Frame::Start(start)).map_err(|_| Failure::Gone)?;
    let window = Arc::new(Window::new());
    std::thread::spawn({
        let (line, window) = (line.clone(), window.clone());
        move || read_input(&line, &window)
    });
    let (insist, insisted) = sync_channel(1);
    std::thread::spawn({
        let line = line.clone();
        move || pass_signals_on(&line, &insist)
    });
    hear(&mut reader, &line, &window, &insisted)
}

/// Prints what the command prints, until it has ended.
fn hear(
    reader: &mut UnixStream,
    line: &Line,
    window: &Window,
    insisted: &Receiver<()>,
) -> Result<u8, Failure> {
    loop {
        // A third signal breaks the line, which ends the reading here.
        let frame = match Frame::read(reader) {
            Ok(Some((_, frame))) => frame,
            Ok(None) | Err(_) if insisted.try_recv().is_ok() => return Err(Failure::Insisted),
            Ok(None) | Err(_) => return Err(Failure::Gone),
        };
        match frame {
            Frame::Output(bytes) => {
                write(&mut std::io::stdout().lock(), &bytes)?;
                give_credit(line);
            }
            Frame::Errors(bytes) => {
                write(&mut std::io::stderr().lock(), &bytes)?;
                give_credit(line);
            }
            Frame::Credit(frames) => window.add(frames),
            Frame::Exited(code) => return Ok(code),
            Frame::Refused(words) => return Err(Failure::Refused(words)),
            Frame::Ready
            | Frame::Start(_)
            | Frame::Input(_)
            | Frame::InputEnd
            | Frame::Signal(_)
            | Frame::Resize(_)
            | Frame::Hangup => {}
        }
    }
}

/// Says that one frame more may come. Once the command has ended, its line takes nothing any more while its last words
/// and its exit code still wait to be read; only the reading tells whether the machine is gone.
fn give_credit(line: &Line) {
    send(line, &Frame::Credit(1)).ok();
}

fn write(to: &mut impl Write, bytes: &[u8]) -> Result<(), Failure> {
    to.write_all(bytes).and_then(|()| to.flush()).map_err(Failure::io("printing what the command prints"))
}

fn read_input(line: &Line, window: &Window) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = match std::io::stdin().read(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => 0,
        };
        let frame = if length == 0 { Frame::InputEnd } else { Frame::Input(buffer[..length].to_vec()) };
        if (length > 0 && !window.take()) || send(line, &frame).is_err() || length == 0 {
            return;
        }
    }
}

fn pass_signals_on(line: &Line, insist: &SyncSender<()>) {
    let wanted = signals();
    let mut asked = 0;
    while let Ok(signal) = wanted.wait() {
        let frame = if signal == Signal::SIGWINCH {
            let Ok(size) = terminal::size(&std::io::stdin()) else { continue };
            Frame::Resize(size)
        } else {
            asked += 1;
            Frame::Signal(signal as i32)
        };
        if asked >= INSISTING {
            insist.try_send(()).ok();
            let line = line.lock().unwrap_or_else(PoisonError::into_inner);
            line.shutdown(std::net::Shutdown::Both).ok();
            return;
        }
        if send(line, &frame).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_heard_after_the_line_takes_nothing_any_more() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        for frame in [Frame::Output(Vec::new()), Frame::Errors(Vec::new()), Frame::Exited(7)] {
            frame.write(0, &mut theirs).unwrap();
        }
        theirs.shutdown(std::net::Shutdown::Both).unwrap();
        let mut reader = ours.try_clone().unwrap();
        let (_insist, insisted) = sync_channel(1);
        let line = Arc::new(Mutex::new(ours));
        let heard = hear(&mut reader, &line, &Window::new(), &insisted);
        assert!(matches!(heard, Ok(7)), "{heard:?}");
    }

    #[test]
    fn a_line_that_breaks_before_the_exit_code_is_a_machine_that_is_gone() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        Frame::Output(Vec::new()).write(0, &mut theirs).unwrap();
        drop(theirs);
        let mut reader = ours.try_clone().unwrap();
        let (_insist, insisted) = sync_channel(1);
        let line = Arc::new(Mutex::new(ours));
        let heard = hear(&mut reader, &line, &Window::new(), &insisted);
        assert!(matches!(heard, Err(Failure::Gone)), "{heard:?}");
    }
}
