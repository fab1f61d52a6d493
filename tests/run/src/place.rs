//! Where things are: the workspace, and the folder of built programs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The workspace this runner was built from, and where its programs lie.
pub(crate) struct Place {
    /// The folder with the workspace's `Cargo.toml`.
    pub(crate) workspace: PathBuf,
    /// Cargo's folder for the profile in use, such as `target/debug`.
    pub(crate) programs: PathBuf,
}

impl Place {
    /// The runner lies beside the programs it starts, whatever `CARGO_TARGET_DIR` says.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("asking the kernel for this program's own path")?;
        let programs = own.parent().context("this program's path has no folder")?.to_path_buf();
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .context("the package's folder lies less than two levels deep")?
            .to_path_buf();
        anyhow::ensure!(
            workspace.join("Cargo.toml").exists(),
            "the workspace was built in {} and is no longer there: run cargo from where it is now",
            workspace.display()
        );
        Ok(Self { workspace, programs })
    }

    /// The path of one built program.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }
}

/// The cargo that runs us, so that a toolchain chosen by `cargo +x` stays chosen.
pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
