//! `caracalctl pipe`: joins standard input and output to the agent's socket, for a `caracalctl` on another machine.

use std::fs::File;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::connection;
use crate::failure::Failure;

/// Until the agent or the other side has nothing more to say.
pub(crate) fn run(socket: &Path) -> Result<(), Failure> {
    let mut stream = connection::stream(socket)?;
    let mut towards = stream.try_clone().map_err(Failure::Print)?;
    // Not `io::stdout`, which keeps what has no end of line yet.
    let mut stdin = File::from(io::stdin().as_fd().try_clone_to_owned().map_err(Failure::Print)?);
    let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned().map_err(Failure::Print)?);
    std::thread::spawn(move || {
        // However it ends, the agent is told that nothing more comes.
        io::copy(&mut stdin, &mut towards).and_then(|_| end(&towards)).ok();
    });
    io::copy(&mut stream, &mut stdout).map(drop).map_err(Failure::Print)
}

fn end(stream: &UnixStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)
}
