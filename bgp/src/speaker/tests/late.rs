//! Peers that come when a group has been told much already.

use super::*;

/// Destinations of a table that takes several slices of a feed.
const TABLE: usize = 3 * 1024;

/// A group with a peer that knows the whole table.
async fn with_table() -> (Bench, Ear) {
    let bench = Bench::new();
    let mut first = bench.up(1, 64).await;
    bench.originate((0..TABLE).map(announcement).collect()).await;
    first.until(|ear| ear.routes.len() == TABLE && ear.end_of_rib == 1).await;
    (bench, first)
}

#[tokio::test]
async fn what_peers_that_come_together_are_told_is_encoded_once() {
    let (bench, first) = with_table().await;
    // Room for everything, so that no buffer is given back before it has been looked at.
    let mut second = bench.up(2, 2 * TABLE).await;
    let mut third = bench.up(3, 2 * TABLE).await;
    let (mut kept, mut shared) = (Vec::new(), BTreeSet::new());
    for ear in [&mut second, &mut third] {
        within(async {
            while ear.end_of_rib == 0 {
                let bytes = ear.bytes.recv().await.expect("the writer was closed");
                kept.push(bytes.clone());
                ear.learn(bytes);
            }
        })
        .await;
        assert_eq!(ear.routes, first.routes);
    }
    let places: Vec<usize> = kept.iter().map(|bytes| bytes.as_ptr().addr()).collect();
    let twice = places.iter().filter(|place| !shared.insert(**place)).count();
    assert!(twice >= TABLE / 2, "{twice} of {} messages went to both", places.len());
}

#[tokio::test]
async fn a_peer_that_comes_in_the_middle_of_a_feed_is_told_the_part_before_it_too() {
    let (bench, first) = with_table().await;
    // It takes one message at a time, and the feed with it.
    let mut second = bench.up(2, 1).await;
    second.until(|ear| ear.routes.len() > TABLE / 2).await;
    let mut third = bench.up(3, 1).await;
    for ear in [&mut second, &mut third] {
        ear.until(|ear| ear.end_of_rib == 1).await;
        assert_eq!(ear.routes, first.routes);
    }
}

#[tokio::test]
async fn late_peers_end_with_the_last_state_of_a_table_that_changes_all_the_while() {
    let (bench, mut first) = with_table().await;
    let mut late = vec![bench.up(2, 1).await, bench.up(3, 64).await];
    for round in 0..6_usize {
        // One reads little, one nothing for half of the time, so that it loses its place in the ring.
        late[0].until(|ear| ear.routes.len() > 20 * round).await;
        if round > 2 {
            late[1].until(|ear| ear.routes.len() > 100 * round).await;
        }
        let some = |of: usize| (0..TABLE).filter(move |n| n % 6 == of);
        bench.originate(some(round).map(withdrawal).collect()).await;
        let again = some((round + 3) % 6).map(|n| Origination::Announce {
            prefix: announcement(n).prefix(),
            communities: vec![Community(u32::try_from(1000 + round).unwrap())],
        });
        bench.originate(again.collect()).await;
        let last = announcement((round + 3) % 6).prefix();
        let said = vec![Community(u32::try_from(1000 + round).unwrap())];
        first.until(|ear| ear.routes.get(&last) == Some(&said)).await;
    }
    // What comes last: then the first peer has heard everything.
    let end = announcement(TABLE);
    bench.originate(vec![end.clone()]).await;
    first.until(|ear| ear.routes.contains_key(&end.prefix())).await;
    for ear in &mut late {
        ear.until(|ear| ear.end_of_rib == 1 && ear.routes == first.routes).await;
        assert_eq!(ear.end_of_rib, 1);
    }
}
