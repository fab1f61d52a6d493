//! Where things are: the workspace, and the folder of built programs.

use std::path::{Path, PathBuf};
use std::process::Command;

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
///
/// What cargo told this runner of its own package is taken out: build scripts watch these variables, and would compile
/// half of the dependencies anew each time somebody changes between this runner and cargo itself.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_of_the_runner) {
            command.env_remove(name);
        }
    }
    command
}

/// Whether cargo sets the variable for the program that it runs, rather than people for cargo.
fn is_of_the_runner(name: &str) -> bool {
    let prefixes = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
    prefixes.iter().any(|prefix| name.starts_with(prefix))
        || ["CARGO", "CARGO_PRIMARY_PACKAGE", "OUT_DIR"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_people_reach_cargo_and_words_about_the_runner_do_not() {
        for (name, of_the_runner) in [
            ("CARGO_PKG_NAME", true),
            ("CARGO_MANIFEST_DIR", true),
            ("CARGO_TARGET_DIR", false),
            ("CARGO_HOME", false),
            ("CARGO_BUILD_JOBS", false),
            ("RUSTFLAGS", false),
        ] {
            assert_eq!(is_of_the_runner(name), of_the_runner, "{name}");
        }
    }
}
