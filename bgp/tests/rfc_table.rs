//! `docs/rfc.md` says which test holds which section: those tests must exist.

#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The names of all functions in the sources below `folder`.
fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let names = text.lines().filter_map(|line| {
                let visible = line.trim_start();
                let line = visible.strip_prefix("pub(crate) ").unwrap_or(visible);
                let rest = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?;
                Some(rest.split(['(', '<']).next()?.to_owned())
            });
            found.extend(names);
        }
    }
}

#[test]
fn every_test_that_the_table_of_rfcs_names_exists() {
    let mut existing = BTreeSet::new();
    for folder in ["bgp/src", "bgp/tests", "bgp/bgpd", "bgp/underlay", "tests/suites"] {
        functions(&root().join(folder), &mut existing);
    }
    let page = std::fs::read_to_string(root().join("docs/rfc.md")).unwrap();
    let quoted = page.split('`').skip(1).step_by(2);
    // A test's name is a sentence; other code in the page is not.
    let named: BTreeSet<&str> = quoted
        .filter(|text| text.contains('_') && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        .collect();
    assert!(named.len() > 80, "only {} tests are named: is the page read rightly?", named.len());
    let missing: Vec<_> = named.into_iter().filter(|name| !existing.contains(*name)).collect();
    assert!(missing.is_empty(), "docs/rfc.md names tests that do not exist: {missing:#?}");
}

#[test]
fn every_row_of_the_table_of_rfcs_names_a_test() {
    let page = std::fs::read_to_string(root().join("docs/rfc.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| section"));
    let bare: Vec<&str> = rows.filter(|row| !row.contains('`')).collect();
    assert!(bare.is_empty(), "rows without a test: {bare:#?}");
}
