//! No promise without a case: the traits of scm-core, read as source, against the registry.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn source(path: &Path) -> syn::File {
    syn::parse_file(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn rust_files(dir: &Path) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|ending| ending == "rs")).collect()
}

/// `Trait::method` of every public trait in these files, but for those that users implement themselves.
fn methods(files: &[std::path::PathBuf]) -> BTreeSet<String> {
    let items = files.iter().flat_map(|path| source(path).items);
    let traits = items.filter_map(|item| match item {
        syn::Item::Trait(item) if item.ident != "SecretSink" => Some(item),
        _ => None,
    });
    traits
        .flat_map(|item| {
            let name = item.ident.to_string();
            item.items.into_iter().filter_map(move |member| match member {
                syn::TraitItem::Fn(method) => Some(format!("{name}::{}", method.sig.ident)),
                _ => None,
            })
        })
        .collect()
}

fn core() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scm-core/src")
}

#[test]
fn every_method_has_a_case() {
    let mut files = rust_files(&core().join("ops"));
    files.push(core().join("ext.rs"));
    let wanted = methods(&files);
    assert!(
        wanted.contains("Branches::create_branch") && wanted.contains("CiLogsExt::job_log_tail"),
        "{wanted:?}"
    );
    let covered: BTreeSet<String> =
        super::all().flat_map(|case| case.methods).map(|method| (*method).to_owned()).collect();
    let missing: Vec<_> = wanted.difference(&covered).collect();
    assert!(missing.is_empty(), "without a conformance case: {missing:#?}");
    files.push(core().join("scm.rs"));
    let unknown: Vec<_> = covered.difference(&methods(&files)).cloned().collect();
    assert!(unknown.is_empty(), "cases for what is not there: {unknown:#?}");
}

/// The functions of a source file by name, with their text.
fn functions(path: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(path).unwrap();
    let starts = ["async fn ", "pub async fn ", "fn ", "pub fn ", "pub(super) async fn ", "pub(super) fn "];
    let mut functions = BTreeMap::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        if let Some(rest) = starts.iter().find_map(|start| line.strip_prefix(start)) {
            let name = rest.split(['(', '<']).next().unwrap_or_default();
            open = Some((name.to_owned(), String::new()));
        }
        if let Some((_, body)) = &mut open {
            body.push_str(line);
            body.push('\n');
        }
        if line == "}" {
            functions.extend(open.take());
        }
    }
    functions
}

/// Does `name` call `method`, itself, by the functions it calls, or by the stream over its pages?
fn calls(known: &BTreeMap<String, String>, name: &str, method: &str, seen: &mut BTreeSet<String>) -> bool {
    let Some(body) = known.get(name).filter(|_| seen.insert(name.to_owned())) else { return false };
    let stream = method.trim_end_matches("_page");
    [method, stream].iter().any(|method| body.contains(&format!(".{method}(")))
        || known
            .keys()
            .filter(|other| body.contains(&format!("{other}(")))
            .any(|other| calls(known, other, method, seen))
}

#[test]
fn every_case_calls_what_it_says_it_covers() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/conformance");
    let shared = functions(&dir.join("support.rs"));
    let mut missing = Vec::new();
    for case in super::all() {
        let (module, name) = case.name.split_once('.').unwrap();
        let mut known = functions(&dir.join(format!("{module}.rs")));
        known.extend(shared.clone());
        for method in case.methods {
            let method = method.split("::").nth(1).unwrap();
            if !calls(&known, name, method, &mut BTreeSet::new()) {
                missing.push(format!("{} does not call {method}", case.name));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_capability_that_a_case_needs_is_a_field() {
    let fields: BTreeMap<String, serde_json::Value> =
        serde_json::from_value(serde_json::to_value(scm_core::Capabilities::default()).unwrap()).unwrap();
    for need in super::all().filter_map(|case| case.needs) {
        assert!(fields.contains_key(need.field), "{}", need.field);
    }
}

#[test]
fn names_are_unique() {
    let names: Vec<_> = super::all().map(|case| case.name).collect();
    let unique: BTreeSet<_> = names.iter().collect();
    assert_eq!(unique.len(), names.len());
}

/// A case that is written and not registered never runs.
#[test]
fn every_public_function_of_a_case_module_is_registered() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/conformance");
    let names: BTreeSet<_> = super::all().map(|case| case.name.to_owned()).collect();
    for path in rust_files(&dir) {
        let module = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        if !text.contains("cases! {\n    \"") {
            continue;
        }
        for item in source(&path).items {
            let syn::Item::Fn(function) = item else { continue };
            let name = function.sig.ident.to_string();
            if matches!(function.vis, syn::Visibility::Public(_)) {
                let registered =
                    names.contains(&format!("{module}.{name}")) || text.contains(&format!("else {name};"));
                assert!(registered, "{module}.{name} is not in the registry");
            }
        }
    }
}
