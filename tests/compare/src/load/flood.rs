//! Peers of other ASes announce prefixes of their own, all at once: how long until every peer has those of all others.

use std::rc::Rc;

use super::{Bench, figure, used};
use crate::generator::{message, table};
use crate::report::Figure;

/// Measures it. The clock starts when all sessions stand.
pub(super) async fn measure(bench: &mut Bench<'_>, prefixes: u32) -> anyhow::Result<Vec<Figure>> {
    let own = |number: u32| number * prefixes..(number + 1) * prefixes;
    let peers: Vec<u32> = (0..).take(bench.clients.len()).collect();
    let total = prefixes * u32::try_from(peers.len())?;
    let ears = peers.iter().map(|number| bench.ears(total - prefixes, own(*number), None)).collect();
    let say = |(number, client): (&u32, &super::Client)| {
        let mut messages = table::announcements(client, own(*number), 0);
        messages.extend(message::end_of_rib());
        Rc::new(messages)
    };
    let words: Vec<_> = peers.iter().zip(&bench.clients).map(say).collect();
    let mouths = bench.sessions(ears).await?;

    let before = bench.subject.usage()?;
    let begin = std::time::Instant::now();
    for (mouth, words) in mouths.iter().zip(words) {
        mouth.say(words).await?;
    }
    let end = bench.complete().await?;
    let after = bench.subject.usage()?;
    #[allow(clippy::cast_precision_loss, reason = "memory is far below 2^52")]
    let a_path = after.memory.saturating_sub(before.memory) as f64 / f64::from(total);
    let mut figures = vec![figure("time", "s", (end - begin).as_secs_f64())];
    figures.extend(used(before, after));
    figures.push(figure("memory for a path", "B", a_path));
    Ok(figures)
}
