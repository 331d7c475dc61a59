//! Bare git repositories, driven through the `git` program. Everything here blocks; callers are on blocking threads.

mod diff;
mod git;
mod make;
mod read;
mod write;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) use diff::{DiffLines, DiffStyle, FileDiff};
pub(crate) use git::{Git, GitError, Result};
pub(crate) use read::{CommitInfo, LogQuery, Stats, TreeEntry};
pub(crate) use write::{Change, Identity, NewCommit};

/// Forty zeros: the id git uses for "no such ref".
pub(crate) const ZERO: &str = "0000000000000000000000000000000000000000";

/// One bare repository.
#[derive(Debug)]
pub(crate) struct Repo {
    pub(crate) git: Git,
    path: PathBuf,
    writing: Mutex<()>,
}

impl Repo {
    /// An empty bare repository at `path`. Written by hand: `git init` would cost a process for each.
    pub(crate) fn create(git: &Git, path: &Path, default_branch: &str) -> Result<Self> {
        for folder in ["objects/info", "objects/pack", "refs/heads", "refs/tags", "info"] {
            std::fs::create_dir_all(path.join(folder))?;
        }
        std::fs::write(path.join("HEAD"), format!("ref: refs/heads/{default_branch}\n"))?;
        std::fs::write(path.join("config"), "[core]\n\trepositoryformatversion = 0\n\tbare = true\n")?;
        Ok(Self { git: git.clone(), path: path.to_owned(), writing: Mutex::new(()) })
    }

    /// A repository with the refs of `template` that borrows its objects.
    pub(crate) fn create_like(git: &Git, path: &Path, default_branch: &str, template: &Repo) -> Result<Self> {
        let repo = Self::create(git, path, default_branch)?;
        let objects = template.path.join("objects");
        std::fs::write(path.join("objects/info/alternates"), format!("{}\n", objects.display()))?;
        let mut packed = String::from("# pack-refs with: peeled fully-peeled sorted \n");
        for (name, id) in template.refs("refs/")? {
            packed.push_str(&format!("{id} {name}\n"));
        }
        std::fs::write(path.join("packed-refs"), packed)?;
        Ok(repo)
    }

    /// A copy of an existing repository, bare or not; the original is only read.
    pub(crate) fn copy_of(git: &Git, path: &Path, source: &Path) -> Result<Self> {
        git.run(
            git.bare_command()
                .args(["clone", "--quiet", "--mirror", "--no-hardlinks", "--"])
                .arg(source)
                .arg(path),
        )?;
        Ok(Self { git: git.clone(), path: path.to_owned(), writing: Mutex::new(()) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Held from the reading of a branch to its update, so that two writers take turns.
    pub(crate) fn lock(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn command(&self) -> std::process::Command {
        let mut command = self.git.bare_command();
        command.arg("--git-dir").arg(&self.path).current_dir(&self.path);
        command
    }

    /// The branch that HEAD names.
    pub(crate) fn head_branch(&self) -> Result<String> {
        let head = std::fs::read_to_string(self.path.join("HEAD"))?;
        Ok(head.trim().strip_prefix("ref: refs/heads/").unwrap_or("main").to_owned())
    }

    pub(crate) fn set_head_branch(&self, branch: &str) -> Result<()> {
        Ok(std::fs::write(self.path.join("HEAD"), format!("ref: refs/heads/{branch}\n"))?)
    }
}

#[cfg(test)]
mod tests;
