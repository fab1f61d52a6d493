//! The kernel's queue of inotify events, to be waited for.
//!
//! `unsafe` is needed for one step: tokio takes a descriptor by its number, and is promised that it stays what it is.
#![allow(unsafe_code, reason = "registering a descriptor with tokio")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::sys::inotify::{InitFlags, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Owns the descriptor, and never changes it.
#[derive(Debug)]
struct Owned(Inotify);

impl AsRawFd for Owned {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue(AsyncFd<Owned>);

impl Queue {
    /// Must be called within a tokio runtime.
    pub(super) fn open() -> io::Result<Self> {
        let inotify = Owned(Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?);
        // SAFETY: `Owned` keeps the descriptor open until the `AsyncFd` drops it, gives it to nobody and always names the same one.
        let registered = unsafe { AsyncFd::register_with_interest(inotify, Interest::READABLE) };
        Ok(Self(registered?))
    }

    /// What is watched, and what has happened.
    pub(super) fn inotify(&self) -> &Inotify {
        &self.0.get_ref().0
    }

    /// Waits until there are events, which `take` takes: all of them, until there are none, if it answers nothing.
    pub(super) async fn take<T>(&self, mut take: impl FnMut() -> Option<T>) -> io::Result<T> {
        loop {
            let mut ready = self.0.readable().await?;
            match take() {
                Some(taken) => return Ok(taken),
                None => ready.clear_ready(),
            }
        }
    }
}
