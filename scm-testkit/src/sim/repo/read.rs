use std::{collections::HashMap, process::Command};

use super::{
    Repo, Result,
    git::{GitError, line},
};

/// One entry of a tree listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TreeEntry {
    pub(crate) mode: String,
    /// `blob`, `tree` or `commit`.
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) path: String,
}

/// One commit, dates as ISO 8601 with the offset they were made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommitInfo {
    pub(crate) id: String,
    pub(crate) parents: Vec<String>,
    pub(crate) author_name: String,
    pub(crate) author_email: String,
    pub(crate) authored: String,
    pub(crate) committer_name: String,
    pub(crate) committer_email: String,
    pub(crate) committed: String,
    pub(crate) message: String,
    pub(crate) trailers: Vec<(String, String)>,
}

impl CommitInfo {
    pub(crate) fn title(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }
}

/// Lines added and removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    pub(crate) additions: u64,
    pub(crate) deletions: u64,
}

/// Which commits to list.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogQuery {
    /// Commits, resolved before; `^id` excludes. Empty with `all`.
    pub(crate) revisions: Vec<String>,
    pub(crate) all: bool,
    pub(crate) path: Option<String>,
    pub(crate) since: Option<String>,
    pub(crate) until: Option<String>,
    pub(crate) author: Option<String>,
    pub(crate) first_parent: bool,
    /// `Some(true)`: only merges, `Some(false)`: none.
    pub(crate) merges: Option<bool>,
    pub(crate) follow: bool,
    pub(crate) topo_order: bool,
    pub(crate) skip: usize,
    pub(crate) limit: Option<usize>,
}

const FIELDS: &str =
    "--format=%H%x00%P%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%B%x00%(trailers:only=true,unfold=true)";
const FIELD_COUNT: usize = 10;

impl Repo {
    /// The ids of several object names in one go; `None` for those that name nothing.
    pub(crate) fn resolve_all(&self, names: &[String]) -> Result<Vec<Option<String>>> {
        if names.is_empty() || names.iter().any(|name| name.contains(['\n', '\0'])) {
            return Ok(vec![None; names.len()]);
        }
        let input = names.join("\n") + "\n";
        let output = self.git.run_with(
            self.command().args(["cat-file", "--batch-check=%(objectname)"]),
            Some(input.as_bytes()),
        )?;
        let text = String::from_utf8_lossy(&output);
        let mut ids: Vec<_> = text
            .lines()
            .map(|line| {
                (line.len() == 40 && line.bytes().all(|b| b.is_ascii_hexdigit())).then(|| line.to_owned())
            })
            .collect();
        ids.resize(names.len(), None);
        Ok(ids)
    }

    /// What a user means by a revision: a branch, else a tag, else a commit id or an expression such as `main~1`.
    pub(crate) fn commit_id(&self, revision: &str) -> Result<Option<String>> {
        if revision.is_empty() || revision.starts_with('-') {
            return Ok(None);
        }
        // As git does: of a tag and a branch of one name the tag wins.
        let names = [
            format!("refs/tags/{revision}^{{commit}}"),
            format!("refs/heads/{revision}^{{commit}}"),
            format!("{revision}^{{commit}}"),
        ];
        Ok(self.resolve_all(&names)?.into_iter().flatten().next())
    }

    pub(crate) fn branch_id(&self, branch: &str) -> Result<Option<String>> {
        Ok(self.resolve_all(&[format!("refs/heads/{branch}^{{commit}}")])?.into_iter().flatten().next())
    }

    /// Every ref under a prefix with the commit it leads to (tags: the tag object).
    pub(crate) fn refs(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        let output = self.git.run(self.command().args([
            "for-each-ref",
            "--format=%(refname) %(objectname)",
            "--end-of-options",
            prefix,
        ]))?;
        Ok(String::from_utf8_lossy(&output)
            .lines()
            .filter_map(|line| line.split_once(' ').map(|(name, id)| (name.to_owned(), id.to_owned())))
            .collect())
    }

