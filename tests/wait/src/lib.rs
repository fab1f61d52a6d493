//! How tests wait for what comes about by itself: they look again until it is so, and have failed if it never is.
//!
//! A package of its own, since tests of several packages wait, and the lab (`caracal-lab`) has its own way, which tells what it saw.

use std::time::{Duration, Instant};

/// For what has no promise: long enough for a machine with much other work.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks. Short: most are cheap, and tests wait for them.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until this holds, for [`PATIENCE`] at most.
///
/// # Panics
/// When it does not.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    until(what, PATIENCE, async || holds()).await;
}

/// Waits until this holds, looking again every few milliseconds.
///
/// # Panics
/// When it does not within this time.
pub async fn until(what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
