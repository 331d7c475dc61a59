//! Cases for [`scm_core::PullRequests`]: merging, approving, aligning, and what a pull request changes.

use scm_core::{
    Align, AlignStrategy, Alignment, Approve, BranchName, BranchesExt as _, CheckState, ErrorKind,
    FileAction, MergePullRequest, MergeReason, MergeStrategy, MergeWhen, NewPullRequest, PullRequest,
    PullRequestState, PullRequestsExt as _, Readiness, Role,
};

use super::case::{Ctx, Result, Stop};
use super::fixture::{JobSpec, Repo, RepoSpec};
use super::pull_requests::id_of_nothing;
use super::support::{
    cases, ensure, ensure_eq, everything, foreign_cursor, refused_without_effect, settled, topic, until,
    with_pull_request,
};

cases! {
    "merging";
    merge_puts_the_change_on_the_target [PullRequests::merge_pull_request];
    merge_holds_the_expected_head [PullRequests::merge_pull_request];
    merge_can_squash [PullRequests::merge_pull_request];
    merge_can_delete_the_source [PullRequests::merge_pull_request];
    merge_follows_the_options_of_the_pull_request [PullRequests::create_pull_request,
        PullRequests::merge_pull_request] needs pull_request_with_merge_options, else merge_options_are_refused;
    merge_refuses_what_cannot_be_merged [PullRequests::merge_pull_request, PullRequests::mergeability];
    merge_by_who_may_not_is_denied [PullRequests::merge_pull_request];
    a_merged_one_stays_merged [PullRequests::close_pull_request, PullRequests::reopen_pull_request];
    merge_waits_for_the_checks [PullRequests::merge_pull_request, PullRequests::cancel_auto_merge]
        needs pull_request_auto_merge, else auto_merge_is_refused;
    approvals_are_given_and_taken_back [PullRequests::approve_pull_request, PullRequests::unapprove_pull_request,
        PullRequests::approvals] needs pull_request_approvals, else approvals_are_refused;
    files_and_diff_tell_the_change [PullRequests::list_pull_request_files_page,
        PullRequestsExt::list_pull_request_files, PullRequests::pull_request_diff]
        needs pull_request_diff, else files_and_diff_are_refused;
    align_by_rebase_writes_the_source_anew [PullRequests::align_pull_request]
        needs pull_request_align_rebase, else align_by_rebase_is_refused;
    align_by_rebase_refuses_a_conflict [PullRequests::align_pull_request]
        needs pull_request_align_rebase, else align_by_rebase_is_refused;
    align_by_merge_brings_the_target_in [PullRequests::align_pull_request]
        needs pull_request_align_merge, else align_by_merge_is_refused;
}

/// Merges once the server has found out that it can.
async fn merge(ctx: &Ctx, repo: &Repo, pull: &PullRequest, opts: MergePullRequest) -> Result<PullRequest> {
    let seen = settled(ctx, repo, pull).await?;
    ensure_eq!(seen.readiness, Readiness::Ready, "{:?}, so the merge of !{}", seen.blockers, pull.id);
    let merged = ctx.scm.pull_requests().merge_pull_request(&repo.id, pull.id, &opts).await?;
    if merged.state == PullRequestState::Merging {
        let ask = || ctx.scm.pull_requests().pull_request(&repo.id, pull.id);
        return until("a merge", ask, |pull| pull.state != PullRequestState::Merging).await;
    }
    Ok(merged)
}

/// The file is there, and the pull request says by which commit.
pub async fn merge_puts_the_change_on_the_target(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    let Some(head) = ctx.scm.pull_requests().pull_request(&repo.id, pull.id).await?.head else {
        return Err(Stop::failed("an open pull request has no head"));
    };
    let message = "Merged by the suite\n\nWith a body.";
    let opts = MergePullRequest::default()
        .with_expected_head(head)
        .with_strategy(MergeStrategy::Merge)
        .with_message(message.to_owned())
        .with_delete_source_branch(false);
    let merged = merge(ctx, &repo, &pull, opts).await?;
    ensure_eq!(merged.state, PullRequestState::Merged, "state");
    let Some(tip) = ctx.scm.branches().default_branch(&repo.id).await?.map(|branch| branch.head) else {
        return Err(Stop::failed("the default branch is gone"));
    };
    ensure!(
        merged.merge_commit.as_ref().is_none_or(|sha| *sha == tip),
        "{:?}, not {tip}",
        merged.merge_commit
    );
    let commit = ctx.scm.commits().commit(&repo.id, &tip.clone().into()).await?;
    ensure_eq!(commit.message.trim_end(), message, "message of the merge commit");
    ensure_eq!(commit.parents.len(), 2, "parents of the merge commit");
    let there = ctx.scm.contents().file_exists(&repo.id, &tip.into(), &"topic.txt".parse()?).await?;
    ensure!(there, "the change is not on the target");
    ensure!(
        ctx.scm.branches().branch_exists(&repo.id, &pull.source_branch).await?,
        "the source was not to be deleted"
    );
    Ok(())
}

