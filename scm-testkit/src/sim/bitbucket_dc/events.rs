//! What follows when a branch moves, by whatever way it was moved.

use super::{Inner, builds, entities::short, pull_requests, reply::Failure};

/// Takes note of a branch that is now at `new` (absent: deleted) and was at `old` (absent: created). Its git
/// repository must not be locked by the caller: a merge may follow.
pub(crate) fn branch_moved(
    inner: &Inner,
    repo_id: u64,
    id: &str,
    old: Option<&String>,
    new: Option<&String>,
    user_id: u64,
) -> Result<(), Failure> {
    let git = inner.repo(repo_id)?;
    let mut head = None;
    {
        let mut state = inner.state();
        let default_missing = match state.repos.get_mut(&repo_id) {
            Some(repo) if repo.empty && new.is_some() => {
                repo.empty = false;
                repo.default_branch != short(id)
            }
            _ => false,
        };
        // The first push makes its branch the default one, unless that exists too.
        if default_missing
            && let Some(repo) = state.repos.get_mut(&repo_id)
            && git.branch_id(&repo.default_branch)?.is_none()
        {
            short(id).clone_into(&mut repo.default_branch);
            head = Some(short(id).to_owned());
        }
        if let Some(commit) = new {
            builds::start(inner, &mut state, repo_id, commit, id);
        }
    }
    if let Some(head) = head {
        git.set_head_branch(&head)?;
    }
    tracing::debug!(repo_id, id, ?old, ?new, "branch moved");
    pull_requests::branch_moved(inner, repo_id, id, user_id)?;
    pull_requests::auto_merge(inner, repo_id);
    Ok(())
}
