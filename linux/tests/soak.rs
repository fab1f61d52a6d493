//! Random edits by another hand, for some seconds, while what is wanted changes too: the kernel ends as wanted, and what was
//! never ours is untouched.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

mod sandbox;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use caracal_linux::kernel::Wanted;
use caracal_linux::namespace::Namespace;
use caracal_linux::object::route::Route;
use caracal_wait::until;
use sandbox::wants::*;
use sandbox::{device, ip, namespace, try_ip, wire};

/// How long the hand is busy.
const BUSY: Duration = Duration::from_secs(5);
/// How many edits it makes at least, however slow the machine is.
const LEAST: u32 = 50;
/// A key that was fought over is left alone for this long at first.
const CONTEST: Duration = Duration::from_secs(10);
const BLOCKS: u64 = 40;

/// Numbers that follow from a seed (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

fn block(n: u64) -> String {
    if n.is_multiple_of(2) { format!("10.1.{n}.0/26") } else { format!("fd00:1:{n:x}::/122") }
}

fn gateway(n: u64, which: u64) -> &'static str {
    match (n.is_multiple_of(2), which) {
        (true, 0) => "192.0.2.9",
        (true, _) => "192.0.2.8",
        (false, 0) => "2001:db8::9",
        (false, _) => "2001:db8::8",
    }
}

/// What another hand may do. None of it touches what is foreign.
fn edit(dice: &mut Dice) -> String {
    let (n, which) = (dice.below(BLOCKS), dice.below(2));
    let (block, gateway) = (block(n), gateway(n, which));
    match dice.below(9) {
        0 => format!("route replace {block} via {gateway} dev eth0 proto 67"),
        1 => format!("route del {block} proto 67"),
        2 => "-4 route flush proto 67".to_owned(),
        3 => "-6 route flush proto 67".to_owned(),
        4 => format!("route add {block} via {gateway} dev eth0 proto 67"),
        5 => "neigh flush nud permanent dev cali1".to_owned(),
        6 => "link set cali1 down".to_owned(),
        7 => "link set cali1 up".to_owned(),
        _ => format!("route add 10.77.{n}.0/24 via 192.0.2.9 proto 67"),
    }
}

/// The destinations of our routes, each with its gateway.
fn seen(host: &Namespace) -> BTreeMap<String, String> {
    let text = ip(host, "-4 route show proto 67") + &ip(host, "-6 route show proto 67");
    text.lines()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let via = words.iter().position(|word| *word == "via").and_then(|at| words.get(at + 1));
            (words[0].to_owned(), via.copied().unwrap_or("-").to_owned())
        })
        .collect()
}

#[tokio::test]
async fn whatever_another_hand_does_at_random_the_kernel_ends_as_wanted() {
    let seed = u64::from(std::process::id()) | 1 << 32;
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let host = namespace();
    wire(&host, "eth0");
    wire(&host, "cali1");
    ip(&host, "addr add 192.0.2.1/24 dev eth0");
    ip(&host, "addr add 2001:db8::1/64 dev eth0 nodad");
    let foreign = ["10.200.0.0/16 via 192.0.2.5 proto bird", "fd00:200::/48 via 2001:db8::5 proto static"];
    for one in foreign {
        ip(&host, &format!("route add {one}"));
    }
    let listed = || ip(&host, "-4 route show proto bird") + &ip(&host, "-6 route show proto static");
    let others = listed();
    let kernel = start(&host);
    kernel.release_sweep().await.unwrap();
    kernel.settle(pod("cali1")).await.unwrap();
    let mut wanted: BTreeMap<String, String> = BTreeMap::new();
    let (began, mut edits) = (Instant::now(), 0_u32);
    while began.elapsed() < BUSY || edits < LEAST {
        for _ in 0..dice.below(6) {
            // Some of it is impossible at the moment, which is the hand's own affair.
            try_ip(&host, &edit(&mut dice));
            edits += 1;
        }
        let n = dice.below(BLOCKS);
        let (block, gateway) = (block(n), gateway(n, dice.below(2)));
        if dice.below(4) == 0 {
            wanted.remove(&block);
            kernel.want(vec![Wanted::Route(key(&block), None)]).await.unwrap();
        } else {
            wanted.insert(block.clone(), gateway.to_owned());
            let via = Route::via(gateway.parse().unwrap(), device("eth0"));
            kernel.want(vec![route(&block, via)]).await.unwrap();
        }
    }
    ip(&host, "link set cali1 up");
    wanted.insert("10.0.0.1".to_owned(), "-".to_owned());
    wanted.insert("fd00::1".to_owned(), "-".to_owned());
    // That it ends so is asked here, not how soon: contests may have to be sat out one after the other.
    let end = CONTEST * 6;
    until("all is as wanted", end, async || seen(&host) == wanted && pod_is_there(&host)).await;
    until("nothing is refused", SECOND, async || kernel.refusals().borrow().total == 0).await;
    assert_eq!(listed(), others, "what was never ours has changed");
}
