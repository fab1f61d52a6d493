//! The task in the words of FRRouting: `zebra` for the kernel, `bgpd` for BGP.

use anyhow::Context;

use super::{Recipe, Speaker};
use crate::machine::Machine;

const PROGRAMS: &str = "/usr/lib/frr";
const FOLDER: &str = "/run/frr";
const ZEBRA: &str = "/run/frr/zserv.api";
/// The user that Debian's FRR runs as.
const USER: &str = "frr";

pub(super) fn recipes(speaker: &Speaker) -> Vec<Recipe> {
    let recipe = |name: &'static str, file: (&'static str, String), sign| Recipe {
        name,
        program: format!("{PROGRAMS}/{name}").into(),
        arguments: [
            "--config_file",
            file.0,
            "--pid_file",
            &format!("{FOLDER}/{name}.pid"),
            "--socket",
            ZEBRA,
            "--vty_socket",
            FOLDER,
            "--vty_port",
            "0",
            "--log",
            "stdout",
            "--log-level",
            "informational",
        ]
        .map(str::to_owned)
        .to_vec(),
        file,
        sign: Some(sign),
    };
    vec![
        recipe("zebra", ("/run/frr/zebra.conf", "line vty\n".into()), ZEBRA),
        recipe("bgpd", ("/run/frr/bgpd.conf", configuration(speaker)), "/run/frr/bgpd.vty"),
    ]
}

/// FRR leaves root's rights at its start, and makes its sockets after that.
pub(super) fn give_folder(machine: &Machine) -> anyhow::Result<()> {
    let user = nix::unistd::User::from_name(USER).context("looking for FRR's user")?;
    let user = user.with_context(|| format!("there is no user `{USER}`: is the package frr installed?"))?;
    let folder = machine.file(FOLDER);
    nix::unistd::chown(&folder, Some(user.uid), Some(user.gid)).with_context(|| {
        format!(
            "giving {} to the user {USER}: FRR changes its user, which a lab that is not started by root cannot allow; \
             take --router caracal or bird, or start the lab as root",
            folder.display()
        )
    })
}

fn configuration(speaker: &Speaker) -> String {
    let mut lines = Vec::new();
    for v6 in speaker.versions() {
        for node in [false, true] {
            let (word, name) = (if *v6 { "ipv6" } else { "ip" }, list(node));
            let mut any = false;
            for range in speaker.accepted(node, *v6) {
                let (network, longest) = (range.network, range.longest);
                let le = if longest > network.prefix() { format!(" le {longest}") } else { String::new() };
                lines.push(format!("{word} prefix-list {name} permit {network}{le}"));
                any = true;
            }
            if !any {
                // A list that does not exist would permit everything.
                lines.push(format!("{word} prefix-list {name} deny any"));
            }
        }
    }
    lines.push(format!("router bgp {}", speaker.asn));
    lines.push(format!(" bgp router-id {}", speaker.id));
    lines.push(" no bgp ebgp-requires-policy".into());
    lines.push(" no bgp default ipv4-unicast".into());
    lines.push(" no bgp network import-check".into());
    for neighbour in &speaker.neighbours {
        let address = neighbour.address;
        lines.push(format!(" neighbor {address} remote-as {}", neighbour.asn));
        lines.push(format!(" neighbor {address} description {}", neighbour.name));
        lines.push(format!(" neighbor {address} update-source {}", neighbour.local));
        lines.push(format!(" neighbor {address} timers connect 1"));
    }
    for v6 in speaker.versions() {
        lines.push(format!(" address-family {} unicast", if *v6 { "ipv6" } else { "ipv4" }));
        for network in speaker.originates.iter().filter(|network| network.is_ipv6() == *v6) {
            lines.push(format!("  network {network}"));
        }
        for neighbour in &speaker.neighbours {
            let address = neighbour.address;
            lines.push(format!("  neighbor {address} activate"));
            lines.push(format!("  neighbor {address} prefix-list {} in", list(neighbour.node)));
        }
        lines.push(" exit-address-family".into());
    }
    lines.join("\n") + "\n"
}

fn list(node: bool) -> &'static str {
    if node { "FROM-NODES" } else { "FROM-ROUTERS" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Topology;

    #[test]
    fn sessions_and_filters_are_written() {
        let topology = Topology::default();
        let text = configuration(&Speaker::of(&topology, &topology.racks[1]));
        for line in [
            "router bgp 64602",
            " neighbor 172.29.0.1 remote-as 64601",
            "  network 172.30.1.0/24",
            "  network fd00:30:0:1::/64",
            "ipv6 prefix-list FROM-ROUTERS permit fd00:30::/64",
            "ip prefix-list FROM-NODES deny any",
        ] {
            assert!(text.lines().any(|found| found == line), "no `{line}` in\n{text}");
        }
    }
}
