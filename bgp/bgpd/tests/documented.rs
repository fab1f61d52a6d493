//! What `docs/bgpd.md` shows and lists is what the daemon takes.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

use std::fs;
use std::path::Path;

use caracal_bgpd::settings::Settings;

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/bgpd.md")).unwrap()
}

#[test]
fn every_example_is_a_good_file() {
    let page = page();
    let examples: Vec<&str> =
        page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!examples.is_empty());
    for example in examples {
        let settings = Settings::parse(Path::new("example"), example).unwrap();
        assert!(!settings.config.peers.is_empty() && !settings.originate.is_empty());
    }
}

/// The daemon names the keys of a table when it finds one it does not know: those are what the page must list.
#[test]
fn every_key_is_listed() {
    let speaker = "[speaker]\nas = 1\nrouter-id = \"1.1.1.1\"\n";
    let page = page();
    for (section, table) in [
        ("### `[speaker]`", speaker.to_owned()),
        ("### `[fib]`", format!("{speaker}[fib]\n")),
        ("### `[[originate]]`", format!("{speaker}[[originate]]\n")),
        ("### `[[peer]]`", format!("{speaker}[[peer]]\n")),
        ("### `[[bmp]]`", format!("{speaker}[[bmp]]\n")),
        ("### `[[policy]]`", format!("{speaker}[[policy]]\n")),
        ("### `[[policy]]`", format!("{speaker}[[policy]]\n[[policy.rule]]\n")),
    ] {
        let said =
            Settings::parse(Path::new("f"), &format!("{table}zzzzzzzzzz = 1\n")).unwrap_err().to_string();
        let (_, keys) = said.split_once("the keys here are: ").unwrap_or_else(|| panic!("{said}"));
        let (_, text) = page.split_once(section).unwrap_or_else(|| panic!("no section {section}"));
        let text = text.split("\n### ").next().unwrap();
        for key in keys.split(", ") {
            let listed = text.contains(&format!("`{key}`"))
                || text.contains(&format!("[{section}.{key}]"))
                || text.contains(&format!(".{key}]]`"));
            assert!(listed, "{section} does not list `{key}`");
        }
    }
}
