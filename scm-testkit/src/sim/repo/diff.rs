use std::collections::BTreeSet;

use super::{Repo, Result, Stats};

/// How one file differs between two trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileDiff {
    pub(crate) old_path: String,
    pub(crate) new_path: String,
    pub(crate) old_mode: String,
    pub(crate) new_mode: String,
    pub(crate) old_id: String,
    pub(crate) new_id: String,
    /// git's letter: A, M, D, R, T ...
    pub(crate) status: char,
    /// How much of a renamed or copied file stayed, in percent.
    pub(crate) similarity: Option<u32>,
    pub(crate) binary: bool,
    /// From the first `@@` on; empty for binary files and pure renames.
    pub(crate) hunks: String,
}

/// How the hunks of a diff are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiffStyle {
    /// Unchanged lines around changed ones.
    pub(crate) context: u32,
    pub(crate) ignore_space: bool,
}

impl Default for DiffStyle {
    fn default() -> Self {
        Self { context: 3, ignore_space: false }
    }
}

impl DiffStyle {
    fn arguments(self) -> impl Iterator<Item = String> {
        [format!("-U{}", self.context)].into_iter().chain(self.ignore_space.then(|| "-w".to_owned()))
    }
}

/// Which lines of a file a diff talks about.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct DiffLines {
    pub(crate) added: BTreeSet<u64>,
    pub(crate) removed: BTreeSet<u64>,
    /// Old and new number of unchanged lines inside the hunks.
    pub(crate) context: BTreeSet<(u64, u64)>,
}

impl Repo {
    /// Files that differ between two commits or trees, renames detected, in git's order.
    pub(crate) fn diff(&self, from: &str, to: &str) -> Result<Vec<FileDiff>> {
        self.diff_in(from, to, DiffStyle::default())
    }

    pub(crate) fn diff_in(&self, from: &str, to: &str, style: DiffStyle) -> Result<Vec<FileDiff>> {
        let mut files = self.changed_files(from, to)?;
        if style.ignore_space {
            // git leaves files out of the patch that differ in white space only, so each is asked for by itself.
            for file in &mut files {
                let patch = self.patch_of(from, to, style, &[&file.old_path, &file.new_path])?;
                if let Some((hunks, binary)) = split_patch(&String::from_utf8_lossy(&patch)).pop() {
                    (file.hunks, file.binary) = (hunks, binary);
                }
            }
            return Ok(files);
        }
        let patch = self.patch_of(from, to, style, &[])?;
        for (file, (hunks, binary)) in files.iter_mut().zip(split_patch(&String::from_utf8_lossy(&patch))) {
            (file.hunks, file.binary) = (hunks, binary);
        }
        Ok(files)
    }

    /// As [`diff`](Self::diff), without the hunks.
    pub(crate) fn changed_files(&self, from: &str, to: &str) -> Result<Vec<FileDiff>> {
        let mut command = self.command();
        command.args(["diff-tree", "-r", "-M", "--raw", "-z", "--no-abbrev", from, to]);
        Ok(parse_raw(&String::from_utf8_lossy(&self.git.run(&mut command)?)))
    }

    /// The whole text of a diff, or that of some paths.
    pub(crate) fn patch_of(&self, from: &str, to: &str, style: DiffStyle, paths: &[&str]) -> Result<Vec<u8>> {
        let mut command = self.command();
        command.args(["--literal-pathspecs", "diff-tree", "-r", "-M", "--full-index", "--no-color"]);
        command.args(["--no-ext-diff", "-p"]).args(style.arguments()).args([from, to, "--"]).args(paths);
        self.git.run(&mut command)
    }

    /// The diff of a commit against its first parent (a root commit: against nothing).
    pub(crate) fn commit_diff(&self, id: &str) -> Result<Vec<FileDiff>> {
        let parent = self.parent_or_empty(id)?;
        self.diff(&parent, id)
    }

    pub(crate) fn patch(&self, from: &str, to: &str) -> Result<Vec<u8>> {
        self.patch_of(from, to, DiffStyle::default(), &[])
    }

    pub(crate) fn stats(&self, id: &str) -> Result<Stats> {
        let parent = self.parent_or_empty(id)?;
        let output =
            self.git.run(self.command().args(["diff-tree", "-r", "-M", "--numstat", &parent, id]))?;
        let mut stats = Stats::default();
        for line in String::from_utf8_lossy(&output).lines() {
            let mut numbers = line.split('\t').map(|number| number.parse::<u64>().unwrap_or(0));
            stats.additions += numbers.next().unwrap_or(0);
            stats.deletions += numbers.next().unwrap_or(0);
        }
        Ok(stats)
    }

