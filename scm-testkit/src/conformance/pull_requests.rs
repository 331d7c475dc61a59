//! Cases for [`scm_core::PullRequests`].

use std::sync::Arc;

use scm_core::{
    BranchName, Change, CheckState, CheckTarget, ErrorKind, ListPullRequests, MergePullRequest, MergeReason,
    NewPullRequest, PullRequest, PullRequestId, PullRequestState, PullRequestsExt as _, Readiness, RepoId,
    Role, UpdatePullRequest, UserName,
};

use super::case::{Ctx, Result};
use super::fixture::{JobSpec, Repo, RepoSpec};
use super::support::{
    cases, ensure, ensure_eq, every_page, everything, foreign_cursor, open_pull_request, pages_hold,
    refused_without_effect, settled, topic, until, with_pull_request,
};

cases! {
    "pull_requests";
    create_opens_one [PullRequests::create_pull_request, PullRequests::pull_request];
    create_again_gives_the_one_that_is_open [PullRequests::create_pull_request];
    create_refuses_branches_that_cannot_be [PullRequests::create_pull_request];
    create_by_a_guest_is_denied [PullRequests::create_pull_request];
    create_takes_labels [PullRequests::create_pull_request, PullRequests::list_pull_requests_page]
        needs pull_request_labels, else labels_are_refused;
    create_takes_assignees [PullRequests::create_pull_request, PullRequests::update_pull_request]
        needs pull_request_assignees, else assignees_are_refused;
    create_takes_reviewers [PullRequests::create_pull_request, PullRequests::update_pull_request]
        needs pull_request_reviewers, else reviewers_are_refused;
    create_takes_a_fork [PullRequests::create_pull_request, PullRequests::find_pull_request]
        needs pull_request_from_fork, else a_fork_is_refused;
    a_draft_is_made_and_made_ready [PullRequests::create_pull_request, PullRequests::update_pull_request]
        needs pull_request_draft, else a_draft_is_refused;
    what_is_missing_is_not_found [PullRequests::pull_request, PullRequests::update_pull_request,
        PullRequests::close_pull_request, PullRequests::reopen_pull_request, PullRequests::merge_pull_request,
        PullRequests::mergeability, PullRequests::find_pull_request, PullRequests::pull_request_status];
    the_list_can_be_filtered [PullRequests::list_pull_requests_page, PullRequestsExt::list_pull_requests];
    the_list_can_be_taken_up_again [PullRequests::list_pull_requests_page];
    a_foreign_cursor_is_refused [PullRequests::list_pull_requests_page];
    find_gives_the_open_one_for_these_branches [PullRequests::find_pull_request];
    update_changes_what_it_names [PullRequests::update_pull_request];
    update_refuses_nothing_to_change [PullRequests::update_pull_request];
    close_and_reopen_can_be_repeated [PullRequests::close_pull_request, PullRequests::reopen_pull_request];
    reopen_refuses_where_another_is_open [PullRequests::reopen_pull_request];
    what_others_did_is_seen [PullRequests::pull_request];
    mergeability_names_a_draft [PullRequests::mergeability] needs pull_request_draft, else a_draft_is_refused;
    ensure_creates_once [PullRequests::ensure_pull_request];
    ensure_brings_it_up_to_date [PullRequests::ensure_pull_request];
    ensure_opens_a_new_one_after_the_old_was_closed [PullRequests::ensure_pull_request];
    status_tells_all_at_once [PullRequests::pull_request_status, PullRequests::pull_request_checks];
}

pub(super) fn id_of_nothing() -> PullRequestId {
    PullRequestId::new(987_654)
}

async fn ids(ctx: &Ctx, repo: &Repo, opts: ListPullRequests) -> Result<Vec<u64>> {
    let all = everything(ctx.scm.pull_requests().list_pull_requests(&repo.id, opts)).await?;
    Ok(all.into_iter().map(|pull| pull.id.get()).collect())
}

