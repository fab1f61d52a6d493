//! The mutants of `tests/mutants` fit the code as it is, so that none of them is proved by nothing.
//!
//! Whether each is caught takes a build of its own: `tests/mutants/run`. A test of the crate itself would count as catching
//! them all.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

use std::fs;
use std::path::Path;

/// The file that a patch changes, and what each of its hunks expects there.
fn expected(patch: &str) -> (String, Vec<String>) {
    let (mut file, mut hunks) = (String::new(), Vec::new());
    for line in patch.lines() {
        if let Some(path) = line.strip_prefix("--- a/") {
            assert_eq!(file, "", "one patch changes one file");
            file = path.to_owned();
        } else if line.starts_with("@@ ") {
            hunks.push(String::new());
        } else if let Some(hunk) = hunks.last_mut() {
            // An empty line of context has lost its blank in some editors.
            let kept = line.strip_prefix([' ', '-']).or_else(|| line.is_empty().then_some(""));
            if let Some(kept) = kept {
                hunk.push_str(kept);
                hunk.push('\n');
            }
        }
    }
    (file, hunks)
}

#[test]
fn every_mutant_fits_the_code_as_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut fitting = 0;
    for entry in fs::read_dir(root.join("tests/mutants")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "patch") {
            continue;
        }
        let name = path.file_stem().unwrap().display();
        let (file, hunks) = expected(&fs::read_to_string(&path).unwrap());
        assert!(
            file.starts_with("ipam/src/") && !hunks.is_empty(),
            "{name} changes nothing of the allocator"
        );
        let text = fs::read_to_string(root.join(&file)).unwrap();
        for hunk in hunks {
            let places = text.matches(&hunk).count();
            assert_eq!(places, 1, "{name} is stale: {file} has {places} places that read\n{hunk}");
        }
        fitting += 1;
    }
    assert!(fitting >= 15, "only {fitting} mutants are left");
}
