//! The user namespace of a lab that is not started by root: its user is root inside, with every right over the
//! namespaces made there and none over the host (user_namespaces(7)).

use std::fs;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};

use super::SandboxError;

/// Enters a new user namespace in which the calling user is root. The process must have one thread only.
pub(super) fn become_root() -> Result<(), SandboxError> {
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let refused = |doing: &'static str, errno: Errno| SandboxError::User {
        user: user.as_raw(),
        doing,
        errno,
        remedy: remedy(|path| fs::read_to_string(path).ok()),
    };
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| refused("making one", errno))?;
    // Groups must be given up before one's own group may be mapped (user_namespaces(7)).
    for (path, text, doing) in [
        ("/proc/self/setgroups", "deny".to_owned(), "giving up groups in it"),
        ("/proc/self/uid_map", format!("0 {user} 1"), "becoming root in it"),
        ("/proc/self/gid_map", format!("0 {group} 1"), "mapping the group in it"),
    ] {
        fs::write(path, text).map_err(|error| {
            refused(doing, error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw))
        })?;
    }
    Ok(())
}

/// What an administrator can do about a refusal, by the settings that are known to cause one.
pub(super) fn remedy(read: impl Fn(&str) -> Option<String>) -> &'static str {
    let is = |path: &str, value: &str| read(path).is_some_and(|text| text.trim() == value);
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "allow them with `sysctl -w kernel.unprivileged_userns_clone=1` as root"
    } else if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "AppArmor restricts them: `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` as root lifts that"
    } else if is("/proc/sys/user/max_user_namespaces", "0") {
        "allow them with `sysctl -w user.max_user_namespaces=10000` as root"
    } else {
        "the kernel or a container's policy forbids them"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_that_forbids_is_named() {
        let with = |name: &'static str, value: &'static str| {
            remedy(move |path| path.ends_with(name).then(|| format!("{value}\n")))
        };
        assert!(with("unprivileged_userns_clone", "0").contains("unprivileged_userns_clone=1"));
        assert!(with("apparmor_restrict_unprivileged_userns", "1").contains("AppArmor"));
        assert!(with("max_user_namespaces", "0").contains("max_user_namespaces=10000"));
        assert!(with("max_user_namespaces", "96365").contains("policy"));
    }
}
