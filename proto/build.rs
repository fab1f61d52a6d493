//! Compiles the contract without `protoc`: protox reads the files, tonic writes the code, and the same descriptor set
//! is kept for server reflection.

use std::path::PathBuf;

use anyhow::Context;
use prost::Message;

const FILES: [&str; 4] =
    ["caracal/v1/bgp.proto", "caracal/v1/ipam.proto", "caracal/v1/node.proto", "caracal/v1/resource.proto"];

fn main() -> anyhow::Result<()> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"]).context("reading the contract in proto/")?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").context("OUT_DIR is not set: build with cargo")?);
    std::fs::write(out.join("fds.bin"), descriptors.encode_to_vec())
        .with_context(|| format!("writing fds.bin into {}", out.display()))?;
    tonic_prost_build::configure().compile_fds(descriptors).context("writing the code of the contract")?;
    Ok(())
}
