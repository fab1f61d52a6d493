//! GoBGP: Go's runtime has as many threads as it is given CPUs.

use std::fmt::Write as _;
use std::path::Path;

use super::{Subject, family, write};
use crate::load::{Client, PORT, SUBJECT_AS};
use crate::place;

pub(super) fn prepare(subject: &Subject, folder: &Path, clients: &[Client]) -> anyhow::Result<Vec<String>> {
    let (id, own) = (place::ROUTER_ID, place::subject(family(clients)));
    let announced = if own.is_ipv4() { "ipv4-unicast" } else { "ipv6-unicast" };
    let mut text = format!("[global.config]\nas = {SUBJECT_AS}\nrouter-id = \"{id}\"\nport = {PORT}\n");
    writeln!(text, "local-address-list = [\"{own}\"]")?;
    for Client { address, asn, internal, .. } in clients {
        writeln!(
            text,
            "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{address}\"\npeer-as = {asn}"
        )?;
        writeln!(text, "[neighbors.transport.config]\npassive-mode = true")?;
        writeln!(text, "[neighbors.timers.config]\nhold-time = 180\nkeepalive-interval = 60")?;
        if *internal {
            writeln!(text, "[neighbors.route-reflector.config]\nroute-reflector-client = true")?;
            writeln!(text, "route-reflector-cluster-id = \"{id}\"")?;
        }
        writeln!(
            text,
            "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{announced}\""
        )?;
    }
    let file = write(folder, "gobgp.toml", &text)?;
    Ok(subject.words(&["-f", &file, "-l", "error", "--api-hosts", "127.0.0.1:50051"]))
}