    /// The entries of a tree below `path`, with their full paths.
    pub(crate) fn tree(&self, commit: &str, path: &str, recursive: bool) -> Result<Option<Vec<TreeEntry>>> {
        let path = path.trim_matches('/');
        let Some(tree) = self.resolve_all(&[format!("{commit}:{path}")])?.into_iter().flatten().next() else {
            return Ok(None);
        };
        let mut command = self.command();
        command.args(["ls-tree", "-z", "--full-tree"]);
        if recursive {
            command.args(["-r", "-t"]);
        }
        let output = self.git.output(command.arg(&tree), None)?;
        if output.code != 0 {
            // The path names a file.
            return Ok(None);
        }
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        Ok(Some(
            output.stdout.split(|byte| *byte == 0).filter_map(|entry| parse_entry(entry, &prefix)).collect(),
        ))
    }

    /// The entry at a path, whatever it is.
    pub(crate) fn entry(&self, commit: &str, path: &str) -> Result<Option<TreeEntry>> {
        let output = self.git.run(
            self.command()
                .args(["--literal-pathspecs", "ls-tree", "-z", "--full-tree", commit, "--"])
                .arg(path.trim_end_matches('/')),
        )?;
        Ok(output
            .split(|byte| *byte == 0)
            .find_map(|entry| parse_entry(entry, ""))
            .filter(|entry| entry.path == path))
    }

    pub(crate) fn blob(&self, id: &str) -> Result<Vec<u8>> {
        self.git.run(self.command().args(["cat-file", "blob", id]))
    }

    /// Sizes of several objects in bytes, in the order asked; 0 for those that are not there.
    pub(crate) fn sizes(&self, ids: &[String]) -> Result<Vec<u64>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let input = ids.join("\n") + "\n";
        let output = self.git.run_with(
            self.command().args(["cat-file", "--batch-check=%(objectsize)"]),
            Some(input.as_bytes()),
        )?;
        Ok(String::from_utf8_lossy(&output).lines().map(|size| size.parse().unwrap_or(0)).collect())
    }

    /// `blob`, `commit`, ... or `None` when there is no such object.
    pub(crate) fn object_kind(&self, id: &str) -> Result<Option<String>> {
        if id.is_empty() || id.starts_with('-') || id.contains(['\n', '\0']) {
            return Ok(None);
        }
        let output = self.git.run_with(
            self.command().args(["cat-file", "--batch-check=%(objecttype)"]),
            Some(format!("{id}\n").as_bytes()),
        )?;
        let kind = line(&output);
        Ok((!kind.contains(' ')).then_some(kind))
    }

    /// The last commit that touched a path.
    pub(crate) fn last_commit_of(&self, commit: &str, path: &str) -> Result<Option<String>> {
        let query = LogQuery {
            revisions: vec![commit.to_owned()],
            path: Some(path.to_owned()),
            limit: Some(1),
            ..LogQuery::default()
        };
        Ok(self.log(&query)?.into_iter().next().map(|commit| commit.id))
    }

    pub(crate) fn commit(&self, id: &str) -> Result<CommitInfo> {
        let query = LogQuery { revisions: vec![id.to_owned()], limit: Some(1), ..LogQuery::default() };
        self.log(&query)?.into_iter().next().ok_or_else(|| GitError(format!("no commit {id}")))
    }

    /// Several commits in the order asked, in one process.
    pub(crate) fn commits(&self, ids: &[String]) -> Result<Vec<CommitInfo>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let input = ids.join("\n") + "\n";
        let mut command = self.command();
        command.args(["log", "-z", FIELDS, "--no-walk=unsorted", "--stdin"]);
        let found = parse_commits(&self.git.run_with(&mut command, Some(input.as_bytes()))?);
        // git names each commit once, however often it was asked for: several branches may stand on one.
        let by_id: HashMap<_, _> = found.iter().map(|commit| (commit.id.as_str(), commit)).collect();
        Ok(ids.iter().filter_map(|id| by_id.get(id.as_str()).map(|commit| (*commit).clone())).collect())
    }

    pub(crate) fn log(&self, query: &LogQuery) -> Result<Vec<CommitInfo>> {
        let mut command = self.command();
        command.args(["--literal-pathspecs", "log", "-z", FIELDS]);
        log_arguments(&mut command, query);
        Ok(parse_commits(&self.git.run(&mut command)?))
    }

    pub(crate) fn count(&self, revisions: &[String]) -> Result<u64> {
        let output = self.git.run(self.command().args(["rev-list", "--count"]).args(revisions).arg("--"))?;
        Ok(line(&output).parse().unwrap_or(0))
    }

    pub(crate) fn merge_base(&self, ids: &[String]) -> Result<Option<String>> {
        let output = self.git.output(self.command().arg("merge-base").args(ids), None)?;
        Ok((output.code == 0).then(|| line(&output.stdout)))
    }

    pub(crate) fn is_ancestor(&self, ancestor: &str, descendant: &str) -> Result<bool> {
        let mut command = self.command();
        command.args(["merge-base", "--is-ancestor", ancestor, descendant]);
        Ok(self.git.output(&mut command, None)?.code == 0)
    }

    /// Names of the branches that a commit contains.
    pub(crate) fn merged_branches(&self, commit: &str) -> Result<Vec<String>> {
        let merged = format!("--merged={commit}");
        let mut command = self.command();
        command.args(["for-each-ref", "--format=%(refname)", &merged, "refs/heads/"]);
        let output = self.git.run(&mut command)?;
        let text = String::from_utf8_lossy(&output);
        Ok(text.lines().filter_map(|line| line.strip_prefix("refs/heads/")).map(str::to_owned).collect())
    }

    /// Message of an annotated tag; `None` for anything else.
    pub(crate) fn tag_message(&self, id: &str) -> Result<Option<String>> {
        if self.object_kind(id)?.as_deref() != Some("tag") {
            return Ok(None);
        }
        let text = self.git.run(self.command().args(["cat-file", "tag", id]))?;
        let text = String::from_utf8_lossy(&text);
        Ok(Some(text.split_once("\n\n").map_or("", |(_, message)| message).trim_end().to_owned()))
    }

    pub(crate) fn tree_of(&self, commit: &str) -> Result<String> {
        let names = [format!("{commit}^{{tree}}")];
        self.resolve_all(&names)?
            .into_iter()
            .flatten()
            .next()
            .ok_or_else(|| GitError(format!("no tree in {commit}")))
    }
}

