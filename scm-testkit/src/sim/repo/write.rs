use super::{
    Repo, Result, ZERO,
    git::{GitError, line},
};

/// Who made a commit, and when (a git date: seconds since 1970 and an offset).
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) date: String,
}

/// One change of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Sets a path to bytes.
    Write {
        path: String,
        content: Vec<u8>,
        executable: bool,
    },
    /// Sets a path to a blob that is already there.
    Put {
        path: String,
        mode: String,
        id: String,
    },
    Remove {
        path: String,
    },
}

/// A commit to be made.
#[derive(Debug)]
pub(crate) struct NewCommit<'a> {
    pub(crate) tree: &'a str,
    pub(crate) parents: &'a [String],
    pub(crate) message: &'a str,
    pub(crate) author: &'a Identity,
    pub(crate) committer: &'a Identity,
}

/// Why a merge or a rebase was not possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Conflict,
}

impl Repo {
    /// A new tree: that of `base` (or an empty one) with the changes applied.
    pub(crate) fn write_tree(&self, base: Option<&str>, changes: &[Change]) -> Result<String> {
        let scratch = self.git.scratch()?;
        let index = scratch.path().join("index");
        let blobs = self.write_blobs(scratch.path(), changes)?;
        if let Some(base) = base {
            self.git.run(self.command().args(["read-tree", base]).env("GIT_INDEX_FILE", &index))?;
        }
        let mut input = Vec::new();
        let mut blobs = blobs.into_iter();
        for change in changes {
            let entry = match change {
                Change::Write { path, executable, .. } => {
                    let id = blobs.next().ok_or_else(|| GitError("blob not written".to_owned()))?;
                    format!("{} {id}\t{path}", if *executable { "100755" } else { "100644" })
                }
                Change::Put { path, mode, id } => format!("{mode} {id}\t{path}"),
                Change::Remove { path } => format!("0 {ZERO}\t{path}"),
            };
            input.extend_from_slice(entry.as_bytes());
            input.push(0);
        }
        let mut update = self.command();
        update.args(["update-index", "-z", "--index-info"]).env("GIT_INDEX_FILE", &index);
        self.git.run_with(&mut update, Some(&input))?;
        Ok(line(&self.git.run(self.command().arg("write-tree").env("GIT_INDEX_FILE", &index))?))
    }

    /// One process for all contents; filters and line ending rules stay out of it.
    fn write_blobs(&self, scratch: &std::path::Path, changes: &[Change]) -> Result<Vec<String>> {
        let mut names = String::new();
        for (at, change) in changes.iter().enumerate() {
            if let Change::Write { content, .. } = change {
                let file = scratch.join(at.to_string());
                std::fs::write(&file, content)?;
                names.push_str(&format!("{}\n", file.display()));
            }
        }
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = self.command();
        command.args(["hash-object", "-w", "--no-filters", "--stdin-paths"]);
        let output = self.git.run_with(&mut command, Some(names.as_bytes()))?;
        Ok(String::from_utf8_lossy(&output).lines().map(str::to_owned).collect())
    }

    pub(crate) fn write_commit(&self, commit: &NewCommit<'_>) -> Result<String> {
        let mut command = self.command();
        command.args(["commit-tree", commit.tree]);
        for parent in commit.parents {
            command.args(["-p", parent]);
        }
        for (role, who) in [("AUTHOR", commit.author), ("COMMITTER", commit.committer)] {
            command
                .env(format!("GIT_{role}_NAME"), &who.name)
                .env(format!("GIT_{role}_EMAIL"), &who.email)
                .env(format!("GIT_{role}_DATE"), &who.date);
        }
        command.args(["-F", "-"]);
        Ok(line(&self.git.run_with(&mut command, Some(commit.message.as_bytes()))?))
    }

    /// Moves a ref from `old` to `new`; `false` when it was not at `old`. [`ZERO`] stands for "absent" on both sides.
    pub(crate) fn update_ref(&self, name: &str, new: &str, old: &str) -> Result<bool> {
        let mut command = self.command();
        if new == ZERO {
            command.args(["update-ref", "-d", name, old]);
        } else {
            command.args(["update-ref", name, new, old]);
        }
        Ok(self.git.output(&mut command, None)?.code == 0)
    }

    /// Sets a ref, wherever it was.
    pub(crate) fn set_ref(&self, name: &str, new: &str) -> Result<()> {
        self.git.run(self.command().args(["update-ref", name, new])).map(drop)
    }

    pub(crate) fn annotated_tag(
        &self,
        name: &str,
        target: &str,
        message: &str,
        tagger: &Identity,
    ) -> Result<String> {
        let text = format!(
            "object {target}\ntype commit\ntag {name}\ntagger {} <{}> {}\n\n{}\n",
            tagger.name,
            tagger.email,
            tagger.date,
            message.trim_end()
        );
        Ok(line(&self.git.run_with(self.command().arg("mktag"), Some(text.as_bytes()))?))
    }

    /// Whether git accepts this as the name of a branch or tag.
    pub(crate) fn valid_ref(&self, name: &str) -> Result<bool> {
        if name.starts_with('-') {
            return Ok(false);
        }
        let mut command = self.command();
        command.args(["check-ref-format", &format!("refs/heads/{name}")]);
        Ok(self.git.output(&mut command, None)?.code == 0)
    }

    /// The tree of a merge of two commits.
    pub(crate) fn merge_tree(
        &self,
        ours: &str,
        theirs: &str,
    ) -> Result<std::result::Result<String, Refused>> {
        let output =
            self.git.output(self.command().args(["merge-tree", "--write-tree", ours, theirs]), None)?;
        match output.code {
            0 => Ok(Ok(line(&output.stdout))),
            1 => Ok(Err(Refused::Conflict)),
            _ => Err(GitError(output.stderr)),
        }
    }

    /// The commits that are on `head` only, made again on top of `onto`. Returns the new head.
    pub(crate) fn rebase(
        &self,
        head: &str,
        onto: &str,
        committer: &Identity,
    ) -> Result<std::result::Result<String, Refused>> {
        let mut list = self.command();
        list.args(["rev-list", "--reverse", "--topo-order", "--no-merges", head, &format!("^{onto}"), "--"]);
        let ids: Vec<String> =
            String::from_utf8_lossy(&self.git.run(&mut list)?).lines().map(str::to_owned).collect();
        let mut top = onto.to_owned();
        for commit in self.commits(&ids)? {
            // A commit with our tree and the picked one's parent makes that parent the merge base: a cherry-pick.
            let stand_in = self.write_commit(&NewCommit {
                tree: &self.tree_of(&top)?,
                parents: &commit.parents,
                message: "stand-in",
                author: committer,
                committer,
            })?;
            let tree = match self.merge_tree(&stand_in, &commit.id)? {
                Ok(tree) => tree,
                Err(refused) => return Ok(Err(refused)),
            };
            let author = Identity {
                name: commit.author_name.clone(),
                email: commit.author_email.clone(),
                date: commit.authored.clone(),
            };
            top = self.write_commit(&NewCommit {
                tree: &tree,
                parents: &[top],
                message: &commit.message,
                author: &author,
                committer,
            })?;
        }
        Ok(Ok(top))
    }

    /// Takes a commit and all it needs from another repository and keeps it under `name`.
    pub(crate) fn fetch_from(&self, source: &Repo, id: &str, name: &str) -> Result<()> {
        let mut command = self.command();
        command.args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--"]);
        self.git.run(command.arg(source.path()).arg(format!("+{id}:{name}"))).map(drop)
    }
}