/// With all that was asked for; read again it is the same.
pub async fn create_opens_one(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (source, head) = topic(ctx, &repo, "fix/lodash#1+2").await?;
    let description = "Raises **lodash**.\n\n- one\n- two\n\n| a | b |\n|---|---|\n| ä | 🔒 |";
    let new = NewPullRequest::new(
        source.clone(),
        repo.default_branch.clone(),
        "Update lodash to 4.17.21 & \"more\"",
    )
    .with_description(description);
    let made = ctx.scm.pull_requests().create_pull_request(&repo.id, &new).await?;
    ensure_eq!(made.change, Change::Created, "the first time");
    let read = ctx.scm.pull_requests().pull_request(&repo.id, made.value.id).await?;
    for pull in [&made.value, &read] {
        ensure_eq!(pull.id, read.id, "id");
        ensure_eq!(pull.title, new.title, "title");
        ensure_eq!(pull.description.trim_end(), description, "description");
        ensure_eq!(pull.state, PullRequestState::Open, "state");
        ensure_eq!((&pull.source_branch, &pull.target_branch), (&source, &repo.default_branch), "branches");
        ensure!(pull.draft != Some(true), "nobody asked for a draft");
        ensure!(pull.head.as_ref().is_none_or(|seen| *seen == head), "head: {:?}, not {head}", pull.head);
        ensure!(pull.merge_commit.is_none() && pull.merged_at.is_none(), "it is not merged: {pull:?}");
    }
    let me = ctx.scm.connection().identity().await?.username;
    ensure!(read.author.as_ref().is_none_or(|author| *author == me), "author: {:?}, not {me}", read.author);
    let source_repository = read.source_repository.as_ref();
    ensure!(source_repository.is_none_or(|id| *id == repo.id || *id == repo.path), "{source_repository:?}");
    Ok(())
}

/// `Unchanged`, whatever title the second call has.
pub async fn create_again_gives_the_one_that_is_open(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    let again = NewPullRequest::new(pull.source_branch.clone(), pull.target_branch.clone(), "Another title");
    let seen = ctx.scm.pull_requests().create_pull_request(&repo.id, &again).await?;
    ensure_eq!((seen.change, seen.value.id), (Change::Unchanged, pull.id), "the second time");
    ensure_eq!(seen.value.title, pull.title, "title");
    ensure_eq!(ids(ctx, &repo, ListPullRequests::default()).await?.len(), 1, "pull requests");
    // To another target it is another one.
    let (other, _) = topic(ctx, &repo, "other-target").await?;
    let new = NewPullRequest::new(pull.source_branch, other, "To another target");
    let made = ctx.scm.pull_requests().create_pull_request(&repo.id, &new).await?;
    ensure_eq!(made.change, Change::Created, "to another target");
    Ok(())
}

/// Missing source or target, source and target the same, missing repository.
pub async fn create_refuses_branches_that_cannot_be(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (source, _) = topic(ctx, &repo, "topic").await?;
    let missing = BranchName::new("not/there")?;
    let refused = [ErrorKind::NotFound, ErrorKind::InvalidInput];
    for (source, target) in
        [(&missing, &repo.default_branch), (&source, &missing), (&repo.default_branch, &repo.default_branch)]
    {
        let new = NewPullRequest::new(source.clone(), target.clone(), format!("{source} to {target}"));
        ctx.refused(ctx.scm.pull_requests().create_pull_request(&repo.id, &new).await, &refused)?;
    }
    ensure_eq!(ids(ctx, &repo, ListPullRequests::default()).await?, Vec::<u64>::new(), "pull requests");
    let gone = RepoId::new(format!("{}-is-not-there", repo.path))?;
    let new = NewPullRequest::new(source, repo.default_branch.clone(), "No repository");
    ctx.refused(ctx.scm.pull_requests().create_pull_request(&gone, &new).await, &[ErrorKind::NotFound])?;
    Ok(())
}

/// Refused for a member who may not even read the code.
pub async fn create_by_a_guest_is_denied(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository_with(RepoSpec::new().with_role(Role::Guest)).await?;
    let source = BranchName::new("topic")?;
    ctx.fixture.push_as_other(&repo, &source, &[("a", b"1")]).await?;
    let new = NewPullRequest::new(source, repo.default_branch.clone(), "By a guest");
    let made = ctx.scm.pull_requests().create_pull_request(&repo.id, &new).await;
    ctx.refused(made, &[ErrorKind::PermissionDenied, ErrorKind::NotFound])?;
    Ok(())
}

