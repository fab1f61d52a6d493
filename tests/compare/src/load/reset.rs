//! All peers drop at once and come back with what they had: how long until every peer has that of all others again.

use std::rc::Rc;

use super::{Bench, figure, flood, used};
use crate::report::Figure;

/// Measures it. The clock starts when the sessions end.
pub(super) async fn measure(bench: &mut Bench<'_>, prefixes: u32) -> anyhow::Result<Vec<Figure>> {
    let words = flood::words(bench, prefixes);
    let mouths = flood::open(bench, prefixes).await?;
    flood::say(&mouths, &words).await?;
    bench.complete().await?;

    bench.board = Rc::default();
    bench.ears.clear();
    let before = bench.subject.usage()?;
    let begin = std::time::Instant::now();
    drop(mouths);
    let mouths = flood::open(bench, prefixes).await?;
    flood::say(&mouths, &words).await?;
    let end = bench.complete().await?;
    let after = bench.subject.usage()?;
    let mut figures = vec![figure("time", "s", (end - begin).as_secs_f64())];
    figures.extend(used(before, after));
    Ok(figures)
}
