//! A route reflector whose clients all come at once, each with one prefix: how long from the first dial until every
//! client has every prefix.

use std::rc::Rc;

use anyhow::Context;

use super::{Bench, figure, used};
use crate::generator::{message, session, table};
use crate::report::Figure;

/// Measures it.
pub(super) async fn measure(bench: &mut Bench<'_>) -> anyhow::Result<Vec<Figure>> {
    let clients = u32::try_from(bench.clients.len())?;
    let server = bench.server();
    let plan: Vec<_> = (0..clients)
        .zip(bench.clients.clone())
        .map(|(number, client)| {
            let own = number..number + 1;
            let mut words = table::announcements(&client, own.clone(), 0);
            words.extend(message::end_of_rib(bench.family));
            (client, bench.ears(clients - 1, own, None), Rc::new(words))
        })
        .collect();
    let before = bench.subject.usage()?;
    let begin = std::time::Instant::now();
    let opening = |(client, ears, words)| {
        tokio::task::spawn_local(async move {
            let mouth = session::establish(&client, server, ears).await?;
            mouth.say(words).await?;
            anyhow::Ok(mouth)
        })
    };
    let tasks: Vec<_> = plan.into_iter().map(opening).collect();
    let end = bench.complete().await?;
    let after = bench.subject.usage()?;
    for task in tasks {
        task.await.context("a client's opening")??;
    }
    let mut figures = vec![figure("time", "s", (end - begin).as_secs_f64())];
    figures.extend(used(before, after));
    Ok(figures)
}
