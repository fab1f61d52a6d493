//! How many data frames may still be sent: waits when there are none.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::frame::WINDOW;

#[derive(Debug)]
pub(crate) struct Window {
    left: Mutex<Option<usize>>,
    more: Condvar,
}

impl Window {
    pub(crate) fn new() -> Self {
        Self { left: Mutex::new(Some(WINDOW)), more: Condvar::new() }
    }

    /// Takes one, waiting for it; false when the other side is gone.
    pub(crate) fn take(&self) -> bool {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left =
            self.more.wait_while(left, |left| *left == Some(0)).unwrap_or_else(PoisonError::into_inner);
        match left.as_mut() {
            Some(count) => *count -= 1,
            None => return false,
        }
        true
    }

    /// The other side has room for so many more.
    pub(crate) fn add(&self, frames: u32) {
        if let Some(left) = self.left.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            *left = left.saturating_add(frames as usize).min(WINDOW);
        }
        self.more.notify_all();
    }

    /// Nothing will be taken any more.
    pub(crate) fn close(&self) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.more.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_window_waits_for_credit() {
        let window = std::sync::Arc::new(Window::new());
        for _ in 0..WINDOW {
            assert!(window.take());
        }
        let waiting = std::thread::spawn({
            let window = window.clone();
            move || window.take()
        });
        window.add(1);
        assert!(waiting.join().unwrap());
        window.close();
        assert!(!window.take());
    }
}
