//! What can be seen by reading the tree: who may depend on what, and what must not be written anywhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The text files of the project, by path from its root.
fn files() -> Vec<(PathBuf, String)> {
    fn walk(root: &Path, folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        const SKIPPED: [&str; 4] = [".git", "target", "node_modules", "out"];
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !SKIPPED.contains(&name) {
                walk(root, &path, found);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                found.push((path.strip_prefix(root).unwrap().to_owned(), text));
            }
        }
    }
    let (root, mut found) = (Path::new(env!("CARGO_MANIFEST_DIR")), Vec::new());
    walk(root, root, &mut found);
    found.sort();
    assert!(found.len() > 50, "the walk has lost its way");
    found
}

/// Crates: folder and manifest.
fn manifests() -> Vec<(PathBuf, toml::Table)> {
    let manifest = |(path, text): (PathBuf, String)| {
        let folder = path.parent().unwrap().to_owned();
        (path.file_name()? == "Cargo.toml").then(|| (folder, text.parse().unwrap()))
    };
    files().into_iter().filter_map(manifest).collect()
}

/// The names in a manifest's dependency tables.
fn dependencies(manifest: &toml::Table, tables: &[&str]) -> BTreeSet<String> {
    let names =
        |table: &&str| manifest.get(*table).and_then(|table| table.as_table()).map(|table| table.keys().cloned());
    tables.iter().filter_map(names).flatten().collect()
}

#[test]
fn the_core_knows_no_runtime() {
    for (folder, manifest) in manifests().iter().filter(|(folder, _)| folder.starts_with("src")) {
        let all = dependencies(manifest, &["dependencies", "dev-dependencies", "build-dependencies"]);
        let runtime: Vec<_> = all.iter().filter(|name| name.starts_with("tokio") || *name == "axum").collect();
        assert!(runtime.is_empty(), "{} depends on {runtime:?}", folder.display());
    }
}

#[test]
fn dependencies_point_inwards() {
    let ours = [
        ("src/model", &[][..]),
        ("src/packages", &["model"]),
        ("src/bus", &["model"]),
        ("src/sip", &["model"]),
        ("src/remote", &["model", "packages", "sip"]),
        ("src/shard", &["model", "packages", "bus", "sip"]),
        ("adapters/port", &["model"]),
        ("adapters/dns", &["model"]),
        ("adapters/sip", &["port", "model", "sip"]),
        ("adapters/store", &["model"]),
        ("adapters/web", &["port", "model"]),
    ];
    for (folder, manifest) in manifests().iter().filter(|(folder, _)| folder != Path::new("")) {
        let (_, allowed) = ours
            .iter()
            .find(|(known, _)| folder == Path::new(known))
            .unwrap_or_else(|| panic!("{} is a new crate: say here what it may depend on", folder.display()));
        for name in dependencies(manifest, &["dependencies"]) {
            if let Some(name) = name.strip_prefix("lamplighter-") {
                assert!(allowed.contains(&name), "{} must not depend on {name}", folder.display());
            }
        }
    }
}

#[test]
fn rsip_is_the_vocabulary_of_one_folder() {
    let manifests: Vec<_> = manifests()
        .into_iter()
        .filter(|(_, manifest)| dependencies(manifest, &["dependencies", "dev-dependencies"]).contains("rsip"))
        .map(|(folder, _)| folder)
        .collect();
    assert_eq!(manifests, [Path::new("src/sip")]);
    for (path, text) in files() {
        let named = path.extension().is_some_and(|end| end == "rs") && text.contains(concat!("rsip", "::"));
        assert!(!named || path.starts_with("src/sip"), "{}", path.display());
    }
}

#[test]
fn no_file_names_a_machine() {
    let words = [
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/wo", "rk/"),
        concat!("/Us", "ers/"),
        concat!("sha", "red/"),
    ];
    for (path, text) in files() {
        for (number, line) in text.lines().enumerate() {
            for word in words {
                assert!(!line.contains(word), "{}:{} has {word}", path.display(), number + 1);
            }
        }
    }
}

#[test]
fn tests_name_the_rows_that_they_show() {
    const ROWS: &[&str] = &[
        "DI-01", "DI-02", "DI-04", "DI-05", "DI-06", "DI-07", "DI-08", "DI-09", "DI-10", "DI-11", "DI-12", "DI-13",
        "PD-15", "PU-13", "MW-01", "MW-03", "PR-01", "TR-01", "TR-02", "TR-03", "OP-02", "OP-03", "OP-05",
    ];
    let files = files();
    let test = |path: &Path, text: &str| {
        path != Path::new(file!())
            && (path.starts_with("tests") || text.contains("#[test]") || path.ends_with("tests.rs"))
    };
    for row in ROWS {
        assert!(files.iter().any(|(path, text)| test(path, text) && text.contains(row)), "no test names {row}");
    }
}

#[test]
fn the_map_shows_every_crate() {
    let map = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    for (folder, _) in manifests().iter().filter(|(folder, _)| folder != Path::new("")) {
        assert!(map.contains(&format!("`{}`", folder.display())), "ARCHITECTURE.md does not name {}", folder.display());
    }
}
