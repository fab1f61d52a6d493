//! A file in which something outlives the process, for the next one to go on with.
//!
//! It belongs in a directory that does not outlive the machine's boot, such as one under `/run`. It is written whenever what it
//! is to say has changed, by a task of its own: who says so waits for no disk. It is whole at any time.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

/// What a file says, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format<T> {
    /// What it is about, for people.
    pub(super) about: &'static str,
    /// The text of it.
    pub(super) text: fn(&T) -> String,
}

/// Who writes a file.
#[derive(Debug)]
pub(super) struct Keeper {
    flush: mpsc::Sender<oneshot::Sender<()>>,
}

impl Keeper {
    /// Writes to this file what is told from now on. Must be called on a tokio runtime.
    pub(super) fn start<T: Send + Sync + 'static>(
        path: PathBuf,
        format: Format<T>,
        told: watch::Receiver<Arc<T>>,
    ) -> Keeper {
        let (flush, flushes) = mpsc::channel(1);
        tokio::spawn(keep(path, format, told, flushes));
        Keeper { flush }
    }

    /// Returns when what was told last is in the file, or cannot be.
    pub(super) async fn flush(&self) {
        let (reply, done) = oneshot::channel();
        if self.flush.send(reply).await.is_err() || done.await.is_err() {
            tracing::debug!("nobody writes the file any more");
        }
    }
}

async fn keep<T: Send + Sync + 'static>(
    path: PathBuf,
    format: Format<T>,
    mut told: watch::Receiver<Arc<T>>,
    mut flushes: mpsc::Receiver<oneshot::Sender<()>>,
) {
    loop {
        let flush = tokio::select! {
            changed = told.changed() => match changed {
                Ok(()) => None,
                Err(_) => return,
            },
            flush = flushes.recv() => match flush {
                Some(reply) => Some(reply),
                None => return,
            },
        };
        let text = (format.text)(&told.borrow_and_update());
        let to = path.clone();
        let written = tokio::task::spawn_blocking(move || write(&to, &text)).await;
        if let Err(error) = written.map_err(io::Error::other).flatten() {
            let about = format.about;
            tracing::warn!(
                file = %path.display(),
                "writing down {about}: {error}: the next process will not know; check that the directory is there"
            );
        }
        if flush.is_some_and(|reply| reply.send(()).is_err()) {
            tracing::trace!("nobody waits for the file to be written");
        }
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, text)?;
    std::fs::rename(&new, path)
}

/// What an earlier process has written; `None`: nothing that can be read.
pub(super) fn read(path: &Path, about: &str) -> Option<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "nothing is known of {about} before this process");
            None
        }
    }
}
