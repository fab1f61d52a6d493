//! `caracalctl pipe`: joins standard input and output to the agent's socket, for a `caracalctl` on another machine.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::connection;
use crate::failure::Failure;

/// What is passed on at once, in bytes.
const PIECE: usize = 64 << 10;

/// Until the agent or the other side has nothing more to say.
pub(crate) fn run(socket: &Path) -> Result<(), Failure> {
    let mut stream = connection::stream(socket)?;
    let mut towards = stream.try_clone().map_err(Failure::Print)?;
    // Not `io::stdout`, which keeps what has no end of line yet.
    let mut stdin = File::from(io::stdin().as_fd().try_clone_to_owned().map_err(Failure::Print)?);
    let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned().map_err(Failure::Print)?);
    std::thread::spawn(move || {
        // However it ends, the agent is told that nothing more comes.
        pass(&mut stdin, &mut towards).and_then(|()| end(&towards)).ok();
    });
    pass(&mut stream, &mut stdout).map_err(Failure::Print)
}

/// Not `io::copy`, which has the kernel do it (`splice`): that holds the pipe's lock while it waits for the socket, and whoever
/// reads the pipe waits with it, even without wanting to.
fn pass(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&piece[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn end(stream: &UnixStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)
}