/// Given at creation, filtered by, added and taken away.
pub async fn create_takes_labels(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (source, _) = topic(ctx, &repo, "labelled").await?;
    let new = NewPullRequest::new(source, repo.default_branch.clone(), "Labelled").with_labels([
        "security",
        "with space",
        "scope::value",
    ]);
    let pull = ctx.scm.pull_requests().create_pull_request(&repo.id, &new).await?.value;
    let sorted = |mut labels: Vec<String>| {
        labels.sort();
        labels
    };
    ensure_eq!(sorted(pull.labels), ["scope::value", "security", "with space"], "labels");
    open_pull_request(ctx, &repo, "plain").await?;
    for (label, wanted) in [("with space", vec![pull.id.get()]), ("not used", vec![])] {
        let opts = ListPullRequests::default().with_label(label.to_owned());
        ensure_eq!(ids(ctx, &repo, opts).await?, wanted, "those labelled {label}");
    }
    let changes = UpdatePullRequest::default()
        .with_add_labels(vec!["added".to_owned()])
        .with_remove_labels(vec!["security".to_owned()]);
    let changed = ctx.scm.pull_requests().update_pull_request(&repo.id, pull.id, &changes).await?;
    ensure_eq!(sorted(changed.labels), ["added", "scope::value", "with space"], "labels after the update");
    Ok(())
}

async fn refused_when_new(ctx: &Ctx, change: impl FnOnce(NewPullRequest) -> NewPullRequest) -> Result<()> {
    let repo = ctx.repository().await?;
    let (source, _) = topic(ctx, &repo, "topic").await?;
    let new = change(NewPullRequest::new(source, repo.default_branch.clone(), "Cannot be"));
    refused_without_effect(ctx, &repo, ctx.scm.pull_requests().create_pull_request(&repo.id, &new)).await
}

/// The other half of the case about labels.
pub async fn labels_are_refused(ctx: &Ctx) -> Result<()> {
    refused_when_new(ctx, |new| new.with_labels(["security"])).await
}

/// The other half of the case about assignees.
pub async fn assignees_are_refused(ctx: &Ctx) -> Result<()> {
    let me = ctx.scm.connection().identity().await?.username;
    refused_when_new(ctx, |new| new.with_assignees([me])).await
}

/// The other half of the case about reviewers.
pub async fn reviewers_are_refused(ctx: &Ctx) -> Result<()> {
    let me = ctx.scm.connection().identity().await?.username;
    refused_when_new(ctx, |new| new.with_reviewers([me])).await
}

/// The other half of the cases about drafts.
pub async fn a_draft_is_refused(ctx: &Ctx) -> Result<()> {
    refused_when_new(ctx, NewPullRequest::as_draft).await
}

/// Given at creation, replaced by an update; an unknown user is refused.
pub async fn create_takes_assignees(ctx: &Ctx) -> Result<()> {
    people(ctx, NewPullRequest::with_assignees, UpdatePullRequest::with_assignees, |pull| &pull.assignees)
        .await
}

/// Given at creation, replaced by an update; an unknown user is refused.
pub async fn create_takes_reviewers(ctx: &Ctx) -> Result<()> {
    people(ctx, NewPullRequest::with_reviewers, UpdatePullRequest::with_reviewers, |pull| &pull.reviewers)
        .await
}

