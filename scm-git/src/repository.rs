//! One repository over git smart HTTP.

use std::sync::{Arc, Mutex, PoisonError};

use gix_actor::Signature;
use gix_hash::ObjectId;
use gix_object::{Kind, WriteTo as _};
use http::header::HeaderName;
use scm_core::pipeline::{Operation, Pipeline};
use scm_core::{
    BranchName, Commit, CommitBase, Delivery, Error, ErrorKind, FileChange, GitRemote, NewCommit, Person,
    Result, Sha,
};

use crate::dialect::GitDialect;
use crate::fetch::{Fetched, Filter, fetch};
use crate::objects::Objects;
use crate::pack::Writer;
use crate::push::{self, Move, NOTHING, Pushed, push};
use crate::refs::{self, Capabilities};
use crate::tree;

/// How often a push is sent again whose answer was lost, or a commit made anew on a branch that has moved where no
/// head was expected.
const REPEATS: usize = 3;

/// What is known about the git of one server, for all of its repositories. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GitServer {
    provider: &'static str,
    request_id_header: HeaderName,
    known: Arc<Mutex<Known>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    capabilities: Option<Capabilities>,
    filter: Filter,
}

impl GitServer {
    /// The git of a server of `provider`, whose request id stands in this header of its answers.
    #[must_use]
    pub fn new(provider: &'static str, request_id_header: HeaderName) -> Self {
        Self { provider, request_id_header, known: Arc::default() }
    }

    /// One of its repositories. Requests share limits and pauses with `pipeline`, that of the provider, whose largest
    /// answer also bounds what is read for one commit where the server's git takes no filters.
    ///
    /// # Errors
    /// `Config` for a remote of another origin: the credential goes to the configured one only.
    pub fn repository(&self, pipeline: &Pipeline, remote: &GitRemote) -> Result<GitRepository> {
        let dialect = GitDialect {
            provider: self.provider,
            token_username: remote.token_username,
            request_id_header: self.request_id_header.clone(),
        };
        let pipeline = pipeline.beside(remote.url.clone(), Arc::new(dialect))?;
        Ok(GitRepository { server: self.clone(), pipeline })
    }

