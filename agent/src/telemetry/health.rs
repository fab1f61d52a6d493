//! Heartbeat and health: how others know that the agent lives and can serve.
//!
//! The heartbeat is a file whose age the plugin looks at, so that STATUS costs no request. It is touched only after the
//! parts that serve pods have answered: an agent whose RIB or journal hangs stops beating.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tracing::warn;

use crate::status::StatusSources;

/// How often the heart beats.
pub const PERIOD: Duration = Duration::from_secs(10);
/// How long the parts have to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Beats until the agent ends; says `true` with the first beat.
pub async fn beat(file: PathBuf, sources: StatusSources, serves: watch::Sender<bool>) {
    let mut ticks = tokio::time::interval(PERIOD);
    loop {
        ticks.tick().await;
        match alive(&sources).await {
            Ok(()) => {
                if let Err(error) = touch(&file) {
                    warn!(file = %file.display(), %error, "the heartbeat cannot be written");
                }
                serves.send_if_modified(|serves| !std::mem::replace(serves, true));
            }
            Err(hangs) => warn!("no heartbeat: {hangs}"),
        }
    }
}

/// Which part does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Hangs {
    /// The speaker's RIB thread.
    #[error("the BGP speaker has not answered within 5 s")]
    Speaker,
    /// The journal's thread.
    #[error("the journal has not answered within 5 s")]
    Journal,
    /// The address allocator.
    #[error("address management has not answered within 5 s")]
    Ipam,
}

/// Whether every part that serves pods answers.
///
/// # Errors
/// Names the first that does not.
pub async fn alive(sources: &StatusSources) -> Result<(), Hangs> {
    async fn within<T>(part: Hangs, answer: impl Future<Output = T>) -> Result<T, Hangs> {
        tokio::time::timeout(PATIENCE, answer).await.map_err(|_| part)
    }
    within(Hangs::Speaker, sources.speaker.peers()).await?.map_err(|_| Hangs::Speaker)?;
    within(Hangs::Journal, sources.journal.all()).await?.map_err(|_| Hangs::Journal)?;
    within(Hangs::Ipam, sources.ipam.show()).await?;
    Ok(())
}

fn touch(file: &Path) -> io::Result<()> {
    let handle: File = OpenOptions::new().create(true).truncate(false).write(true).mode(0o644).open(file)?;
    handle.set_modified(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touching_makes_the_file_young_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("heartbeat");
        touch(&file).unwrap();
        let old = SystemTime::now() - Duration::from_secs(600);
        File::options().write(true).open(&file).unwrap().set_modified(old).unwrap();
        touch(&file).unwrap();
        let age = file.metadata().unwrap().modified().unwrap().elapsed().unwrap();
        assert!(age < Duration::from_secs(60), "{age:?}");
    }
}