async fn people(
    ctx: &Ctx,
    on_new: fn(NewPullRequest, Vec<UserName>) -> NewPullRequest,
    on_update: fn(UpdatePullRequest, Vec<UserName>) -> UpdatePullRequest,
    seen: fn(&PullRequest) -> &Vec<UserName>,
) -> Result<()> {
    let repo = ctx.repository().await?;
    let one = ctx.fixture.member(&repo, &format!("{}-one", ctx.unique()), Role::Write).await?;
    let two = ctx.fixture.member(&repo, &format!("{}-two", ctx.unique()), Role::Write).await?;
    let (source, _) = topic(ctx, &repo, "topic").await?;
    let plain = NewPullRequest::new(source, repo.default_branch.clone(), "With people");
    let pulls = ctx.scm.pull_requests();
    let unknown = UserName::new(format!("{}-is-nobody", ctx.unique()))?;
    let made = pulls.create_pull_request(&repo.id, &on_new(plain.clone(), vec![unknown.clone()])).await;
    ctx.refused(made, &[ErrorKind::NotFound, ErrorKind::InvalidInput])?;
    ensure_eq!(
        ids(ctx, &repo, ListPullRequests::default()).await?,
        Vec::<u64>::new(),
        "pull requests with an unknown user"
    );
    let pull = pulls.create_pull_request(&repo.id, &on_new(plain, vec![one.clone()])).await?.value;
    ensure_eq!(*seen(&pull), [one], "at creation");
    let update = |people| on_update(UpdatePullRequest::default(), people);
    let changed = pulls.update_pull_request(&repo.id, pull.id, &update(vec![two.clone()])).await?;
    ensure_eq!(*seen(&changed), std::slice::from_ref(&two), "after the update");
    let other = UpdatePullRequest::default().with_title("Another title".to_owned());
    let changed = pulls.update_pull_request(&repo.id, pull.id, &other).await?;
    ensure_eq!(*seen(&changed), [two], "after an update of the title");
    let none = pulls.update_pull_request(&repo.id, pull.id, &update(vec![])).await?;
    ensure_eq!(*seen(&none), [], "after an update to nobody");
    let refused = pulls.update_pull_request(&repo.id, pull.id, &update(vec![unknown])).await;
    ctx.refused(refused, &[ErrorKind::NotFound, ErrorKind::InvalidInput])?;
    Ok(())
}

/// The source is in the fork; `repo` stays the target.
pub async fn create_takes_a_fork(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let fork = ctx.fixture.fork(&repo, &ctx.unique()).await?;
    let (source, head) = topic(ctx, &fork, "topic").await?;
    // A branch of the same name here must not be taken for the other.
    topic(ctx, &repo, "topic").await?;
    let new = NewPullRequest::new(source.clone(), repo.default_branch.clone(), "From a fork")
        .with_source_repository(fork.id.clone());
    let made = ctx.scm.pull_requests().create_pull_request(&repo.id, &new).await?;
    ensure_eq!(made.change, Change::Created, "from a fork");
    ensure!(
        made.value.head.as_ref().is_none_or(|seen| *seen == head),
        "head: {:?}, not {head}",
        made.value.head
    );
    ensure_eq!(made.value.source_repository.as_ref(), Some(&fork.id), "source repository");
    let find =
        |from| ctx.scm.pull_requests().find_pull_request(&repo.id, &source, &repo.default_branch, from);
    ensure_eq!(find(Some(&fork.id)).await?.map(|pull| pull.id), Some(made.value.id), "found by its fork");
    ensure_eq!(find(None).await?.map(|pull| pull.id), None, "found without its fork");
    let again = ctx.scm.pull_requests().create_pull_request(&repo.id, &new).await?;
    ensure_eq!((again.change, again.value.id), (Change::Unchanged, made.value.id), "the second time");
    Ok(())
}

/// The other half of the case about forks.
pub async fn a_fork_is_refused(ctx: &Ctx) -> Result<()> {
    let other = ctx.repository().await?.id;
    refused_when_new(ctx, |new| new.with_source_repository(other)).await
}

/// Draft at creation, ready, draft again; the title never shows it.
pub async fn a_draft_is_made_and_made_ready(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (source, _) = topic(ctx, &repo, "topic").await?;
    let new = NewPullRequest::new(source, repo.default_branch.clone(), "Not yet").as_draft();
    let pulls = ctx.scm.pull_requests();
    let made = pulls.create_pull_request(&repo.id, &new).await?.value;
    ensure_eq!((made.draft, made.title.as_str()), (Some(true), "Not yet"), "at creation");
    for draft in [true, false, false, true] {
        let changes = UpdatePullRequest::default().with_draft(draft);
        let seen = pulls.update_pull_request(&repo.id, made.id, &changes).await?;
        ensure_eq!((seen.draft, seen.title.as_str()), (Some(draft), "Not yet"), "made draft: {draft}");
    }
    let changes = UpdatePullRequest::default().with_title("Still not".to_owned());
    let seen = pulls.update_pull_request(&repo.id, made.id, &changes).await?;
    ensure_eq!((seen.draft, seen.title.as_str()), (Some(true), "Still not"), "a new title of a draft");
    let both = UpdatePullRequest::default().with_title("Now".to_owned()).with_draft(false);
    let seen = pulls.update_pull_request(&repo.id, made.id, &both).await?;
    ensure_eq!((seen.draft, seen.title.as_str()), (Some(false), "Now"), "a new title and ready");
    Ok(())
}

