//! How the plugin and its configuration come onto a node, stay through upgrades, and go again.
//!
//! Two hands do it. An init container runs `caracal-cni install`, which copies the program; the agent writes the network
//! configuration list (conflist) once it can serve, because a runtime takes the node for ready when it finds one. A file is
//! written beside its place, flushed, and renamed: a runtime that looks at any moment finds the old one or the new one whole,
//! and a plugin that is being executed is never "text file busy". Nothing is removed for an upgrade.
//!
//! A runtime takes the first configuration of its folder. Those of other plugins are renamed (`.caracal_bak`) after ours has
//! appeared, and uninstalling puts them back before ours goes, so that the node never has none.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::config::{DEFAULT_SOCKET, FeatureControl};
use crate::version::Version;

/// Where runtimes look for plugins.
pub const PLUGINS: &str = "/opt/cni/bin";
/// Where runtimes look for configurations.
pub const CONFIGURATIONS: &str = "/etc/cni/net.d";
/// The plugin's file, and the `type` of configurations.
pub const PLUGIN: &str = "caracal";
/// Our conflist's file: runtimes take the first by name.
pub const CONFLIST: &str = "10-caracal.conflist";
/// The name of the network.
pub const NETWORK: &str = "caracal";
/// Behind the names of what was set aside.
pub const SET_ASIDE: &str = ".caracal_bak";

/// What runtimes read as configurations.
const KINDS: [&str; 3] = ["conf", "conflist", "json"];

/// A step of an installation failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}: {source}; is the host's folder mounted, and writable?", .path.display())]
pub struct InstallError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    move |source| InstallError { doing, path: path.to_owned(), source }
}

/// What a conflist is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conflist {
    /// The agent's socket, if it is not where it usually is.
    pub socket: Option<PathBuf>,
    /// Whether the stock plugin `portmap` comes after ours: it does what `hostPort` of pods asks for.
    pub portmap: bool,
    /// What pods may ask for beyond the usual.
    pub features: FeatureControl,
}

impl Conflist {
    /// As the plugins beside ours and the place of the socket ask for it.
    pub fn for_node(socket: &Path, plugins: &Path, features: FeatureControl) -> Self {
        let unusual = socket != Path::new(DEFAULT_SOCKET);
        let portmap = plugins.join("portmap").is_file();
        Self { socket: unusual.then(|| socket.to_owned()), portmap, features }
    }

    /// The list. `cniVersion` is what every runtime in use reads; those that know `cniVersions` take the highest.
    pub fn text(&self) -> String {
        let mut main = json!({
            "type": PLUGIN,
            "capabilities": {
                "ips": true, "mac": true, "bandwidth": true, "dns": true, "io.kubernetes.cri.pod-annotations": true,
            },
        });
        if let Some(socket) = &self.socket {
            main["socket"] = socket.display().to_string().into();
        }
        if self.features != FeatureControl::default() {
            main["feature_control"] = json!(self.features);
        }
        let portmap = json!({"type": "portmap", "snat": true, "capabilities": {"portMappings": true}});
        let plugins: Vec<Value> = [main].into_iter().chain(self.portmap.then_some(portmap)).collect();
        let list = json!({
            "cniVersion": Version::V1_0_0.as_str(),
            "cniVersions": [Version::V1_0_0.as_str(), Version::V1_1_0.as_str()],
            "name": NETWORK,
            "plugins": plugins,
        });
        format!("{list:#}\n")
    }

    /// Writes it, if it does not stand there already; whether it was written.
    pub fn write(&self, configurations: &Path) -> Result<bool, InstallError> {
        let (place, text) = (configurations.join(CONFLIST), self.text());
        if fs::read_to_string(&place).is_ok_and(|found| found == text) {
            return Ok(false);
        }
        replace(&place, text.as_bytes(), 0o644)?;
        Ok(true)
    }
}

