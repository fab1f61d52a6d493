//! What the plugin does for people and init containers: `install` and `uninstall`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::install::{self, InstallError};
use crate::version::Version;

const USAGE: &str = "\
It reads a network configuration on standard input and the operation in CNI_COMMAND. Without that it takes one of:
  install [--bin-dir DIR]                      copies itself into the folder of plugins
  uninstall [--bin-dir DIR] [--conf-dir DIR]   removes itself and its configuration, and puts back those that it had set aside
  help
DIR is /opt/cni/bin and /etc/cni/net.d unless given: the host's folders, wherever they are mounted.";

/// Which folders to work on.
struct Folders {
    plugins: PathBuf,
    configurations: PathBuf,
}

/// Does what the arguments say.
pub(super) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.map(|argument| argument.to_string_lossy().into_owned());
    let verb = arguments.next();
    let outcome = match verb.as_deref() {
        None => {
            about();
            return ExitCode::SUCCESS;
        }
        Some("help" | "--help" | "-h" | "--version" | "-V") => {
            about();
            return ExitCode::SUCCESS;
        }
        Some(verb @ ("install" | "uninstall")) => folders(arguments).and_then(|folders| {
            let done = if verb == "install" { install(&folders) } else { uninstall(&folders) };
            done.map_err(|error| error.to_string())
        }),
        Some(other) => Err(format!("`{other}` is no verb of it; `help` names them")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("caracal-cni: {why}");
            ExitCode::FAILURE
        }
    }
}

fn folders(mut arguments: impl Iterator<Item = String>) -> Result<Folders, String> {
    let mut folders = Folders {
        plugins: PathBuf::from(install::PLUGINS),
        configurations: PathBuf::from(install::CONFIGURATIONS),
    };
    while let Some(argument) = arguments.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (argument, arguments.next()),
        };
        let value = value.ok_or_else(|| format!("{name} wants a folder behind it"))?;
        match name.as_str() {
            "--bin-dir" => folders.plugins = value.into(),
            "--conf-dir" => folders.configurations = value.into(),
            other => return Err(format!("`{other}` is no option of it; `help` names them")),
        }
    }
    Ok(folders)
}

fn install(folders: &Folders) -> Result<(), InstallError> {
    let place = install::plugin(Path::new("/proc/self/exe"), &folders.plugins)?;
    println!("installed {}", place.display());
    Ok(())
}

fn uninstall(folders: &Folders) -> Result<(), InstallError> {
    // First the others come back, so that the node is never without a network configuration if it had one before.
    for name in install::put_back(&folders.configurations)? {
        println!("put back {name}");
    }
    if install::remove(&folders.configurations.join(install::CONFLIST))? {
        println!("removed {}", folders.configurations.join(install::CONFLIST).display());
    }
    if install::remove(&folders.plugins.join(install::PLUGIN))? {
        println!("removed {}", folders.plugins.join(install::PLUGIN).display());
    }
    Ok(())
}

fn about() {
    eprintln!(
        "caracal-cni {}: the CNI plugin of caracal, started by a container runtime.\n{USAGE}\nCNI versions: {}",
        env!("CARGO_PKG_VERSION"),
        Version::ALL.map(Version::as_str).join(", "),
    );
}