/// Every call with a number, and with a repository, that is not there.
pub async fn what_is_missing_is_not_found(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let gone = RepoId::new(format!("{}-is-not-there", repo.path))?;
    let (pulls, id) = (ctx.scm.pull_requests(), id_of_nothing());
    let missing = [ErrorKind::NotFound];
    let title = UpdatePullRequest::default().with_title("No".to_owned());
    for repo in [&repo.id, &gone] {
        ctx.refused(pulls.pull_request(repo, id).await, &missing)?;
        ctx.refused(pulls.update_pull_request(repo, id, &title).await, &missing)?;
        ctx.refused(pulls.close_pull_request(repo, id).await, &missing)?;
        ctx.refused(pulls.reopen_pull_request(repo, id).await, &missing)?;
        ctx.refused(pulls.merge_pull_request(repo, id, &MergePullRequest::default()).await, &missing)?;
        ctx.refused(pulls.mergeability(repo, id).await, &missing)?;
        ctx.refused(pulls.pull_request_status(repo, id).await, &missing)?;
    }
    let (source, target) = ("a".parse()?, "b".parse()?);
    ctx.refused(pulls.find_pull_request(&gone, &source, &target, None).await, &missing)?;
    ctx.refused(pulls.list_pull_requests_page(&gone, &ListPullRequests::default(), None).await, &missing)?;
    ensure_eq!(pulls.find_pull_request(&repo.id, &source, &target, None).await?, None, "missing branches");
    Ok(())
}

/// By state, branches, author and time; newest first.
pub async fn the_list_can_be_filtered(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (one, two) =
        (open_pull_request(ctx, &repo, "one/x#1+2").await?, open_pull_request(ctx, &repo, "two").await?);
    let (target, _) = topic(ctx, &repo, "target").await?;
    let three = NewPullRequest::new(two.source_branch.clone(), target.clone(), "Three");
    let three = ctx.scm.pull_requests().create_pull_request(&repo.id, &three).await?.value;
    ctx.scm.pull_requests().close_pull_request(&repo.id, one.id).await?;
    let me = ctx.scm.connection().identity().await?.username;
    let (one_id, two_id, three_id) = (one.id.get(), two.id.get(), three.id.get());
    let all = ListPullRequests::default();
    for (opts, wanted) in [
        (all.clone(), vec![three_id, two_id, one_id]),
        (all.clone().with_state(PullRequestState::Open), vec![three_id, two_id]),
        (all.clone().with_state(PullRequestState::Closed), vec![one_id]),
        (all.clone().with_state(PullRequestState::Merged), vec![]),
        (all.clone().with_source_branch(two.source_branch.clone()), vec![three_id, two_id]),
        (all.clone().with_source_branch(one.source_branch), vec![one_id]),
        (all.clone().with_target_branch(target.clone()), vec![three_id]),
        (all.clone().with_source_branch(two.source_branch).with_target_branch(target), vec![three_id]),
        (all.clone().with_author(me), vec![three_id, two_id, one_id]),
        (all.clone().with_author(UserName::new(format!("{}-is-nobody", ctx.unique()))?), vec![]),
        (
            all.clone().with_updated_since("2001-02-03T04:05:06+07:00".parse()?),
            vec![three_id, two_id, one_id],
        ),
        (all.with_updated_since("2199-01-01T00:00:00Z".parse()?), vec![]),
    ] {
        let shown = format!("{opts:?}");
        ensure_eq!(ids(ctx, &repo, opts).await?, wanted, "{shown}");
    }
    Ok(())
}

