//! Terminals: the user's own, put into raw mode while a command inside has one, and new ones inside the guest.
//!
//! Unsafe, because the standard library knows no terminals and the workspace's `nix` is built without them; each call
//! below is one plain C call on a descriptor that is open for its duration.
#![allow(unsafe_code, reason = "termios, window sizes and pseudo-terminals are C calls")]

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::frame::Size;

/// A terminal in raw mode: every key goes to the command inside, Ctrl-C too. Dropped, it is as it was before.
#[derive(Debug)]
pub struct Raw {
    before: libc::termios,
}

impl Raw {
    /// Puts standard input's terminal into raw mode.
    pub fn enter() -> io::Result<Self> {
        let before = attributes()?;
        let mut raw = before;
        // SAFETY: `raw` is a whole termios, filled by tcgetattr.
        unsafe { libc::cfmakeraw(&raw mut raw) };
        set(&raw)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that went away needs no restoring.
        set(&self.before).ok();
    }
}

fn attributes() -> io::Result<libc::termios> {
    let mut found = MaybeUninit::<libc::termios>::uninit();
    // SAFETY: tcgetattr writes a whole termios to the pointer when it answers 0.
    checked(unsafe { libc::tcgetattr(libc::STDIN_FILENO, found.as_mut_ptr()) })?;
    // SAFETY: it answered 0.
    Ok(unsafe { found.assume_init() })
}

fn set(to: &libc::termios) -> io::Result<()> {
    // SAFETY: `to` is a whole termios; the call only reads it.
    checked(unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSADRAIN, to) }).map(drop)
}

/// How large a terminal is.
pub fn size(terminal: &impl AsFd) -> io::Result<Size> {
    let mut found = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize to the pointer.
    checked(unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut found) })?;
    Ok(Size { rows: found.ws_row, columns: found.ws_col })
}

/// Makes a terminal that large; its programs get SIGWINCH.
pub fn resize(terminal: &impl AsFd, to: Size) -> io::Result<()> {
    let wanted = libc::winsize { ws_row: to.rows, ws_col: to.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize from the pointer.
    checked(unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const wanted) })
        .map(drop)
}

/// A new pseudo-terminal: its master, and the slave for the program.
pub fn open(size: Size) -> io::Result<(File, File)> {
    // SAFETY: posix_openpt takes flags alone; a descriptor it answers belongs to nobody else.
    let master = unsafe {
        let descriptor = checked(libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC))?;
        File::from_raw_fd(descriptor)
    };
    // SAFETY: the descriptor is an open master.
    checked(unsafe { libc::unlockpt(master.as_raw_fd()) })?;
    let mut number: libc::c_int = 0;
    // SAFETY: TIOCGPTN writes one int to the pointer.
    checked(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &raw mut number) })?;
    let mut open = File::options();
    open.read(true).write(true).custom_flags(libc::O_NOCTTY);
    let slave = open.open(format!("/dev/pts/{number}"))?;
    resize(&master, size)?;
    Ok((master, slave))
}

fn checked(answer: libc::c_int) -> io::Result<libc::c_int> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_new_terminal_has_the_size_asked_for_and_carries_lines() {
        let (mut master, mut slave) = open(Size { rows: 30, columns: 100 }).unwrap();
        assert_eq!(size(&slave).unwrap(), Size { rows: 30, columns: 100 });
        slave.write_all(b"hello\n").unwrap();
        let mut seen = [0; 7];
        master.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"hello\r\n");
    }
}