/// `PreconditionFailed`, and it stays open.
pub async fn merge_holds_the_expected_head(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    let pulls = ctx.scm.pull_requests();
    let Some(stale) = pulls.pull_request(&repo.id, pull.id).await?.head else {
        return Err(Stop::failed("an open pull request has no head"));
    };
    let moved = ctx.fixture.push_as_other(&repo, &pull.source_branch, &[("more", b"1")]).await?;
    let ask = || pulls.pull_request(&repo.id, pull.id);
    until("the head after a push", ask, |pull| pull.head.as_ref() == Some(&moved)).await?;
    settled(ctx, &repo, &pull).await?;
    let opts = MergePullRequest::default().with_expected_head(stale);
    let merged = pulls.merge_pull_request(&repo.id, pull.id, &opts).await;
    ctx.refused(merged, &[ErrorKind::PreconditionFailed])?;
    ensure_eq!(ask().await?.state, PullRequestState::Open, "state after a refused merge");
    Ok(())
}

/// One commit, on the target, for two on the source.
pub async fn merge_can_squash(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (source, first) = topic(ctx, &repo, "topic").await?;
    let second = ctx.fixture.push_as_other(&repo, &source, &[("second", b"2")]).await?;
    let new = NewPullRequest::new(source, repo.default_branch.clone(), "Squashed");
    let pull = ctx.scm.pull_requests().create_pull_request(&repo.id, &new).await?.value;
    let opts = MergePullRequest::default()
        .with_strategy(MergeStrategy::Squash)
        .with_message("All in one".to_owned());
    let merged = merge(ctx, &repo, &pull, opts).await?;
    ensure_eq!(merged.state, PullRequestState::Merged, "state");
    let log = scm_core::ListCommits::default();
    use scm_core::CommitsExt as _;
    let log = everything(ctx.scm.commits().list_commits(&repo.id, log)).await?;
    let split = log.iter().any(|commit| commit.sha == first || commit.sha == second);
    ensure!(!split, "the source's own commits are on the target");
    ensure!(log.iter().any(|commit| commit.title == "All in one"), "no commit has the message: {log:?}");
    for name in ["topic.txt", "second"] {
        let there =
            ctx.scm.contents().file_exists(&repo.id, &scm_core::Revision::Head, &name.parse()?).await?;
        ensure!(there, "{name} is not on the target");
    }
    Ok(())
}

/// By the merge's own option.
pub async fn merge_can_delete_the_source(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    merge(ctx, &repo, &pull, MergePullRequest::default().with_delete_source_branch(true)).await?;
    gone(ctx, &repo, &pull.source_branch).await
}

async fn gone(ctx: &Ctx, repo: &Repo, name: &BranchName) -> Result<()> {
    let ask = || ctx.scm.branches().branch_exists(&repo.id, name);
    until(&format!("{name} after the merge"), ask, |there| !there).await.map(drop)
}

/// By what was set when it was opened.
pub async fn merge_follows_the_options_of_the_pull_request(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (source, _) = topic(ctx, &repo, "topic").await?;
    let new =
        NewPullRequest::new(source.clone(), repo.default_branch.clone(), "Set").deleting_source_branch();
    let pull = ctx.scm.pull_requests().create_pull_request(&repo.id, &new).await?.value;
    merge(ctx, &repo, &pull, MergePullRequest::default()).await?;
    gone(ctx, &repo, &source).await
}

/// The other half of the case about options: none is silently lost.
pub async fn merge_options_are_refused(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (source, _) = topic(ctx, &repo, "topic").await?;
    let new = || NewPullRequest::new(source.clone(), repo.default_branch.clone(), "Set");
    for new in [new().deleting_source_branch(), new().squashed()] {
        ctx.unsupported(ctx.scm.pull_requests().create_pull_request(&repo.id, &new).await)?;
    }
    Ok(())
}