/// Small pages with cursors kept as JSON.
pub async fn the_list_can_be_taken_up_again(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let mut wanted = Vec::new();
    for n in 0..5 {
        wanted.push(open_pull_request(ctx, &repo, &format!("topic/{n}")).await?.id);
    }
    let opts = ListPullRequests::default().with_page_size(2);
    let pages = every_page(|at| {
        let (scm, repo, opts) = (Arc::clone(&ctx.scm), &repo.id, &opts);
        async move { scm.pull_requests().list_pull_requests_page(repo, opts, at.as_ref()).await }
    })
    .await?;
    let pages = pages.into_iter().map(|page| page.into_iter().map(|pull| pull.id).collect()).collect();
    pages_hold(pages, 2, &wanted)
}

/// A cursor of another provider.
pub async fn a_foreign_cursor_is_refused(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (opts, cursor) = (ListPullRequests::default(), foreign_cursor());
    let page = ctx.scm.pull_requests().list_pull_requests_page(&repo.id, &opts, Some(&cursor)).await;
    ctx.refused(page, &[ErrorKind::InvalidInput])?;
    Ok(())
}

/// Not a closed one, nor one between other branches.
pub async fn find_gives_the_open_one_for_these_branches(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    let (other, _) = topic(ctx, &repo, "other").await?;
    let main = &repo.default_branch;
    let find = async |source: &BranchName, target: &BranchName| -> Result<_> {
        let found = ctx.scm.pull_requests().find_pull_request(&repo.id, source, target, None).await?;
        Ok(found.map(|pull| pull.id))
    };
    ensure_eq!(find(&pull.source_branch, main).await?, Some(pull.id), "for its branches");
    ensure_eq!(find(&pull.source_branch, &other).await?, None, "for another target");
    ensure_eq!(find(&other, main).await?, None, "for another source");
    ensure_eq!(find(main, &pull.source_branch).await?, None, "the other way round");
    ctx.scm.pull_requests().close_pull_request(&repo.id, pull.id).await?;
    ensure_eq!(find(&pull.source_branch, main).await?, None, "after it was closed");
    Ok(())
}

/// Each field alone, the others as they were.
pub async fn update_changes_what_it_names(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    let (target, _) = topic(ctx, &repo, "other-target").await?;
    let pulls = ctx.scm.pull_requests();
    let shown = |pull: PullRequest| (pull.title, pull.description, pull.target_branch);
    let (title, text) = ("New title: ä & 🔒".to_owned(), "New *text*.\n\nMore.".to_owned());
    let none = UpdatePullRequest::default();
    for (changes, wanted) in [
        (none.clone().with_title(title.clone()), (title.clone(), String::new(), repo.default_branch.clone())),
        (
            none.clone().with_description(text.clone()),
            (title.clone(), text.clone(), repo.default_branch.clone()),
        ),
        (none.clone().with_target_branch(target.clone()), (title.clone(), text.clone(), target.clone())),
        (none.clone().with_description(String::new()), (title.clone(), String::new(), target.clone())),
        (none.with_description(String::new()), (title.clone(), String::new(), target)),
    ] {
        let changed = pulls.update_pull_request(&repo.id, pull.id, &changes).await?;
        ensure_eq!(shown(changed), wanted, "{changes:?}");
        ensure_eq!(
            shown(pulls.pull_request(&repo.id, pull.id).await?),
            wanted,
            "read again after {changes:?}"
        );
    }
    Ok(())
}

/// `InvalidInput` before anything is sent.
pub async fn update_refuses_nothing_to_change(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    let changed =
        ctx.scm.pull_requests().update_pull_request(&repo.id, pull.id, &UpdatePullRequest::default()).await;
    ctx.refused(changed, &[ErrorKind::InvalidInput])?;
    Ok(())
}

/// Each twice; the second time it comes back as it is.
pub async fn close_and_reopen_can_be_repeated(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    let pulls = ctx.scm.pull_requests();
    for round in ["first", "second"] {
        let closed = pulls.close_pull_request(&repo.id, pull.id).await?;
        ensure_eq!(closed.state, PullRequestState::Closed, "closed the {round} time");
    }
    ensure_eq!(pulls.pull_request(&repo.id, pull.id).await?.state, PullRequestState::Closed, "read again");
    for round in ["first", "second"] {
        let open = pulls.reopen_pull_request(&repo.id, pull.id).await?;
        ensure_eq!(open.state, PullRequestState::Open, "opened the {round} time");
    }
    ensure_eq!(pulls.pull_request(&repo.id, pull.id).await?.state, PullRequestState::Open, "read again");
    Ok(())
}