    fn parent_or_empty(&self, id: &str) -> Result<String> {
        match self.resolve_all(&[format!("{id}^1^{{commit}}")])?.into_iter().flatten().next() {
            Some(parent) => Ok(parent),
            None => self.empty_tree(),
        }
    }

    pub(crate) fn empty_tree(&self) -> Result<String> {
        let mut command = self.command();
        command.args(["hash-object", "-w", "-t", "tree", "--stdin"]);
        Ok(super::git::line(&self.git.run_with(&mut command, Some(b""))?))
    }
}

impl DiffLines {
    pub(crate) fn of(hunks: &str) -> Self {
        let mut lines = Self::default();
        let (mut old, mut new) = (0, 0);
        for line in hunks.lines() {
            if let Some(range) = line.strip_prefix("@@ ") {
                (old, new) = hunk_start(range);
                continue;
            }
            match line.as_bytes().first() {
                Some(b'+') => {
                    lines.added.insert(new);
                    new += 1;
                }
                Some(b'-') => {
                    lines.removed.insert(old);
                    old += 1;
                }
                Some(b'\\') => {}
                _ => {
                    lines.context.insert((old, new));
                    old += 1;
                    new += 1;
                }
            }
        }
        lines
    }

    /// Whether a comment can stand on this line: an added one by its new number, a removed one by its old number, an
    /// unchanged one by both.
    pub(crate) fn accepts(&self, old: Option<u64>, new: Option<u64>) -> bool {
        match (old, new) {
            (None, Some(new)) => self.added.contains(&new),
            (Some(old), None) => self.removed.contains(&old),
            (Some(old), Some(new)) => self.context.contains(&(old, new)) || self.outside(old, new),
            (None, None) => false,
        }
    }

    /// Unchanged lines outside the hunks: the distance between the numbers is what the hunks before them add up to.
    fn outside(&self, old: u64, new: u64) -> bool {
        if self.added.contains(&new) || self.removed.contains(&old) {
            return false;
        }
        let removed = self.removed.iter().filter(|line| **line < old).count() as u64;
        let added = self.added.iter().filter(|line| **line < new).count() as u64;
        old > 0 && old + added == new + removed
    }
}

fn hunk_start(range: &str) -> (u64, u64) {
    let mut starts = range.split(' ').map(|side| {
        side.trim_start_matches(['-', '+'])
            .split(',')
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or(0)
    });
    (starts.next().unwrap_or(0), starts.next().unwrap_or(0))
}

fn parse_raw(text: &str) -> Vec<FileDiff> {
    let mut fields = text.split('\0');
    let mut files = Vec::new();
    while let Some(head) = fields.next().and_then(|head| head.strip_prefix(':')) {
        let parts: Vec<&str> = head.split(' ').collect();
        let [old_mode, new_mode, old_id, new_id, status] = parts[..] else { break };
        let similarity = status.get(1..).and_then(|percent| percent.parse().ok());
        let status = status.chars().next().unwrap_or('M');
        let old_path = fields.next().unwrap_or_default().to_owned();
        let new_path = match status {
            'R' | 'C' => fields.next().unwrap_or_default().to_owned(),
            _ => old_path.clone(),
        };
        files.push(FileDiff {
            old_path,
            new_path,
            old_mode: old_mode.to_owned(),
            new_mode: new_mode.to_owned(),
            old_id: old_id.to_owned(),
            new_id: new_id.to_owned(),
            status,
            similarity,
            binary: false,
            hunks: String::new(),
        });
    }
    files
}

/// The hunks of each file, and whether it is binary. A header line cannot be taken for content: content starts with a
/// space, a sign or `@`.
fn split_patch(patch: &str) -> Vec<(String, bool)> {
    let mut files: Vec<(String, bool)> = Vec::new();
    let mut in_hunks = false;
    for line in patch.split_inclusive('\n') {
        if line.starts_with("diff --git ") {
            files.push((String::new(), false));
            in_hunks = false;
        }
        in_hunks |= line.starts_with("@@ ");
        let Some((hunks, binary)) = files.last_mut() else { continue };
        if in_hunks {
            hunks.push_str(line);
        } else if line.starts_with("Binary files ") {
            *binary = true;
        }
    }
    files
}
