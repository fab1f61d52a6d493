//! A unix socket for administrators: root's alone from its first moment on.
//!
//! It is made under a temporary name, closed to others, and only then given its own name. That takes the place of what
//! a killed process left behind, and there is no moment at which anybody could have opened it.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Why the socket cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process serves it.
    #[error(
        "making the administration socket {}: another process answers there: is this program running twice?",
        path.display()
    )]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The name belongs to something else.
    #[error(
        "making the administration socket {}: a file of that name is there and is no socket: move it away",
        path.display()
    )]
    NotASocket {
        /// The name.
        path: PathBuf,
    },
    /// A step of the file system failed.
    #[error("making the administration socket {}: {step}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What was being done.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Listens on `path` with mode 0600, in place of a socket that nobody serves any more.
///
/// # Errors
/// [`ListenError`] when another process serves the socket, or the file system refuses.
pub fn bind(path: &Path) -> Result<UnixListener, ListenError> {
    let failed = |step| move |source| ListenError::Io { path: path.to_owned(), step, source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed("creating its folder"))?;
    }
    look(path)?;
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("removing an unfinished one")(error));
        }
        Ok(()) | Err(_) => {}
    }
    let listener = StdListener::bind(&temporary).map_err(failed("binding"))?;
    fs::set_permissions(&temporary, Permissions::from_mode(0o600))
        .map_err(failed("setting its mode to 0600"))?;
    listener.set_nonblocking(true).map_err(failed("making it non-blocking"))?;
    fs::rename(&temporary, path).map_err(failed("giving it its name"))?;
    UnixListener::from_std(listener).map_err(failed("registering it with the runtime"))
}

/// Looks at what is there already.
fn look(path: &Path) -> Result<(), ListenError> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(ListenError::Io { path: path.to_owned(), step: "looking at what is there", source });
        }
    };
    if !kind.is_socket() {
        return Err(ListenError::NotASocket { path: path.to_owned() });
    }
    match StdStream::connect(path) {
        Ok(_) => Err(ListenError::InUse { path: path.to_owned() }),
        // Refused: its maker is gone. Any other answer is found again, with its reason, when the name is taken over.
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use caracal_wait::until_refused;

    use super::*;

    #[tokio::test]
    async fn the_socket_is_roots_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/admin.sock");
        let listener = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (client, server) = tokio::join!(tokio::net::UnixStream::connect(&path), listener.accept());
        assert!(client.is_ok() && server.is_ok());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left behind");
    }

    #[tokio::test]
    async fn a_socket_left_by_a_killed_process_is_replaced_and_a_served_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        drop(StdListener::bind(&path).unwrap());
        assert!(path.exists(), "closing a socket leaves its name");
        until_refused(&path);
        let served = bind(&path).unwrap();
        assert!(matches!(bind(&path), Err(ListenError::InUse { .. })));
        drop(served);
        until_refused(&path);
        bind(&path).unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path), Err(ListenError::NotASocket { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