    fn known(&self) -> Known {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, learn: impl FnOnce(&mut Known)) {
        learn(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A repository that is read and written by git's own protocol, without a git program and without a work tree.
#[derive(Clone, Debug)]
pub struct GitRepository {
    server: GitServer,
    pipeline: Pipeline,
}

impl GitRepository {
    /// Where a branch points; `None` where it is not there.
    ///
    /// # Errors
    /// `NotFound` for the repository, `Unsupported` for a server whose git is too old.
    pub async fn tip(&self, branch: &BranchName) -> Result<Option<Sha>> {
        let operation = self.pipeline.operation("branch_tip");
        self.tip_of(&operation, branch).await
    }

    /// Makes a commit and moves its branch there, exactly from where it was: one atomic push. `committer` is the token's
    /// user, and the author where the commit names none.
    ///
    /// # Errors
    /// `InvalidInput` for a change that cannot be, or that changes nothing; `Conflict` when the branch exists, is missing
    /// or has moved; `PermissionDenied` in the words of the server's hooks; `Unsupported` for a per-file guard, which git
    /// does not know, and for a start in another repository. In each case nothing is written.
    pub async fn create_commit(&self, new: &NewCommit, committer: &Person) -> Result<Commit> {
        let operation = self.pipeline.operation("create_commit");
        new.validate().map_err(|error| operation.own(error))?;
        self.check(new).map_err(|error| operation.own(error))?;
        for left in (0..REPEATS).rev() {
            let parent = self.parent(&operation, new).await?;
            let (commit, pack) = self.build(&operation, new, committer, parent.as_ref()).await?;
            let from = match &new.base {
                CommitBase::Existing { .. } => parent.as_ref().map_or(NOTHING, Sha::as_str),
                _ => NOTHING,
            };
            let error =
                match self.push_exactly(&operation, &new.branch, from, commit.sha.as_str(), pack).await {
                    Ok(()) => return Ok(commit),
                    Err(error) => error,
                };
            // Without an expected head any tip is as good: the commit is made anew on the one that is there now.
            let may_move = matches!(new.base, CommitBase::Existing { expected_head: None });
            if left == 0 || !may_move || error.kind() != ErrorKind::Conflict {
                return Err(error);
            }
        }
        Err(operation
            .own(Error::new(ErrorKind::Conflict, "the branch moves faster than commits can be made")))
    }

    /// Deletes a branch, only while it points to `expected`.
    ///
    /// # Errors
    /// `PreconditionFailed` when it points elsewhere, `NotFound` when it is not there, `PermissionDenied` in the words of
    /// the server's hooks.
    pub async fn delete_branch(&self, branch: &BranchName, expected: &Sha) -> Result<()> {
        let operation = self.pipeline.operation("delete_branch");
        if self.tip_of(&operation, branch).await?.is_none() {
            let error = Error::new(ErrorKind::NotFound, format!("there is no branch '{branch}'"));
            return Err(operation.own(error.with_delivery(Delivery::Answered)));
        }
        let done = self.push_exactly(&operation, branch, expected.as_str(), NOTHING, Vec::new()).await;
        done.map_err(|error| match error.kind() {
            // Nobody wants to make it anew elsewhere: the guard of the caller did not hold.
            ErrorKind::Conflict => operation.own(
                Error::new(ErrorKind::PreconditionFailed, error.message()).with_delivery(error.delivery()),
            ),
            _ => error,
        })
    }

    /// Refuses what git cannot hold exactly.
    fn check(&self, new: &NewCommit) -> Result<()> {
        if new.start_repository.is_some() {
            return Err(Error::unsupported(
                "create_commit",
                "git pushes no commit that starts in another repository",
            ));
        }
        let guarded = |change: &FileChange| {
            matches!(
                change,
                FileChange::Update { last_commit: Some(_), .. }
                    | FileChange::Delete { last_commit: Some(_), .. }
                    | FileChange::Rename { last_commit: Some(_), .. }
            )
        };
        if new.changes.iter().any(guarded) {
            return Err(Error::unsupported(
                "create_commit",
                "git knows no last commit of a file; give the expected head of the branch, which guards all files",
            ));
        }
        Ok(())
    }

    /// The commit that the new one stands on.
    async fn parent(&self, operation: &Operation, new: &NewCommit) -> Result<Option<Sha>> {
        match &new.base {
            CommitBase::NewBranch { start } => Ok(Some(start.clone())),
            CommitBase::Existing { expected_head: Some(head) } => Ok(Some(head.clone())),
            CommitBase::Existing { expected_head: None } => {
                match self.tip_of(operation, &new.branch).await? {
                    Some(tip) => Ok(Some(tip)),
                    None => {
                        let message = format!("there is no branch '{}' to commit onto", new.branch);
                        Err(operation
                            .own(Error::new(ErrorKind::Conflict, message).with_delivery(Delivery::Answered)))
                    }
                }
            }
            CommitBase::Empty => Ok(None),
            other => {
                Err(operation.own(Error::unsupported("create_commit", format!("a commit on {other:?}"))))
            }
        }
    }

    /// The commit and the pack that holds all that is new.
    async fn build(
        &self,
        operation: &Operation,
        new: &NewCommit,
        committer: &Person,
        parent: Option<&Sha>,
    ) -> Result<(Commit, Vec<u8>)> {
        let (objects, root) = match parent {
            Some(parent) => self.trees(operation, new, parent).await?,
            None => (Objects::empty(), ObjectId::empty_tree(crate::objects::HASH)),
        };
        let own = |error| operation.own(error);
        let changes = new.changes.clone();
        let applied = aside(move || {
            let mut pack = Writer::new();
            Ok((tree::apply(&objects, root, &changes, &mut pack)?, pack))
        });
        let (tree, mut pack) = applied.await.map_err(own)?;
        let now = self.pipeline.clock().now();
        let signature = |person: &Person| Signature {
            name: person.name.as_str().into(),
            email: person.email.as_str().into(),
            time: gix_actor::date::Time::new(now.as_millis().div_euclid(1000), 0),
        };
        let message = new.full_message();
        let mut commit = gix_object::Commit {
            tree,
            parents: parent.map(id).transpose().map_err(own)?.into_iter().collect(),
            author: signature(new.author.as_ref().unwrap_or(committer)),
            committer: signature(committer),
            encoding: None,
            message: format!("{message}\n").into(),
            extra_headers: Vec::new(),
        };
        let mut data = encode(&commit).map_err(own)?;
        if let Some(signer) = &new.signer {
            let signed = signer.sign(&data).await.map_err(own)?;
            commit.extra_headers.push(("gpgsig".into(), signed.trim_end().into()));
            data = encode(&commit).map_err(own)?;
        }
        let sha = pack.add(Kind::Commit, &data).map_err(own)?;
        let mut made = Commit::new(Sha::new(sha.to_string())?, message);
        made.author = Some(new.author.clone().unwrap_or_else(|| committer.clone()));
        made.committer = Some(committer.clone());
        made.authored_at = Some(now);
        made.committed_at = Some(now);
        made.parents = parent.into_iter().cloned().collect();
        Ok((made, aside(|| pack.finish()).await.map_err(own)?))
    }

    /// The root tree of the parent and every tree on the way to a changed file: one request per level where the server's
    /// filters allow, and all trees at once where not.
    async fn trees(
        &self,
        operation: &Operation,
        new: &NewCommit,
        parent: &Sha,
    ) -> Result<(Objects, ObjectId)> {
        let commit = id(parent).map_err(|error| operation.own(error))?;
        let mut objects = Objects::default();
        if !self.load(operation, &mut objects, &[commit], 1).await? {
            let message = format!("there is no commit {parent} in this repository");
            let kind = match new.base {
                CommitBase::NewBranch { .. } => ErrorKind::NotFound,
                // A branch cannot be where nothing is.
                _ => ErrorKind::Conflict,
            };
            return Err(operation.own(Error::new(kind, message).with_delivery(Delivery::Answered)));
        }
        let own = |error| operation.own(error);
        let root = objects.tree_of(&commit).map_err(own)?;
        self.load_all(operation, &mut objects, vec![root]).await?;
        for level in tree::directories(&new.changes) {
            let mut wanted = Vec::new();
            for path in level {
                if let Some(id) = tree::directory(&objects, root, path).map_err(own)? {
                    wanted.push(id);
                }
            }
            self.load_all(operation, &mut objects, wanted).await?;
        }
        Ok((objects, root))
    }

    /// Loads trees that are not there yet. The server may leave out one that is also part of another in the same
    /// request, so that what is missing is asked for again.
    async fn load_all(
        &self,
        operation: &Operation,
        objects: &mut Objects,
        mut wanted: Vec<ObjectId>,
    ) -> Result<()> {
        wanted.sort_unstable();
        wanted.dedup();
        wanted.retain(|id| !objects.contains(id));
        while !wanted.is_empty() {
            let before = wanted.len();
            self.load(operation, objects, &wanted, 0).await?;
            wanted.retain(|id| !objects.contains(id));
            if wanted.len() == before {
                return Err(
                    operation.own(crate::pkt::broken("the server did not send a tree that was asked for"))
                );
            }
        }
        Ok(())
    }

    /// Asks for objects with the strongest filter that the server takes. `false`: it has no such object.
    async fn load(
        &self,
        operation: &Operation,
        objects: &mut Objects,
        wanted: &[ObjectId],
        depth: u8,
    ) -> Result<bool> {
        let capabilities = self.capabilities(operation).await?;
        loop {
            let filter = if capabilities.filter { self.server.known().filter } else { Filter::None };
            match fetch(operation, capabilities, wanted, filter, depth).await? {
                Fetched::Objects(found) => {
                    objects.extend(found);
                    return Ok(true);
                }
                Fetched::NotThere => return Ok(false),
                Fetched::FilterRefused => match filter.weaker() {
                    Some(weaker) => self.server.learn(|known| known.filter = weaker),
                    None => {
                        return Err(
                            operation.own(crate::pkt::broken("the server refuses what it was not asked"))
                        );
                    }
                },
            }
        }
    }

    async fn capabilities(&self, operation: &Operation) -> Result<Capabilities> {
        if let Some(known) = self.server.known().capabilities {
            return Ok(known);
        }
        let found = refs::discover(operation).await?;
        self.server.learn(|known| known.capabilities = Some(found));
        Ok(found)
    }

    async fn tip_of(&self, operation: &Operation, branch: &BranchName) -> Result<Option<Sha>> {
        let capabilities = self.capabilities(operation).await?;
        refs::tip(operation, capabilities, &full(branch)).await
    }

    /// Moves a branch from one place to another, or not at all. An answer that is lost is made up for: the branch tells
    /// what came of it, and since nobody else makes the same commit, a push may be sent again.
    async fn push_exactly(
        &self,
        operation: &Operation,
        branch: &BranchName,
        from: &str,
        to: &str,
        pack: Vec<u8>,
    ) -> Result<()> {
        let name = full(branch);
        let body = push::body(&Move { name: &name, from, to }, pack);
        let is = |tip: Option<&Sha>, id: &str| tip.map_or(NOTHING, Sha::as_str) == id;
        for left in (0..REPEATS).rev() {
            let error = match push(operation, &name, body.clone()).await {
                Ok(Pushed::Done) => return Ok(()),
                Ok(Pushed::Refused(refusal)) => {
                    let tip = self.tip_of(operation, branch).await?;
                    if is(tip.as_ref(), to) {
                        // By an earlier try whose answer was lost.
                        return Ok(());
                    }
                    if !is(tip.as_ref(), from) {
                        return Err(operation.own(moved(branch, tip.as_ref(), from)));
                    }
                    return Err(operation.own(refusal.into_error()));
                }
                Err(error) => error,
            };
            let lost = match error.delivery() {
                Delivery::NotSent => return Err(error),
                Delivery::Unknown => error.kind() != ErrorKind::Cancelled,
                _ => error.status().is_none_or(|status| status.is_success() || status.is_server_error()),
            };
            if !lost {
                return Err(error);
            }
            match self.tip_of(operation, branch).await {
                Ok(tip) if is(tip.as_ref(), to) => return Ok(()),
                Ok(tip) if is(tip.as_ref(), from) && left > 0 => {}
                _ => return Err(error),
            }
        }
        Err(operation.own(Error::new(ErrorKind::Internal, "the push was sent too often")))
    }
}

/// What may take a while, for other tasks to go on meanwhile.
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => {
            Err(Error::new(ErrorKind::Internal, "what git needed was not worked out").with_source(error))
        }
    }
}

fn full(branch: &BranchName) -> String {
    format!("refs/heads/{branch}")
}

fn id(sha: &Sha) -> Result<ObjectId> {
    ObjectId::from_hex(sha.as_str().as_bytes())
        .map_err(|_| Error::invalid(format!("'{sha}' is no whole SHA-1 id of a commit")))
}

fn moved(branch: &BranchName, tip: Option<&Sha>, expected: &str) -> Error {
    let message = match (tip, expected) {
        (None, _) => format!("the branch '{branch}' is not there"),
        (Some(tip), NOTHING) => format!("the branch '{branch}' exists already, at {tip}"),
        (Some(tip), expected) => format!("the branch '{branch}' has moved from {expected} to {tip}"),
    };
    Error::new(ErrorKind::Conflict, message).with_delivery(Delivery::Answered)
}

fn encode(commit: &gix_object::Commit) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    commit
        .write_to(&mut data)
        .map_err(|_| Error::invalid("the author, committer or message cannot be written into a commit"))?;
    Ok(data)
}
