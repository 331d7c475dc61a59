use std::path::Path;

use super::{Change, Git, Identity, NewCommit, Repo, Result, ZERO, git::GitError};

impl Repo {
    /// What lazily made repositories look like at first.
    pub(crate) fn template(git: &Git, repo_dir: &Path) -> Result<Self> {
        let repo = Self::create(git, &repo_dir.join("template.git"), "main")?;
        let files = [
            ("README.md", "# One of many\n\nThis project was made to have many projects.\n"),
            (
                "package.json",
                "{\n  \"name\": \"one-of-many\",\n  \"dependencies\": {\n    \"lodash\": \"^4.17.20\"\n  }\n}\n",
            ),
            ("src/index.js", "module.exports = require(\"lodash\").chunk;\n"),
        ];
        let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
        repo.first_commit("main", "template", &files)?;
        Ok(repo)
    }

    /// The first commit of a repository; without files a README that names it. The same on every run, so that commit
    /// ids are too.
    pub(crate) fn first_commit(
        &self,
        branch: &str,
        full_path: &str,
        files: &[(String, Vec<u8>)],
    ) -> Result<()> {
        let name = full_path.rsplit('/').next().unwrap_or_default();
        let readme = [("README.md".to_owned(), format!("# {name}\n").into_bytes())];
        let changes: Vec<Change> = if files.is_empty() { &readme } else { files }
            .iter()
            .map(|(path, content)| Change::Write {
                path: path.clone(),
                content: content.clone(),
                executable: false,
            })
            .collect();
        let who = Identity {
            name: "Ada Lovelace".to_owned(),
            email: "ada@example.com".to_owned(),
            date: "1767348245 +0100".to_owned(),
        };
        let tree = self.write_tree(None, &changes)?;
        // Named after it, so that no two repositories have a commit in common.
        let message = format!("Initial commit of {name}");
        let commit =
            NewCommit { tree: &tree, parents: &[], message: &message, author: &who, committer: &who };
        let id = self.write_commit(&commit)?;
        self.set_ref(&format!("refs/heads/{branch}"), &id)
    }

    /// Commits files to a branch; content `None` deletes. A branch that does not exist starts from the default branch.
    /// Returns where the branch was and where it is now.
    pub(crate) fn commit_on(
        &self,
        branch: &str,
        message: &str,
        files: &[(&str, Option<&[u8]>)],
        who: &Identity,
    ) -> Result<(Option<String>, String)> {
        let _writing = self.lock();
        let head = self.branch_id(branch)?;
        let base = match &head {
            Some(head) => Some(head.clone()),
            None => self.branch_id(&self.head_branch()?)?,
        };
        let changes: Vec<Change> = files
            .iter()
            .map(|(path, content)| match content {
                Some(bytes) => {
                    Change::Write { path: (*path).to_owned(), content: bytes.to_vec(), executable: false }
                }
                None => Change::Remove { path: (*path).to_owned() },
            })
            .collect();
        let tree = self.write_tree(base.as_deref(), &changes)?;
        let parents: Vec<String> = base.into_iter().collect();
        let commit = NewCommit { tree: &tree, parents: &parents, message, author: who, committer: who };
        let new = self.write_commit(&commit)?;
        let name = format!("refs/heads/{branch}");
        if !self.update_ref(&name, &new, head.as_deref().unwrap_or(ZERO))? {
            return Err(GitError(format!("{name} has moved")));
        }
        Ok((head, new))
    }
}
