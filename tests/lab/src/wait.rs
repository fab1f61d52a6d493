//! Waiting for conditions: with a deadline, and telling what was last seen when it passes.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Between two looks. Short: looks are cheap, and tests wait for them.
const PAUSE: Duration = Duration::from_millis(50);

/// What a look found, when it was not what is waited for.
#[derive(Debug)]
pub enum NotYet {
    /// Look again; this is how it stands.
    Again(String),
    /// It will never be: stop waiting.
    Never(anyhow::Error),
}

impl From<anyhow::Error> for NotYet {
    fn from(error: anyhow::Error) -> Self {
        Self::Again(format!("{error:#}"))
    }
}

impl NotYet {
    /// Not yet, and how it stands.
    pub fn because(seen: impl Into<String>) -> Self {
        Self::Again(seen.into())
    }
}

/// Looks until it gives a value, at most for `deadline`.
pub async fn until<T, F, Fut>(deadline: Duration, what: &str, mut look: F) -> anyhow::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, NotYet>>,
{
    let begin = Instant::now();
    let end = begin + deadline;
    let mut seen = String::from("nothing: the first look did not finish");
    loop {
        match tokio::time::timeout_at(end, look()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(NotYet::Never(error))) => return Err(error.context(format!("waiting until {what}"))),
            Ok(Err(NotYet::Again(state))) => seen = state,
            Err(_elapsed) => {}
        }
        if Instant::now() + PAUSE >= end {
            anyhow::bail!("waited {} s until {what}; last seen: {seen}", begin.elapsed().as_secs());
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_value_ends_the_wait() {
        let mut looks = 0;
        let found = until(Duration::from_secs(5), "three looks", || {
            looks += 1;
            let seen = looks;
            async move { if seen == 3 { Ok(seen) } else { Err(NotYet::because("fewer")) } }
        });
        assert_eq!(found.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn the_last_thing_seen_is_told_at_the_deadline() {
        let wait = until::<(), _, _>(Duration::from_millis(120), "it rains", || async {
            Err(NotYet::because("blue sky"))
        });
        let error = wait.await.unwrap_err().to_string();
        assert!(error.contains("until it rains; last seen: blue sky"), "{error}");
    }

    #[tokio::test]
    async fn a_hopeless_wait_ends_at_once() {
        let wait = until::<(), _, _>(Duration::from_secs(3600), "it rains", || async {
            Err(NotYet::Never(anyhow::anyhow!("no atmosphere")))
        });
        assert!(format!("{:#}", wait.await.unwrap_err()).contains("no atmosphere"));
    }

    #[tokio::test]
    async fn a_look_that_hangs_does_not_outlast_the_deadline() {
        let wait = until::<(), _, _>(Duration::from_millis(80), "an answer", std::future::pending);
        assert!(wait.await.is_err());
    }
}
