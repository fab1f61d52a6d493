//! The host's middle: one line to the guest, many clients, each with a session of its own.
//!
//! A client speaks frames with session 0; the switchboard gives it a number and passes its frames on. Nothing here can
//! be held up by a slow client: the two ends of a session keep to their window, for which there is always room.

use std::collections::HashMap;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Failure;
use crate::frame::{Frame, WINDOW};

/// Frames that may wait for one client: both directions' windows, and the few frames that are not counted.
const QUEUE: usize = 2 * WINDOW + 16;

/// The line to the guest, shared by all clients.
#[derive(Debug, Clone)]
pub struct Switchboard {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    guest: Mutex<UnixStream>,
    clients: Mutex<Clients>,
}

#[derive(Debug, Default)]
struct Clients {
    last: u32,
    lines: HashMap<u32, SyncSender<Frame>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Switchboard {
    /// Begins to read what the guest says. The receiver gets one message when the guest is up, and ends with the line.
    pub fn start(guest: UnixStream) -> Result<(Self, Receiver<()>), Failure> {
        let mut reader = guest.try_clone().map_err(Failure::io("opening the line to the guest twice"))?;
        let inner = Inner { guest: Mutex::new(guest), clients: Mutex::default() };
        let board = Self { inner: Arc::new(inner) };
        let (up, is_up) = sync_channel(1);
        let own = board.clone();
        std::thread::spawn(move || {
            while let Ok(Some((session, frame))) = Frame::read(&mut reader) {
                if frame == Frame::Ready {
                    // Only the first is waited for.
                    up.try_send(()).ok();
                } else {
                    own.deliver(session, frame);
                }
            }
            // The machine is gone: every client learns it by the end of its line.
            lock(&own.inner.clients).lines.clear();
            drop(up);
        });
        Ok((board, is_up))
    }

    /// A line for a command of this very process.
    pub fn own_line(&self) -> Result<UnixStream, Failure> {
        let (ours, theirs) = UnixStream::pair().map_err(Failure::io("making a line"))?;
        self.connect(theirs)?;
        Ok(ours)
    }

    /// Takes calls of other processes for as long as this one lives.
    pub fn listen(&self, listener: UnixListener) {
        let board = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Err(error) = board.connect(stream) {
                    eprintln!("caracal-vm: {error}");
                }
            }
        });
    }

    /// Gives a client a session, and two threads.
    fn connect(&self, stream: UnixStream) -> Result<(), Failure> {
        let mut reader = stream.try_clone().map_err(Failure::io("opening a client's line twice"))?;
        let (line, queue) = sync_channel::<Frame>(QUEUE);
        let session = {
            let mut clients = lock(&self.inner.clients);
            clients.last += 1;
            let session = clients.last;
            clients.lines.insert(session, line);
            session
        };
        std::thread::spawn(move || {
            let mut writer = stream;
            while let Ok(frame) = queue.recv() {
                if frame.write(0, &mut writer).is_err() {
                    break;
                }
            }
            // Wakes the reader; a client that is gone has closed it itself.
            writer.shutdown(Shutdown::Both).ok();
        });
        let board = self.clone();
        std::thread::spawn(move || {
            while let Ok(Some((_, frame))) = Frame::read(&mut reader) {
                if board.send(session, &frame).is_err() {
                    break;
                }
            }
            // Ended or killed; if its command has ended too, the guest knows no such session.
            lock(&board.inner.clients).lines.remove(&session);
            board.send(session, &Frame::Hangup).ok();
        });
        Ok(())
    }

    fn send(&self, session: u32, frame: &Frame) -> std::io::Result<()> {
        frame.write(session, &mut *lock(&self.inner.guest))
    }

    fn deliver(&self, session: u32, frame: Frame) {
        let mut clients = lock(&self.inner.clients);
        let last = matches!(frame, Frame::Exited(_) | Frame::Refused(_));
        let Some(line) = clients.lines.get(&session) else { return };
        // No room: it does not keep to its window, or is gone.
        let lost = matches!(line.try_send(frame), Err(TrySendError::Full(_) | TrySendError::Disconnected(_)));
        if last || lost {
            clients.lines.remove(&session);
        }
    }
}
