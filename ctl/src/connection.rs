//! The way to the agent: one connection over its unix socket, or over what leads to that.
//!
//! The socket is opened here and not by the gRPC client, since only the error of `connect(2)` tells a missing agent from
//! a missing permission.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use crate::failure::Failure;

/// How long to wait for the agent to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for any one answer to begin.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest single answer: the resources of one kind in a large cluster.
pub(crate) const LARGEST_ANSWER: usize = 256 << 20;

/// Opens the connection.
pub(crate) async fn open(path: &Path) -> Result<Channel, Failure> {
    let stream = match tokio::time::timeout(CONNECT_TIMEOUT, UnixStream::connect(path)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(classify(path.to_owned(), error)),
        Err(_) => {
            return Err(Failure::NoAnswer { path: path.to_owned(), seconds: CONNECT_TIMEOUT.as_secs() });
        }
    };
    over(stream).await.map_err(|reason| Failure::Protocol { path: path.to_owned(), reason })
}

/// A connection over what is open already; why not, if it cannot be.
pub(crate) async fn over<S>(stream: S) -> Result<Channel, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut stream = Some(stream);
    let connector = tower::service_fn(move |_| {
        let opened = stream.take().ok_or_else(|| io::Error::other("the agent closed the connection"));
        async move { opened.map(TokioIo::new) }
    });
    Endpoint::from_static("http://agent")
        .timeout(ANSWER_TIMEOUT)
        .connect_with_connector(connector)
        .await
        .map_err(|error| innermost(&error))
}

/// The socket itself, for who only passes on what goes through it.
pub(crate) fn stream(path: &Path) -> Result<std::os::unix::net::UnixStream, Failure> {
    std::os::unix::net::UnixStream::connect(path).map_err(|error| classify(path.to_owned(), error))
}

fn classify(path: PathBuf, error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound => Failure::NoSocket { path },
        io::ErrorKind::PermissionDenied => Failure::NotPermitted { path },
        io::ErrorKind::ConnectionRefused => Failure::NotRunning { path },
        _ => Failure::Connect { path, source: error },
    }
}

/// What an error's chain of causes ends with: the part that says something.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
