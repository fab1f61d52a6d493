//! STATUS: can ADD be served now? Runtimes ask every few seconds and make the node NotReady on a failure, so the answer must
//! come at once and depend on nothing but whether the agent lives: it touches its heartbeat file every ten seconds.
//!
//! Exhausted pools, the API server or BGP stay out of it on purpose: a taint on the whole node mends none of them. They are
//! told by ADD's errors and by the node's conditions.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::error::{Code, Error};

/// Older than this, the agent is taken for dead.
const FRESH: Duration = Duration::from_secs(60);

/// Looks at the heartbeat.
pub(super) fn look(heartbeat: &Path) -> Result<(), Error> {
    let unavailable =
        |why: String| Err(Error::new(Code::NotAvailable, format!("no pod can be added: {why}")));
    let touched = match heartbeat.metadata().and_then(|metadata| metadata.modified()) {
        Ok(touched) => touched,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let file = heartbeat.display();
            return unavailable(format!(
                "the agent of caracal has not been ready since the node started ({file} is not there)"
            ));
        }
        Err(error) => {
            return unavailable(format!("looking at the heartbeat {}: {error}", heartbeat.display()));
        }
    };
    // A clock that was set back leaves a time to come; the agent's next touch mends it.
    let age = SystemTime::now().duration_since(touched).unwrap_or_else(|early| early.duration());
    if age < FRESH {
        return Ok(());
    }
    unavailable(format!(
        "the agent of caracal was last well {} s ago ({}); see its log on this node",
        age.as_secs(),
        heartbeat.display()
    ))
}