/// `Conflict` when another one is open for the same branches.
pub async fn reopen_refuses_where_another_is_open(ctx: &Ctx) -> Result<()> {
    let (repo, old) = with_pull_request(ctx, RepoSpec::new()).await?;
    let pulls = ctx.scm.pull_requests();
    pulls.close_pull_request(&repo.id, old.id).await?;
    let new = NewPullRequest::new(old.source_branch.clone(), old.target_branch.clone(), "In its place");
    let new = pulls.create_pull_request(&repo.id, &new).await?;
    ensure!(new.is_created() && new.value.id != old.id, "a closed one is in the way");
    ctx.refused(pulls.reopen_pull_request(&repo.id, old.id).await, &[ErrorKind::Conflict])?;
    ensure_eq!(pulls.pull_request(&repo.id, old.id).await?.state, PullRequestState::Closed, "the old one");
    Ok(())
}

/// Pushed to, closed, merged.
pub async fn what_others_did_is_seen(ctx: &Ctx) -> Result<()> {
    let (repo, one) = with_pull_request(ctx, RepoSpec::new()).await?;
    let two = open_pull_request(ctx, &repo, "two").await?;
    let moved = ctx.fixture.push_as_other(&repo, &one.source_branch, &[("more", b"1")]).await?;
    let ask = || ctx.scm.pull_requests().pull_request(&repo.id, one.id);
    until("the head after a push", ask, |pull| pull.head.as_ref() == Some(&moved)).await?;
    ctx.fixture.close_as_other(&repo, one.id).await?;
    ensure_eq!(ask().await?.state, PullRequestState::Closed, "closed by someone else");
    ctx.fixture.merge_as_other(&repo, two.id).await?;
    let merged = ctx.scm.pull_requests().pull_request(&repo.id, two.id).await?;
    ensure_eq!(merged.state, PullRequestState::Merged, "merged by someone else");
    ensure!(merged.merged_at.is_some(), "when it was merged is not told");
    Ok(())
}

/// A draft is blocked, and says why.
pub async fn mergeability_names_a_draft(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (source, _) = topic(ctx, &repo, "topic").await?;
    let new = NewPullRequest::new(source, repo.default_branch.clone(), "Not yet").as_draft();
    let pull = ctx.scm.pull_requests().create_pull_request(&repo.id, &new).await?.value;
    let seen = settled(ctx, &repo, &pull).await?;
    let draft = seen.blockers.iter().any(|blocker| blocker.reason == MergeReason::Draft);
    ensure!(seen.readiness == Readiness::Blocked && draft, "a draft: {seen:?}");
    let merged =
        ctx.scm.pull_requests().merge_pull_request(&repo.id, pull.id, &MergePullRequest::default()).await;
    ctx.refused(merged, &[ErrorKind::Conflict])?;
    Ok(())
}

/// Created, then unchanged.
pub async fn ensure_creates_once(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (source, _) = topic(ctx, &repo, "topic").await?;
    let mut new =
        NewPullRequest::new(source, repo.default_branch.clone(), "Ensured").with_description("Text.\n");
    if ctx.capabilities.pull_request_labels {
        new = new.with_labels(["security"]);
    }
    let first = ctx.scm.pull_requests().ensure_pull_request(&repo.id, &new).await?;
    ensure_eq!(first.change, Change::Created, "the first time");
    for round in ["second", "third"] {
        let again = ctx.scm.pull_requests().ensure_pull_request(&repo.id, &new).await?;
        ensure_eq!((again.change, again.value.id), (Change::Unchanged, first.value.id), "the {round} time");
    }
    ensure_eq!(ids(ctx, &repo, ListPullRequests::default()).await?.len(), 1, "pull requests");
    Ok(())
}

