//! Peers of other ASes announce prefixes of their own, all at once: how long until every peer has those of all others.

use std::ops::Range;
use std::rc::Rc;

use super::{Bench, figure, used};
use crate::generator::session::Mouth;
use crate::generator::{message, table};
use crate::report::Figure;

/// Measures it. The clock starts when all sessions stand.
pub(super) async fn measure(bench: &mut Bench<'_>, prefixes: u32) -> anyhow::Result<Vec<Figure>> {
    let words = words(bench, prefixes);
    let mouths = open(bench, prefixes).await?;
    let before = bench.subject.usage()?;
    let begin = std::time::Instant::now();
    say(&mouths, &words).await?;
    let end = bench.complete().await?;
    let after = bench.subject.usage()?;
    let total = f64::from(prefixes) * f64::from(u32::try_from(bench.clients.len())?);
    #[allow(clippy::cast_precision_loss, reason = "memory is far below 2^52")]
    let a_path = after.memory.saturating_sub(before.memory) as f64 / total;
    let mut figures = vec![figure("time", "s", (end - begin).as_secs_f64())];
    figures.extend(used(before, after));
    figures.push(figure("memory for a path", "B", a_path));
    Ok(figures)
}

/// The peers by their numbers, and whose prefixes are whose.
fn owners(bench: &Bench<'_>, prefixes: u32) -> Vec<Range<u32>> {
    (0..).take(bench.clients.len()).map(|number| number * prefixes..(number + 1) * prefixes).collect()
}

/// What each peer has to say.
pub(super) fn words(bench: &Bench<'_>, prefixes: u32) -> Vec<Rc<Vec<u8>>> {
    let say = |(own, client)| {
        let mut messages = table::announcements(client, own, 0);
        messages.extend(message::end_of_rib(bench.family));
        Rc::new(messages)
    };
    owners(bench, prefixes).into_iter().zip(&bench.clients).map(say).collect()
}

/// Every peer's session; each waits for the prefixes of all others.
pub(super) async fn open(bench: &mut Bench<'_>, prefixes: u32) -> anyhow::Result<Vec<Mouth>> {
    let owners = owners(bench, prefixes);
    let total = owners.last().map_or(0, |last| last.end);
    let ears = owners.into_iter().map(|own| bench.ears(total - prefixes, own, None)).collect();
    bench.sessions(ears).await
}

/// Each says what it has to say.
pub(super) async fn say(mouths: &[Mouth], words: &[Rc<Vec<u8>>]) -> anyhow::Result<()> {
    for (mouth, words) in mouths.iter().zip(words) {
        mouth.say(Rc::clone(words)).await?;
    }
    Ok(())
}
