//! How tests wait for what comes about by itself: they look again until it is so, and have failed if it never is.
//!
//! A package of its own, since tests of several packages wait, and the lab (`caracal-lab`) has its own way, which tells what it
//! saw.

use std::fmt::Display;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// For what has no promise: long enough for a machine with much other work.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks. Short: most are cheap, and tests wait for them.
const PAUSE: Duration = Duration::from_millis(5);
/// What a look and its pause count for at most: where they take longer the machine is kept from its work, and what is waited
/// for with it.
const LOOK: Duration = Duration::from_millis(10);
/// A machine may be slower by this factor.
const SLOWER: u32 = 10;

/// Waits until this holds, for [`PATIENCE`].
///
/// # Panics
/// When it does not, as [`until`] does.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    until(what, PATIENCE, async || holds()).await;
}

/// Waits until this holds, looking again every few milliseconds.
///
/// # Panics
/// When it does not within this time, or on a machine that is slow within as many looks.
pub async fn until(what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) {
    until_ok(what, within, async || if holds().await { Ok(()) } else { Err("") }).await;
}

/// The same for who can say what there is instead.
///
/// # Panics
/// With that, as [`until`] does.
pub async fn until_ok<I: Display>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<(), I>,
) {
    let begun = Instant::now();
    let mut counted = Duration::ZERO;
    loop {
        let before = Instant::now();
        let Err(instead) = look().await else { return };
        let passed = begun.elapsed();
        let over = counted >= within || passed >= within * SLOWER;
        assert!(!over, "not within {within:?} (of {passed:?}): {what} {instead}");
        tokio::time::sleep(PAUSE).await;
        counted += before.elapsed().min(LOOK);
    }
}

/// Waits until nobody serves this socket any more: for who has just closed it, and asks what is said of one that was left.
///
/// A test beside this one may be starting a program: from its fork to its exec the child has a copy of every descriptor, and so
/// keeps a listener open that was closed here.
///
/// # Panics
/// When it is still served after [`PATIENCE`].
pub fn until_refused(socket: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while UnixStream::connect(socket).is_ok() {
        assert!(Instant::now() < deadline, "{} is still served", socket.display());
        std::thread::sleep(PAUSE);
    }
}