/// Copies a program into the folder of plugins, under the plugin's name; answers its place.
pub fn plugin(program: &Path, plugins: &Path) -> Result<PathBuf, InstallError> {
    let bytes = fs::read(program).map_err(failed("reading the program", program))?;
    fs::create_dir_all(plugins).map_err(failed("making the folder of plugins", plugins))?;
    let place = plugins.join(PLUGIN);
    replace(&place, &bytes, 0o755)?;
    Ok(place)
}

/// Renames the configurations of other plugins, so that runtimes do not read them; answers their names.
pub fn set_aside(configurations: &Path) -> Result<Vec<String>, InstallError> {
    let mut names = Vec::new();
    for name in files(configurations)? {
        let kind = Path::new(&name).extension().and_then(|kind| kind.to_str()).unwrap_or_default();
        if name == CONFLIST || name.starts_with('.') || !KINDS.contains(&kind) {
            continue;
        }
        let place = configurations.join(&name);
        let aside = configurations.join(format!("{name}{SET_ASIDE}"));
        fs::rename(&place, aside).map_err(failed("setting aside the configuration", &place))?;
        names.push(name);
    }
    if !names.is_empty() {
        flush(configurations)?;
    }
    Ok(names)
}

/// Gives back their names to configurations that were set aside; answers these. One whose place was taken meanwhile stays
/// set aside.
pub fn put_back(configurations: &Path) -> Result<Vec<String>, InstallError> {
    let mut names = Vec::new();
    for name in files(configurations)? {
        let Some(own) = name.strip_suffix(SET_ASIDE) else { continue };
        let place = configurations.join(own);
        if place.exists() {
            continue;
        }
        fs::rename(configurations.join(&name), &place)
            .map_err(failed("putting back the configuration", &place))?;
        names.push(own.to_owned());
    }
    flush(configurations)?;
    Ok(names)
}

/// Removes a file; whether there was one.
pub fn remove(file: &Path) -> Result<bool, InstallError> {
    match fs::remove_file(file) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("removing", file)(error)),
    }
}

/// The names in a folder, sorted; none if there is no folder.
fn files(folder: &Path) -> Result<Vec<String>, InstallError> {
    let read = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            // A name that is no text is none of ours, nor one that a runtime would read.
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    };
    match read() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(failed("listing", folder)),
    }
}

/// Puts a file in its place at once and for good. What an earlier attempt left unfinished under the same name is replaced. So is an
/// empty folder in that place: whoever mounts a file that is not there yet into a container makes one.
fn replace(place: &Path, bytes: &[u8], mode: u32) -> Result<(), InstallError> {
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = place.with_file_name(format!(".{name}.unfinished"));
    let write = || -> io::Result<()> {
        let mut file = File::create(&unfinished)?;
        file.write_all(bytes)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        drop(file);
        match fs::rename(&unfinished, place) {
            Err(error) if error.kind() == ErrorKind::IsADirectory => {
                fs::remove_dir(place).map_err(|error| match error.kind() {
                    ErrorKind::DirectoryNotEmpty => io::Error::new(
                        error.kind(),
                        "a folder stands in its place, with something in it: remove it",
                    ),
                    _ => error,
                })?;
                fs::rename(&unfinished, place)
            }
            renamed => renamed,
        }
    };
    write().map_err(failed("writing", place))?;
    flush(place.parent().unwrap_or(Path::new("/")))
}

