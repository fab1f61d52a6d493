//! Writes `deploy/crds` from the types, or with `--check` says which files are not current.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

fn main() -> anyhow::Result<ExitCode> {
    let check = std::env::args().skip(1).any(|a| a == "--check");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let mut stale = Vec::new();
    let mut names = Vec::new();
    for crd in caracal_api::crds::all()? {
        let (name, text) = caracal_api::crds::document(&crd)?;
        let path = folder.join(&name);
        if std::fs::read_to_string(&path).ok().as_deref() != Some(text.as_str()) {
            if !check {
                std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
            }
            stale.push(name.clone());
        }
        names.push(name);
    }
    for entry in std::fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !names.contains(&name) {
            stale.push(format!("{name} (of no kind)"));
        }
    }
    if check && !stale.is_empty() {
        eprintln!(
            "deploy/crds is not current: {}; run `cargo run -p caracal-api --bin crds`",
            stale.join(", ")
        );
        return Ok(ExitCode::FAILURE);
    }
    println!("{} definitions, {} {}", names.len(), stale.len(), if check { "stale" } else { "written" });
    Ok(ExitCode::SUCCESS)
}
