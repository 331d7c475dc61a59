//! The written pages: each is tested, and their links lead somewhere.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut pages: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect();
    pages.sort();
    pages
}

#[test]
fn every_page_of_the_guide_is_tested_and_in_its_index() {
    let guide = root().join("docs/guide");
    let index = std::fs::read_to_string(guide.join("README.md")).unwrap();
    let tested = std::fs::read_to_string(root().join("examples/src/lib.rs")).unwrap();
    let pages = pages(&guide);
    assert_eq!(pages.len(), 14);
    for page in pages {
        let name = page.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(!text.contains("no_run") && !text.contains("```ignore"), "{name}: its examples run");
        if name != "README.md" {
            assert!(text.contains("\n```rust\n"), "{name} has no example");
            assert!(index.contains(&format!("]({name})")), "{name} is not in the index");
            assert!(tested.contains(&format!("\"docs/guide/{name}\"")), "{name} is not tested");
        }
    }
}

#[test]
fn links_to_files_lead_somewhere() {
    let repository = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/");
    let crates = std::fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    let crates = crates.filter(|path| path.join("Cargo.toml").exists());
    let folders = ["", "docs/guide", "docs/decisions"].map(|folder| root().join(folder));
    let mut links = 0;
    for page in folders.into_iter().chain(crates).flat_map(|folder| pages(&folder)) {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
            let target = link.0.split('#').next().unwrap_or_default();
            let file = match target.strip_prefix(repository) {
                Some(path) => root().join(path),
                // Items of rustdoc are its own to check.
                None if target.is_empty() || target.contains("::") || target.contains("://") => continue,
                None => page.parent().unwrap().join(target),
            };
            assert!(file.exists(), "{}: {target}", page.display());
            links += 1;
        }
    }
    assert!(links > 40, "{links} links were looked at");
}