fn log_arguments(command: &mut Command, query: &LogQuery) {
    if let Some(limit) = query.limit {
        command.arg(format!("--max-count={limit}"));
    }
    if query.skip > 0 {
        command.arg(format!("--skip={}", query.skip));
    }
    for (name, value) in [("since", &query.since), ("until", &query.until), ("author", &query.author)] {
        if let Some(value) = value {
            command.arg(format!("--{name}={value}"));
        }
    }
    if query.first_parent {
        command.arg("--first-parent");
    }
    if let Some(merges) = query.merges {
        command.arg(if merges { "--merges" } else { "--no-merges" });
    }
    if query.follow {
        command.arg("--follow");
    }
    if query.topo_order {
        command.arg("--topo-order");
    }
    if query.all {
        command.args(["--branches", "--tags"]);
    }
    command.args(&query.revisions).arg("--");
    if let Some(path) = &query.path {
        command.arg(path);
    }
}

fn parse_entry(entry: &[u8], prefix: &str) -> Option<TreeEntry> {
    let text = String::from_utf8_lossy(entry);
    let (head, path) = text.split_once('\t')?;
    let mut parts = head.split(' ');
    Some(TreeEntry {
        mode: parts.next()?.to_owned(),
        kind: parts.next()?.to_owned(),
        id: parts.next()?.to_owned(),
        path: format!("{prefix}{path}"),
    })
}

fn parse_commits(output: &[u8]) -> Vec<CommitInfo> {
    let text = String::from_utf8_lossy(output);
    let fields: Vec<&str> = text.split('\0').collect();
    fields
        .chunks_exact(FIELD_COUNT)
        .map(|field| CommitInfo {
            id: field[0].to_owned(),
            parents: field[1].split_whitespace().map(str::to_owned).collect(),
            author_name: field[2].to_owned(),
            author_email: field[3].to_owned(),
            authored: field[4].to_owned(),
            committer_name: field[5].to_owned(),
            committer_email: field[6].to_owned(),
            committed: field[7].to_owned(),
            message: field[8].to_owned(),
            trailers: field[9]
                .lines()
                .filter_map(|line| line.split_once(':'))
                .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
                .collect(),
        })
        .collect()
}
