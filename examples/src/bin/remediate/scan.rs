//! Reading: repositories, their manifests, and what is wrong in them.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _};
use scm_core::{
    ArchivedFilter, Branch, CallOptions, ContentsExt as _, EntryKind, Error, ErrorKind, ListRepositories,
    ListTree, Priority, RepoId, RepositoriesExt as _, Repository, Result, Revision, Role, Scm,
};
use scm_examples::analysis::files::FileKind;
use scm_examples::analysis::{Analysis, analyse};
use scm_examples::connections::Connection;

use crate::Inputs;
use crate::progress::Progress;

/// Repositories looked at together; the client's own limit stands behind it.
const TOGETHER: usize = 8;

/// One repository, looked at.
pub(crate) struct Found {
    pub(crate) repository: Repository,
    /// The branch that a fix goes to, and its tip at the time of the scan. `None` for an empty repository.
    pub(crate) target: Option<Branch>,
    /// Manifests and lock files.
    pub(crate) files: BTreeMap<String, String>,
    pub(crate) analysis: Analysis,
    /// Why nothing may be written here.
    pub(crate) read_only: Option<&'static str>,
    pub(crate) error: Option<Error>,
}

pub(crate) struct Scan<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) inputs: &'a Inputs,
    pub(crate) progress: &'a Progress,
}

impl Scan<'_> {
    /// Looks at every repository that the token is a member of. One that cannot be read carries its error.
    pub(crate) async fn run(&self) -> Result<Vec<Found>> {
        let scm = self.connection.scm.with_options(CallOptions::default().with_priority(Priority::Bulk));
        let bar = self.progress.bar(&format!("{}: finding", self.connection.name), None);
        let opts = ListRepositories::default().with_archived(ArchivedFilter::Include);
        let repositories: Vec<_> =
            scm.repositories().list_repositories(opts).inspect(|_| bar.inc(1)).try_collect().await?;
        bar.finish_and_clear();
        let writable = writable(scm.as_ref(), &repositories).await?;

        let bar = self.progress.bar(&format!("{}: reading", self.connection.name), Some(repositories.len()));
        let looks = repositories.into_iter().map(|repository| {
            let (scm, bar, writable) = (&scm, &bar, &writable);
            async move {
                bar.set_message(repository.path.to_string());
                let read_only = read_only(&repository, writable.as_ref());
                let found = self.look(scm.as_ref(), repository, read_only).await;
                bar.inc(1);
                found
            }
        });
        let found = futures_util::stream::iter(looks).buffered(TOGETHER).collect().await;
        bar.finish_and_clear();
        Ok(found)
    }

    async fn look(&self, scm: &dyn Scm, repository: Repository, read_only: Option<&'static str>) -> Found {
        let mut found = Found {
            read_only,
            repository,
            target: None,
            files: BTreeMap::new(),
            analysis: Analysis::default(),
            error: None,
        };
        if let Err(error) = self.read(scm, &mut found).await {
            found.error = Some(error);
        }
        found
    }

    async fn read(&self, scm: &dyn Scm, found: &mut Found) -> Result<()> {
        let repo = &found.repository.id;
        let target = match scm.branches().default_branch(repo).await {
            // A role too small for code: it can be seen, not read.
            Err(error) if found.read_only.is_some() && error.kind() == ErrorKind::PermissionDenied => {
                return Ok(());
            }
            target => target?,
        };
        let Some(target) = target else { return Ok(()) };
        // All files of one state, whatever is pushed meanwhile.
        let at = Revision::Commit(target.head.clone());
        let entries: Vec<_> = scm
            .contents()
            .list_tree(repo, &at, ListTree::default().with_recursive(true))
            // A name that no other part of this program could handle is no manifest.
            .filter_map(|entry| async { entry.ok() })
            .collect()
            .await;
        let wanted = entries
            .into_iter()
            .filter(|entry| entry.kind == EntryKind::File && FileKind::of(entry.path.as_str()).is_some());
        for entry in wanted {
            let file = scm.contents().file(repo, &at, &entry.path).await?;
            if let Ok(text) = file.text() {
                found.files.insert(entry.path.to_string(), text.to_owned());
            }
        }
        found.analysis = analyse(&found.files, &self.inputs.advisories, self.inputs.versions.as_ref());
        found.target = Some(target);
        Ok(())
    }
}

/// What may be written, where the server does not tell the role on each repository.
async fn writable(scm: &dyn Scm, repositories: &[Repository]) -> Result<Option<BTreeSet<RepoId>>> {
    if repositories.iter().all(|repository| repository.role.is_some()) {
        return Ok(None);
    }
    let opts = ListRepositories::default().with_min_role(Role::Write);
    let ids = scm.repositories().list_repositories(opts).map_ok(|repository| repository.id);
    ids.try_collect().await.map(Some)
}

fn read_only(repository: &Repository, writable: Option<&BTreeSet<RepoId>>) -> Option<&'static str> {
    if repository.archived == Some(true) {
        Some("archived")
    } else if repository.role.is_some_and(|role| role < Role::Write)
        || writable.is_some_and(|writable| !writable.contains(&repository.id))
    {
        Some("no write permission")
    } else {
        None
    }
}