/// Updated where it differs; labels are added and never taken away.
pub async fn ensure_brings_it_up_to_date(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (source, _) = topic(ctx, &repo, "topic").await?;
    let has = &ctx.capabilities;
    let labelled = |new: NewPullRequest, labels: &[&str]| {
        if has.pull_request_labels { new.with_labels(labels.iter().copied()) } else { new }
    };
    let plain = |title: &str| NewPullRequest::new(source.clone(), repo.default_branch.clone(), title);
    let drafted = |new: NewPullRequest| if has.pull_request_draft { new.as_draft() } else { new };
    let pulls = ctx.scm.pull_requests();
    let id = pulls.ensure_pull_request(&repo.id, &labelled(plain("One"), &["a"])).await?.value.id;
    for wanted in [
        labelled(plain("Two"), &["a"]),
        labelled(plain("Two").with_description("Text"), &["a"]),
        drafted(labelled(plain("Three").with_description("Text"), &["b"])),
        labelled(plain("Four").with_description("Text"), &["b"]),
    ] {
        let seen = pulls.ensure_pull_request(&repo.id, &wanted).await?;
        ensure_eq!((seen.change, seen.value.id), (Change::Updated, id), "{}", wanted.title);
        let read = pulls.pull_request(&repo.id, id).await?;
        ensure_eq!((&read.title, &read.description), (&wanted.title, &wanted.description), "read again");
        ensure_eq!(read.draft.unwrap_or(false), wanted.draft, "draft of {}", wanted.title);
        let kept = !has.pull_request_labels || wanted.labels.iter().all(|label| read.labels.contains(label));
        ensure!(
            kept && (!has.pull_request_labels || read.labels.iter().any(|label| label == "a")),
            "{:?}",
            read.labels
        );
        let again = pulls.ensure_pull_request(&repo.id, &wanted).await?;
        ensure_eq!(again.change, Change::Unchanged, "{} again", wanted.title);
    }
    Ok(())
}

/// The closed one stays closed.
pub async fn ensure_opens_a_new_one_after_the_old_was_closed(ctx: &Ctx) -> Result<()> {
    let (repo, old) = with_pull_request(ctx, RepoSpec::new()).await?;
    let pulls = ctx.scm.pull_requests();
    pulls.close_pull_request(&repo.id, old.id).await?;
    let new = NewPullRequest::new(old.source_branch, old.target_branch, old.title);
    let made = pulls.ensure_pull_request(&repo.id, &new).await?;
    ensure!(made.is_created() && made.value.id != old.id, "{:?} of !{}", made.change, made.value.id);
    ensure_eq!(pulls.pull_request(&repo.id, old.id).await?.state, PullRequestState::Closed, "the old one");
    Ok(())
}

/// State, CI and mergeability of open ones; no mergeability once it is merged.
pub async fn status_tells_all_at_once(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (source, head) = topic(ctx, &repo, "topic").await?;
    let new = NewPullRequest::new(source.clone(), repo.default_branch.clone(), "Tracked");
    let pulls = ctx.scm.pull_requests();
    let pull = pulls.create_pull_request(&repo.id, &new).await?.value;
    let plain = pulls.pull_request_status(&repo.id, pull.id).await?;
    ensure_eq!((plain.pull_request.id, plain.checks.state), (pull.id, None), "without CI");
    ensure!(plain.mergeability.is_some(), "an open one has no mergeability");
    let jobs = [JobSpec::new("build", CheckState::Success), JobSpec::new("test", CheckState::Failed)];
    ctx.fixture.pipeline(&repo, &source, &head, &jobs).await?;
    let failed = pulls.pull_request_status(&repo.id, pull.id).await?;
    ensure_eq!(failed.checks.state.as_ref(), Some(&CheckState::Failed), "with a failed job");
    let names: Vec<_> = failed.checks.failed.iter().map(|check| check.name.as_str()).collect();
    ensure_eq!(names, ["test"], "what failed");
    let target = CheckTarget::PullRequest(pull.id);
    let alone = pulls.pull_request_checks().check_summary(&repo.id, &target).await?;
    ensure_eq!(alone, failed.checks, "CI asked for alone");
    pulls.close_pull_request(&repo.id, pull.id).await?;
    let closed = pulls.pull_request_status(&repo.id, pull.id).await?;
    ensure_eq!(closed.pull_request.state, PullRequestState::Closed, "state");
    ensure_eq!(closed.mergeability, None, "mergeability of a closed one");
    Ok(())
}
