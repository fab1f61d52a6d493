//! `caracalctl generate-man DIR`: for packagers.

use std::path::Path;

use clap::CommandFactory;

use crate::arguments::Cli;
use crate::failure::Failure;

/// Writes one page a verb.
pub(crate) fn run(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .map_err(|source| Failure::Man { folder: folder.to_owned(), source })
}
