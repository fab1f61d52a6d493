//! How whoever follows the RIB asks its thread for what is new.

use tokio::sync::{mpsc, oneshot};

use super::command::Command;
use super::error::Stopped;

/// An answer that is on its way, if one was asked for. It outlives a cancelled [`Pull::next`], so that nothing is lost
/// with it.
#[derive(Debug)]
pub(super) struct Pull<Batch>(Option<oneshot::Receiver<Batch>>);

impl<Batch> Pull<Batch> {
    /// Nothing is asked for yet.
    pub(super) fn idle() -> Self {
        Self(None)
    }

    /// Waits for the answer on its way, else asks with `command` and waits for that. May be cancelled.
    pub(super) async fn next(
        &mut self,
        rib: &mpsc::Sender<Command>,
        command: impl FnOnce(oneshot::Sender<Batch>) -> Command,
    ) -> Result<Batch, Stopped> {
        let answer = match &mut self.0 {
            Some(answer) => answer,
            None => {
                let permit = rib.reserve().await.map_err(|_| Stopped)?;
                let (reply, answer) = oneshot::channel();
                permit.send(command(reply));
                self.0.insert(answer)
            }
        };
        let batch = answer.await.map_err(|_| Stopped);
        self.0 = None;
        batch
    }
}