/// A name is on disk only when its folder is.
fn flush(folder: &Path) -> Result<(), InstallError> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        flushed => flushed.map_err(failed("writing to disk", folder)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NetworkConfig;

    #[test]
    fn the_conflist_is_read_by_runtimes_of_both_ages() {
        let conflist = Conflist::for_node(
            Path::new(DEFAULT_SOCKET),
            Path::new("/nonexistent"),
            FeatureControl::default(),
        );
        let list: Value = serde_json::from_str(&conflist.text()).unwrap();
        assert_eq!(list["cniVersion"], "1.0.0");
        assert_eq!(list["cniVersions"], json!(["1.0.0", "1.1.0"]));
        let plugins = list["plugins"].as_array().unwrap();
        assert_eq!(plugins.len(), 1);
        assert_eq!(plugins[0].get("socket"), None);
        for version in ["1.0.0", "1.1.0"] {
            let mut own = plugins[0].clone();
            own["cniVersion"] = version.into();
            own["name"] = list["name"].clone();
            assert_eq!(NetworkConfig::parse(own.to_string().as_bytes()).unwrap().name, NETWORK);
        }
    }

    #[test]
    fn host_ports_are_left_to_the_stock_plugin_where_it_is() {
        let plugins = tempfile::tempdir().unwrap();
        let text = || {
            Conflist::for_node(Path::new("/run/other/cni.sock"), plugins.path(), FeatureControl::default())
                .text()
        };
        assert!(!text().contains("portmap") && text().contains("/run/other/cni.sock"));
        fs::write(plugins.path().join("portmap"), "").unwrap();
        let list: Value = serde_json::from_str(&text()).unwrap();
        assert_eq!(list["plugins"][1]["capabilities"], json!({"portMappings": true}));
    }

    #[test]
    fn others_are_set_aside_and_come_back_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("05-flannel.conflist", "flannel");
        write("99-loopback.conf", "loopback");
        write("notes.txt", "notes");
        let conflist = Conflist::default();
        assert!(conflist.write(folder.path()).unwrap());
        assert!(!conflist.write(folder.path()).unwrap(), "an upgrade that changes nothing writes nothing");
        assert_eq!(set_aside(folder.path()).unwrap(), ["05-flannel.conflist", "99-loopback.conf"]);
        assert_eq!(set_aside(folder.path()).unwrap(), Vec::<String>::new());
        let wanted =
            [CONFLIST, "05-flannel.conflist.caracal_bak", "99-loopback.conf.caracal_bak", "notes.txt"];
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        assert_eq!(files(folder.path()).unwrap(), wanted);

        // Somebody has installed it anew meanwhile: the newer one counts.
        write("99-loopback.conf", "newer");
        assert_eq!(put_back(folder.path()).unwrap(), ["05-flannel.conflist"]);
        assert_eq!(fs::read_to_string(folder.path().join("05-flannel.conflist")).unwrap(), "flannel");
        assert_eq!(fs::read_to_string(folder.path().join("99-loopback.conf")).unwrap(), "newer");
        assert!(folder.path().join("99-loopback.conf.caracal_bak").exists());
    }

    #[test]
    fn what_an_interrupted_installation_left_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".caracal.unfinished"), "half").unwrap();
        fs::write(folder.path().join("new"), "whole").unwrap();
        let place = plugin(&folder.path().join("new"), &folder.path().join("bin")).unwrap();
        assert_eq!(fs::read_to_string(&place).unwrap(), "whole");
        assert_eq!(place.metadata().unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(files(&folder.path().join("bin")).unwrap(), [PLUGIN]);
    }

    #[test]
    fn a_folder_in_the_place_of_the_conflist_gives_way_if_it_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join(CONFLIST);
        fs::create_dir(&place).unwrap();
        fs::write(place.join("notes"), "").unwrap();
        let refused = Conflist::default().write(folder.path()).unwrap_err().to_string();
        assert!(refused.contains(CONFLIST) && refused.contains("with something in it"), "{refused}");
        fs::remove_file(place.join("notes")).unwrap();
        assert!(Conflist::default().write(folder.path()).unwrap());
        assert!(place.is_file());
    }

    #[test]
    fn without_a_folder_nothing_was_set_aside() {
        let missing = Path::new("/nonexistent/net.d");
        assert_eq!(put_back(missing).unwrap(), Vec::<String>::new());
        assert!(!remove(&missing.join(CONFLIST)).unwrap());
        assert!(Conflist::default().write(missing).unwrap_err().to_string().contains("/nonexistent/net.d"));
    }
}