/// `Conflict` where both sides change the same line, and the reason is told.
pub async fn merge_refuses_what_cannot_be_merged(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository_with(RepoSpec::new().with_file("same", "one\n")).await?;
    let source = BranchName::new("topic")?;
    ctx.fixture.push_as_other(&repo, &source, &[("same", b"theirs\n")]).await?;
    ctx.fixture.push_as_other(&repo, &repo.default_branch, &[("same", b"ours\n")]).await?;
    let new = NewPullRequest::new(source, repo.default_branch.clone(), "In conflict");
    let pull = ctx.scm.pull_requests().create_pull_request(&repo.id, &new).await?.value;
    let seen = settled(ctx, &repo, &pull).await?;
    ensure_eq!(seen.readiness, Readiness::Blocked, "with both sides changed");
    let reasons: Vec<_> = seen.blockers.iter().map(|blocker| &blocker.reason).collect();
    ensure!(reasons.contains(&&MergeReason::Conflict), "the reasons are {reasons:?}");
    let merged =
        ctx.scm.pull_requests().merge_pull_request(&repo.id, pull.id, &MergePullRequest::default()).await;
    ctx.refused(merged, &[ErrorKind::Conflict])?;
    let state = ctx.scm.pull_requests().pull_request(&repo.id, pull.id).await?.state;
    ensure_eq!(state, PullRequestState::Open, "state after a refused merge");
    Ok(())
}

/// `PermissionDenied`, not a bad token.
pub async fn merge_by_who_may_not_is_denied(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new().protected()).await?;
    settled(ctx, &repo, &pull).await?;
    let merged =
        ctx.scm.pull_requests().merge_pull_request(&repo.id, pull.id, &MergePullRequest::default()).await;
    ctx.refused(merged, &[ErrorKind::PermissionDenied])?;
    ctx.scm.connection().identity().await?;
    Ok(())
}

/// `Conflict` for close and reopen.
pub async fn a_merged_one_stays_merged(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    merge(ctx, &repo, &pull, MergePullRequest::default()).await?;
    let pulls = ctx.scm.pull_requests();
    ctx.refused(pulls.close_pull_request(&repo.id, pull.id).await, &[ErrorKind::Conflict])?;
    ctx.refused(pulls.reopen_pull_request(&repo.id, pull.id).await, &[ErrorKind::Conflict])?;
    ensure_eq!(pulls.pull_request(&repo.id, pull.id).await?.state, PullRequestState::Merged, "state");
    Ok(())
}

/// Waits, can be taken back, and goes through when the checks pass.
pub async fn merge_waits_for_the_checks(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (source, head) = topic(ctx, &repo, "topic").await?;
    let jobs = [JobSpec::new("test", CheckState::Running)];
    let run = ctx.fixture.pipeline(&repo, &source, &head, &jobs).await?;
    let new = NewPullRequest::new(source, repo.default_branch.clone(), "When it passes");
    let pulls = ctx.scm.pull_requests();
    let pull = pulls.create_pull_request(&repo.id, &new).await?.value;
    ctx.refused(pulls.cancel_auto_merge(&repo.id, pull.id).await, &[ErrorKind::Conflict])?;
    settled(ctx, &repo, &pull).await?;
    let opts = MergePullRequest::default().with_when(MergeWhen::ChecksPass).with_expected_head(head);
    let waiting = pulls.merge_pull_request(&repo.id, pull.id, &opts).await?;
    ensure_eq!(
        (waiting.state, waiting.auto_merge),
        (PullRequestState::Open, Some(true)),
        "while the checks run"
    );
    let back = pulls.cancel_auto_merge(&repo.id, pull.id).await?;
    ensure_eq!((back.state, back.auto_merge), (PullRequestState::Open, Some(false)), "taken back");
    pulls.merge_pull_request(&repo.id, pull.id, &opts).await?;
    ctx.fixture.set_job(&repo, run.job(0)?, CheckState::Success).await?;
    let ask = || pulls.pull_request(&repo.id, pull.id);
    until("the merge after the checks", ask, |pull| pull.state == PullRequestState::Merged).await?;
    Ok(())
}

