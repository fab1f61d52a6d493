#![no_main]
//! One fuzz target: see `decoders.rs`.

#[path = "../decoders.rs"]
mod decoders;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| decoders::bfd(bytes));
