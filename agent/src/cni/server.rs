//! The socket at which plugins knock.
//!
//! Only root may: the socket's mode says so, and the peer's credentials are looked at besides, because a mode can be changed
//! by accident. Each call is a task of its own, and goes on when its plugin is killed meanwhile: a runtime that has lost its
//! plugin sends DEL, which waits for its turn behind it. The number of calls under way is bounded, further ones wait in the
//! socket's own queue.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use caracal_cni::frame::{self, Call, FrameError, HEADER};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::{CniContext, request};

/// How many calls are carried out at the same time.
const CALLS_AT_ONCE: usize = 256;

/// How long a plugin may take to send its call, or to take its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The socket could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{doing} the CNI socket {}: {source}", .path.display())]
pub struct BindError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Makes the socket, in place of one that an earlier run left. Must be called within the runtime.
///
/// # Errors
/// When the file system refuses.
pub fn bind(path: &Path) -> Result<UnixListener, BindError> {
    let failed = |doing, source| BindError { doing, path: path.to_owned(), source };
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("removing what is left of", error)),
    }
    let listener = UnixListener::bind(path).map_err(|error| failed("listening at", error))?;
    let only_root = fs::Permissions::from_mode(0o600);
    fs::set_permissions(path, only_root).map_err(|error| failed("restricting", error))?;
    Ok(listener)
}

/// Serves until the listener fails, which it does not in normal life.
///
/// # Errors
/// What the listener said.
pub async fn serve(listener: UnixListener, context: Arc<CniContext>) -> io::Result<()> {
    let calls = Arc::new(Semaphore::new(CALLS_AT_ONCE));
    loop {
        let turn = Arc::clone(&calls).acquire_owned().await.map_err(io::Error::other)?;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // The plugin has gone again, or descriptors are short for a moment: neither is the socket's end.
            Err(error) if is_passing(&error) => {
                warn!(%error, "a plugin's connection could not be taken");
                tokio::task::yield_now().await;
                continue;
            }
            Err(error) => return Err(error),
        };
        let context = Arc::clone(&context);
        tokio::spawn(async move {
            if let Err(error) = converse(stream, &context).await {
                debug!(%error, "a plugin's call came to nothing");
            }
            drop(turn);
        });
    }
}

fn is_passing(error: &io::Error) -> bool {
    let codes = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::ECONNABORTED, libc::EINTR];
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

async fn converse(mut stream: UnixStream, context: &Arc<CniContext>) -> Result<(), FrameError> {
    let peer = stream.peer_cred()?;
    if peer.uid() != 0 {
        warn!(uid = peer.uid(), pid = peer.pid(), "a call by someone other than root is refused");
        return Err(io::Error::from(io::ErrorKind::PermissionDenied).into());
    }
    let slow = |_| FrameError::from(io::Error::from(io::ErrorKind::TimedOut));
    let (call, netns) = timeout(PATIENCE, receive(&mut stream)).await.map_err(slow)??;
    let answer = request::serve(context, call, netns).await;
    let bytes = frame::encode(&answer)?;
    timeout(PATIENCE, stream.write_all(&bytes)).await.map_err(slow)??;
    Ok(())
}

async fn receive(stream: &mut UnixStream) -> Result<(Call, Option<OwnedFd>), FrameError> {
    let (mut header, mut filled, mut netns) = ([0; HEADER], 0, None);
    while filled < HEADER {
        let (count, passed) = stream
            .async_io(Interest::READABLE, || frame::receive_header(stream.as_fd(), &mut header[filled..]))
            .await?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        filled += count;
        netns = netns.or(passed);
    }
    let mut body = vec![0; frame::body_length(header)?];
    stream.read_exact(&mut body).await?;
    Ok((frame::decode(&body)?, netns))
}