/// The other half of the case about merging once the checks pass: never merged at once instead.
pub async fn auto_merge_is_refused(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    settled(ctx, &repo, &pull).await?;
    let opts = MergePullRequest::default().with_when(MergeWhen::ChecksPass);
    let pulls = ctx.scm.pull_requests();
    refused_without_effect(ctx, &repo, pulls.merge_pull_request(&repo.id, pull.id, &opts)).await?;
    refused_without_effect(ctx, &repo, pulls.cancel_auto_merge(&repo.id, pull.id)).await
}

/// Each twice; the head that was looked at counts.
pub async fn approvals_are_given_and_taken_back(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    let reviewer = ctx.scm_as(super::TokenSpec::new().granting(&repo, Role::Write)).await?;
    let (pulls, me) = (reviewer.pull_requests(), reviewer.connection().identity().await?.username);
    ensure!(pulls.approvals(&repo.id, pull.id).await?.approved_by.is_empty(), "approved before anyone did");
    let stale = Approve::default().with_expected_head(repo.head()?);
    let approved = pulls.approve_pull_request(&repo.id, pull.id, &stale).await;
    ctx.refused(approved, &[ErrorKind::PreconditionFailed])?;
    for _ in 0..2 {
        pulls.approve_pull_request(&repo.id, pull.id, &Approve::default()).await?;
        let seen = pulls.approvals(&repo.id, pull.id).await?.approved_by;
        ensure_eq!(seen, std::slice::from_ref(&me), "approved");
    }
    for _ in 0..2 {
        pulls.unapprove_pull_request(&repo.id, pull.id).await?;
        ensure_eq!(pulls.approvals(&repo.id, pull.id).await?.approved_by, [], "taken back");
    }
    ctx.refused(pulls.approvals(&repo.id, id_of_nothing()).await, &[ErrorKind::NotFound])?;
    Ok(())
}

/// The other half of the case about approvals.
pub async fn approvals_are_refused(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    let pulls = ctx.scm.pull_requests();
    refused_without_effect(ctx, &repo, pulls.approve_pull_request(&repo.id, pull.id, &Approve::default()))
        .await?;
    refused_without_effect(ctx, &repo, pulls.unapprove_pull_request(&repo.id, pull.id)).await?;
    ctx.unsupported(pulls.approvals(&repo.id, pull.id).await)
}

/// Every file once, and the diff as text.
pub async fn files_and_diff_tell_the_change(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let source = BranchName::new("topic")?;
    let files: Vec<String> = (0..120).map(|n| format!("dir/file-{n:03}")).collect();
    let mut pushed: Vec<(&str, &[u8])> = files.iter().map(|name| (name.as_str(), &b"new\n"[..])).collect();
    pushed.push(("README.md", b"# Changed\n"));
    ctx.fixture.push_as_other(&repo, &source, &pushed).await?;
    let new = NewPullRequest::new(source, repo.default_branch.clone(), "Many files");
    let pulls = ctx.scm.pull_requests();
    let pull = pulls.create_pull_request(&repo.id, &new).await?.value;
    let all = everything(pulls.list_pull_request_files(&repo.id, pull.id)).await?;
    let mut seen: Vec<_> = all.iter().map(|file| (file.path.as_str(), file.action)).collect();
    seen.sort_by_key(|(path, _)| *path);
    let added = files.iter().map(|name| (name.as_str(), FileAction::Added));
    let wanted: Vec<_> = [("README.md", FileAction::Modified)].into_iter().chain(added).collect();
    ensure_eq!(seen, wanted, "files");
    let diff = pulls.pull_request_diff(&repo.id, pull.id).await?.collect(1 << 20).await?;
    let diff = String::from_utf8_lossy(&diff);
    for text in ["-# Read me", "+# Changed", "b/dir/file-119"] {
        ensure!(diff.contains(text), "{text:?} is not in the diff");
    }
    ctx.refused(pulls.pull_request_diff(&repo.id, id_of_nothing()).await, &[ErrorKind::NotFound])?;
    let page = pulls.list_pull_request_files_page(&repo.id, pull.id, Some(&foreign_cursor())).await;
    ctx.refused(page, &[ErrorKind::InvalidInput])?;
    Ok(())
}

/// The other half of the case about files and diff.
pub async fn files_and_diff_are_refused(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    ctx.unsupported(ctx.scm.pull_requests().list_pull_request_files_page(&repo.id, pull.id, None).await)?;
    ctx.unsupported(ctx.scm.pull_requests().pull_request_diff(&repo.id, pull.id).await)
}

