//! The fuzz targets of `tests/fuzz` on a stable compiler: their kept corpus, and what a seeded mutator makes of it.
//!
//! A failure names its target, seed and input. `CARACAL_SEED=…` runs that seed alone, `CARACAL_SEEDS=…` sets how many
//! are tried. An input worth keeping becomes a file in `tests/fuzz/corpus/<target>/`.

#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

#[path = "../../tests/fuzz/decoders.rs"]
mod decoders;

use decoders::{TARGETS, Target};

/// How many inputs the mutator makes for each target.
const MUTANTS: u64 = 6000;
/// No input is longer, as no message is.
const LONGEST: usize = 65_535;

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("reading {}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.into_iter().map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())).collect()
}

fn hold(target: &str, run: Target, origin: &str, bytes: &[u8]) {
    if let Err(failure) = catch_unwind(AssertUnwindSafe(|| run(bytes))) {
        let hex: String = bytes.iter().map(|octet| format!("{octet:02x}")).collect();
        eprintln!("target {target}, {origin}: input {hex}");
        resume_unwind(failure);
    }
}

#[test]
fn the_kept_corpus_is_taken_by_every_decoder() {
    for (target, run) in TARGETS {
        for (name, bytes) in corpus(target) {
            hold(target, run, &name, &bytes);
            // Each input cut at every place, too.
            for end in 0..bytes.len().min(300) {
                hold(target, run, &format!("{name} cut at {end}"), &bytes[..end]);
            }
        }
    }
}

#[test]
fn what_chance_makes_of_the_corpus_is_taken_by_every_decoder() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("CARACAL_SEED") {
        Some(only) => only..only + 1,
        None => 0..number("CARACAL_SEEDS").unwrap_or(MUTANTS),
    };
    for (target, run) in TARGETS {
        let corpus: Vec<Vec<u8>> = corpus(target).into_iter().map(|(_, bytes)| bytes).collect();
        for seed in seeds.clone() {
            let bytes = mutant(&corpus, seed);
            hold(target, run, &format!("CARACAL_SEED={seed}"), &bytes);
        }
    }
}

/// A few changes to one of the inputs.
fn mutant(corpus: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut bytes = corpus[random.random_range(0..corpus.len())].clone();
    for _ in 0..random.random_range(1..6) {
        change(&mut bytes, corpus, &mut random);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn change(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut SmallRng) {
    if bytes.is_empty() {
        bytes.push(random.random());
        return;
    }
    let place = random.random_range(0..bytes.len());
    let run = random.random_range(0..=(bytes.len() - place).min(16));
    match random.random_range(0..8) {
        0 => bytes[place] ^= 1 << random.random_range(0..8),
        1 => bytes[place] = random.random(),
        // Lengths and types at their limits.
        2 => bytes[place] = [0, 1, 127, 128, 255][random.random_range(0..5)],
        3 => drop(bytes.drain(place..place + run)),
        4 => bytes.insert(place, random.random()),
        5 => {
            let copy = bytes[place..place + run].to_vec();
            bytes.splice(place..place, copy);
        }
        6 => bytes[place] = bytes[place].wrapping_add([1, 255][random.random_range(0..2)]),
        _ => {
            let other = &corpus[random.random_range(0..corpus.len())];
            bytes.truncate(place);
            bytes.extend_from_slice(&other[random.random_range(0..=other.len())..]);
        }
    }
}
