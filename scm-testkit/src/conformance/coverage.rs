//! No promise without a case: the traits of scm-core, read as source, against the registry.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn source(path: &Path) -> syn::File {
    syn::parse_file(&text(path)).unwrap()
}

fn rust_files(dir: &Path) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|ending| ending == "rs")).collect()
}

/// `Trait::method` of every public trait in these sources, but for those that users implement themselves.
fn methods<'a>(sources: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
    let items = sources.into_iter().flat_map(|source| syn::parse_file(source).unwrap().items);
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

/// The sources of the operations, which need cases.
fn operations() -> Vec<String> {
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scm-core/src");
    let mut files = rust_files(&core.join("ops"));
    files.push(core.join("ext.rs"));
    files.iter().map(|path| text(path)).collect()
}

/// The umbrella, whose methods have cases where there is something to say of them.
fn umbrella() -> BTreeSet<String> {
    methods([&text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../scm-core/src/scm.rs"))])
}

fn covered() -> BTreeSet<String> {
    super::all().flat_map(|case| case.methods).map(|method| (*method).to_owned()).collect()
}

/// What is promised without a case, and what has a case without being there.
fn gaps(promised: &BTreeSet<String>, covered: &BTreeSet<String>) -> Vec<String> {
    let known: BTreeSet<_> = promised.union(&umbrella()).cloned().collect();
    let without = promised.difference(covered).map(|method| format!("{method} has no conformance case"));
    let unknown = covered.difference(&known).map(|method| format!("{method} has a case and is not there"));
    without.chain(unknown).collect()
}

#[test]
fn every_method_has_a_case() {
    let promised = methods(&operations());
    assert!(promised.contains("CiLogsExt::job_log_tail"), "the traits are not read: {promised:?}");
    let gaps = gaps(&promised, &covered());
    assert!(gaps.is_empty(), "{gaps:#?}");
}

/// The check above, held to what it is for.
#[test]
fn a_method_without_a_case_is_named() {
    let promised = methods(&operations());
    for method in &promised {
        let mut rest = covered();
        rest.remove(method);
        assert_eq!(gaps(&promised, &rest), [format!("{method} has no conformance case")]);
    }
    let mut grown = operations();
    grown.push("pub trait Branches: Send { async fn rename_branch(&self) -> Result<()>; }".to_owned());
    let named = ["Branches::rename_branch has no conformance case"];
    assert_eq!(gaps(&methods(&grown), &covered()), named);
    let mut more = covered();
    more.insert("Branches::rename_branch".to_owned());
    assert_eq!(gaps(&promised, &more), ["Branches::rename_branch has a case and is not there"]);
}

/// The functions of a source by name, with their text.
fn functions(text: &str) -> BTreeMap<String, String> {
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

/// The methods that the function `name` is said to exercise, and does not call.
fn uncalled<'a>(known: &BTreeMap<String, String>, name: &str, methods: &[&'a str]) -> Vec<&'a str> {
    let calls = |method: &str| calls(known, name, method.split("::").nth(1).unwrap(), &mut BTreeSet::new());
    methods.iter().copied().filter(|method| !calls(method)).collect()
}

#[test]
fn every_case_calls_what_it_says_it_covers() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/conformance");
    let shared = functions(&text(&dir.join("support.rs")));
    for case in super::all() {
        let (module, name) = case.name.split_once('.').unwrap();
        let mut known = functions(&text(&dir.join(format!("{module}.rs"))));
        known.extend(shared.clone());
        assert_eq!(uncalled(&known, name, case.methods), [""; 0], "{}", case.name);
    }
}

#[test]
fn a_case_that_does_not_call_its_method_is_found() {
    let known = functions(
        "pub async fn makes_one(ctx: &Ctx) {\n    make(ctx).await;\n    ctx.scm.branches().list_branches(&repo);\n}\n\
         async fn make(ctx: &Ctx) {\n    ctx.scm.branches().create_branch(&repo);\n}\n",
    );
    let methods = ["Branches::create_branch", "Branches::list_branches_page", "Branches::delete_branch"];
    assert_eq!(uncalled(&known, "makes_one", &methods), ["Branches::delete_branch"]);
    assert_eq!(uncalled(&known, "is_not_there", &methods), methods);
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
        let text = text(&path);
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