async fn behind(ctx: &Ctx, files: [(&str, &str); 2]) -> Result<(Repo, PullRequest, scm_core::Sha)> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    let [(on_source, text), (on_target, other)] = files;
    ctx.fixture.push_as_other(&repo, &pull.source_branch, &[(on_source, text.as_bytes())]).await?;
    let target =
        ctx.fixture.push_as_other(&repo, &repo.default_branch, &[(on_target, other.as_bytes())]).await?;
    Ok((repo, pull, target))
}

/// On top of the target, with its change, and nothing to do the second time.
pub async fn align_by_rebase_writes_the_source_anew(ctx: &Ctx) -> Result<()> {
    let (repo, pull, target) = behind(ctx, [("source", "1\n"), ("target", "2\n")]).await?;
    let (pulls, opts) = (ctx.scm.pull_requests(), Align::default().with_strategy(AlignStrategy::Rebase));
    let Alignment::Aligned { head } = pulls.align_pull_request(&repo.id, pull.id, &opts).await? else {
        return Err(Stop::failed("a source that is behind is up to date"));
    };
    let tip = ctx.scm.branches().branch(&repo.id, &pull.source_branch).await?.head;
    ensure_eq!(tip, head, "the tip of the source");
    let log = scm_core::ListCommits::default().with_from(head.into()).with_excluding(target.clone().into());
    use scm_core::CommitsExt as _;
    let log = everything(ctx.scm.commits().list_commits(&repo.id, log)).await?;
    let root = log.last().map(|commit| commit.parents.clone()).unwrap_or_default();
    ensure_eq!((log.len(), root), (2, vec![target]), "commits on top of the target");
    let again = pulls.align_pull_request(&repo.id, pull.id, &opts).await?;
    ensure_eq!(again, Alignment::UpToDate, "the second time");
    ctx.refused(pulls.align_pull_request(&repo.id, id_of_nothing(), &opts).await, &[ErrorKind::NotFound])?;
    Ok(())
}

/// `Conflict`, and the source stays as it was.
pub async fn align_by_rebase_refuses_a_conflict(ctx: &Ctx) -> Result<()> {
    let (repo, pull, _) = behind(ctx, [("README.md", "theirs\n"), ("README.md", "ours\n")]).await?;
    let before = ctx.scm.branches().branch(&repo.id, &pull.source_branch).await?.head;
    let aligned = ctx.scm.pull_requests().align_pull_request(&repo.id, pull.id, &Align::default()).await;
    ctx.refused(aligned, &[ErrorKind::Conflict])?;
    let after = ctx.scm.branches().branch(&repo.id, &pull.source_branch).await?.head;
    ensure_eq!(after, before, "the source after a conflict");
    Ok(())
}

/// The other half of the cases about rebase.
pub async fn align_by_rebase_is_refused(ctx: &Ctx) -> Result<()> {
    align_is_refused(ctx, AlignStrategy::Rebase).await
}

/// A merge commit whose second parent is the target.
pub async fn align_by_merge_brings_the_target_in(ctx: &Ctx) -> Result<()> {
    let (repo, pull, target) = behind(ctx, [("source", "1\n"), ("target", "2\n")]).await?;
    let source = ctx.scm.branches().branch(&repo.id, &pull.source_branch).await?.head;
    let opts = Align::default().with_strategy(AlignStrategy::Merge);
    let Alignment::Aligned { head } =
        ctx.scm.pull_requests().align_pull_request(&repo.id, pull.id, &opts).await?
    else {
        return Err(Stop::failed("a source that is behind is up to date"));
    };
    let commit = ctx.scm.commits().commit(&repo.id, &head.into()).await?;
    ensure_eq!(commit.parents, [source, target], "parents of the new tip");
    Ok(())
}

/// The other half of the case about align by merge.
pub async fn align_by_merge_is_refused(ctx: &Ctx) -> Result<()> {
    align_is_refused(ctx, AlignStrategy::Merge).await
}

async fn align_is_refused(ctx: &Ctx, strategy: AlignStrategy) -> Result<()> {
    let (repo, pull, _) = behind(ctx, [("source", "1\n"), ("target", "2\n")]).await?;
    let opts = Align::default().with_strategy(strategy);
    refused_without_effect(ctx, &repo, ctx.scm.pull_requests().align_pull_request(&repo.id, pull.id, &opts))
        .await
}
