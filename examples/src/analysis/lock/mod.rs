//! Lock files: which versions are installed, who asked for them, and where their hashes stand.

mod cargo;
mod npm;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jsonc_parser::ast::{Object, Value};
use jsonc_parser::{CollectOptions, ParseOptions};

use super::ecosystem::Ecosystem;
use super::files::FileKind;
use super::manifest::Unreadable;
use super::text::{Source, shown};

/// A lock file that was read.
#[derive(Debug)]
pub(crate) struct Lock {
    pub(crate) ecosystem: Ecosystem,
    pub(crate) entries: Vec<Entry>,
    /// Entries by the key a manifest finds them with: `name` in Cargo, the installed path in npm.
    by_key: BTreeMap<String, Vec<usize>>,
}

/// One installed package, or one of the repository's own.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) package: String,
    pub(crate) version: String,
    pub(crate) line: usize,
    pub(crate) origin: Origin,
    /// Every place that says the version, other entries' references included.
    pub(crate) versions: Vec<Field>,
    pub(crate) checksums: Vec<Field>,
    pub(crate) resolved: Vec<Field>,
    pub(crate) integrity: Vec<Field>,
    /// What it asks for itself.
    pub(crate) requires: Vec<Require>,
    /// Whether every place that would have to change can be changed.
    pub(crate) editable: bool,
}

/// Where a package comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The ecosystem's registry.
    Registry,
    /// The repository itself.
    Own,
    /// Git, an archive, another registry.
    #[default]
    Elsewhere,
}

/// What one entry asks for.
#[derive(Debug)]
pub(crate) struct Require {
    /// The name under which it asks.
    pub(crate) name: String,
    /// The requirement and its places, where the lock file repeats them.
    pub(crate) requirement: Option<String>,
    pub(crate) fields: Vec<Field>,
    /// The entry that satisfies it.
    pub(crate) entry: Option<usize>,
}

/// A literal in the file: the bytes there are its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) at: usize,
    pub(crate) line: usize,
    pub(crate) text: String,
}

impl Lock {
    /// Reads a lock file; `None` for a kind of file that is none.
    pub(crate) fn parse(kind: FileKind, text: &str) -> Option<Result<Self, Unreadable>> {
        let source = Source::new(text);
        match kind {
            FileKind::CargoLock => Some(cargo::parse(&source)),
            FileKind::NpmLock => Some(npm::parse(&source)),
            _ => None,
        }
    }

    fn new(ecosystem: Ecosystem, keyed: Vec<(String, Entry)>) -> Self {
        let mut by_key: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut entries = Vec::with_capacity(keyed.len());
        for (key, entry) in keyed {
            by_key.entry(key).or_default().push(entries.len());
            entries.push(entry);
        }
        Self { ecosystem, entries, by_key }
    }

    /// The entries under a key.
    pub(crate) fn keyed(&self, key: &str) -> &[usize] {
        self.by_key.get(key).map_or(&[], Vec::as_slice)
    }

    /// The repository's own package: of that name in Cargo, in that directory (relative to the lock file) in npm.
    pub(crate) fn own(&self, key: &str) -> Option<&Entry> {
        let own = |index: &&usize| self.entries.get(**index).is_some_and(|entry| entry.origin == Origin::Own);
        self.keyed(key).iter().find(own).and_then(|index| self.entries.get(*index))
    }

    /// How a package came in: the entries from one that the repository asks for itself down to the one before `to`,
    /// as `name version`. Empty if it is one of those, or if the file does not tell.
    pub(crate) fn chain(&self, to: usize, direct: &BTreeSet<usize>) -> Vec<String> {
        let own = self.entries.iter().filter(|entry| entry.origin == Origin::Own);
        let asked = own.flat_map(|entry| entry.requires.iter().filter_map(|require| require.entry));
        let starts: BTreeSet<usize> = asked.chain(direct.iter().copied()).collect();
        let mut came_from: BTreeMap<usize, Option<usize>> =
            starts.iter().map(|start| (*start, None)).collect();
        let mut queue: VecDeque<usize> = starts.into_iter().collect();
        while let Some(at) = queue.pop_front() {
            if at == to {
                break;
            }
            for next in self.entries.get(at).into_iter().flat_map(|entry| &entry.requires) {
                if let Some(next) = next.entry
                    && !came_from.contains_key(&next)
                {
                    came_from.insert(next, Some(at));
                    queue.push_back(next);
                }
            }
        }
        let mut chain = Vec::new();
        let mut at = came_from.get(&to).copied().flatten();
        while let Some(entry) = at.and_then(|index| self.entries.get(index)) {
            chain.push(shown(&format!("{} {}", entry.package, entry.version)));
            at = at.and_then(|index| came_from.get(&index).copied().flatten());
        }
        chain.reverse();
        chain
    }
}

/// The object a JSON file consists of.
pub(crate) fn json_object<'a>(source: &Source<'a>) -> Result<Object<'a>, Unreadable> {
    let strict = ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let parsed =
        jsonc_parser::parse_to_ast(source.body(), &CollectOptions::default(), &strict).map_err(|error| {
            Unreadable { line: Some(error.line_display()), reason: shown(&error.kind().to_string()) }
        })?;
    match parsed.value {
        Some(Value::Object(object)) => Ok(object),
        _ => Err(Unreadable { line: Some(1), reason: "expected a JSON object".to_owned() }),
    }
}
