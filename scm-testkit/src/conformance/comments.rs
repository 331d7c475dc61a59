//! Cases for [`scm_core::Comments`].

use std::sync::Arc;

use scm_core::{
    BranchName, Change, Comment, CommentId, CommentPosition, CommentsExt as _, DiffSide, ErrorKind,
    LineRange, ListComments, Marker, NewComment, NewPullRequest, PullRequest, PullRequestId, Resolution,
    ThreadId,
};

use super::case::{Ctx, Result, Stop};
use super::fixture::{Repo, RepoSpec};
use super::support::{
    cases, ensure, ensure_eq, every_page, everything, foreign_cursor, pages_hold, with_pull_request,
};

cases! {
    "comments";
    create_writes_markdown_as_it_is [Comments::create_comment, Comments::list_comments_page];
    create_refuses_an_empty_text [Comments::create_comment];
    the_list_is_oldest_first [Comments::list_comments_page, CommentsExt::list_comments];
    the_list_leaves_out_what_the_server_wrote [Comments::list_comments_page];
    the_list_can_be_taken_up_again [Comments::list_comments_page];
    a_foreign_cursor_is_refused [Comments::list_comments_page];
    edit_replaces_the_text [Comments::edit_comment];
    delete_takes_it_away [Comments::delete_comment];
    the_comments_of_others_are_theirs [Comments::edit_comment, Comments::delete_comment];
    what_is_missing_is_not_found [Comments::create_comment, Comments::list_comments_page, Comments::edit_comment,
        Comments::delete_comment];
    ensure_writes_once [Comments::ensure_comment];
    ensure_brings_it_up_to_date [Comments::ensure_comment];
    ensure_finds_its_own_among_many [Comments::ensure_comment];
    threads_are_answered_and_resolved [Comments::reply, Comments::resolve_thread, Comments::list_comments_page]
        needs comment_threads, else threads_are_refused;
    a_comment_on_a_line [Comments::create_comment] needs comment_on_line, else a_line_is_refused;
    a_comment_on_several_lines [Comments::create_comment] needs comment_on_lines, else several_lines_are_refused;
    a_comment_on_a_file [Comments::create_comment] needs comment_on_file, else a_file_is_refused;
    a_task_is_made_and_resolved [Comments::create_comment, Comments::resolve_thread]
        needs comment_tasks, else a_task_is_refused;
}

async fn all(ctx: &Ctx, repo: &Repo, id: PullRequestId) -> Result<Vec<Comment>> {
    everything(ctx.scm.comments().list_comments(&repo.id, id, ListComments::default())).await
}

async fn bodies(ctx: &Ctx, repo: &Repo, id: PullRequestId) -> Result<Vec<String>> {
    Ok(all(ctx, repo, id).await?.into_iter().map(|comment| comment.body).collect())
}

async fn write(ctx: &Ctx, repo: &Repo, id: PullRequestId, body: &str) -> Result<Comment> {
    Ok(ctx.scm.comments().create_comment(&repo.id, id, &NewComment::new(body)).await?)
}

/// Every sign of it comes back.
pub async fn create_writes_markdown_as_it_is(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    let body = "## What to do\n\n1. `cargo update`\n2. Ünïcode 🔒 & <b>html</b>\n\n```rust\nfn a<'x>() {}\n```\n\n\
                > quote\n\n| a | b |\n|---|---|\n| \\| | 2 |\n\n[link](https://example.com/?a=1&b=2)";
    let made = write(ctx, &repo, pull.id, body).await?;
    ensure_eq!(made.body.trim_end(), body, "what was made");
    ensure_eq!(made.position, CommentPosition::General, "position");
    ensure!(!made.system && !made.task, "{made:?}");
    let read = all(ctx, &repo, pull.id).await?;
    ensure_eq!(read.len(), 1, "comments");
    ensure_eq!((&read[0].id, read[0].body.trim_end()), (&made.id, body), "read again");
    let me = ctx.scm.connection().identity().await?.username;
    ensure!(read[0].author.as_ref().is_none_or(|author| *author == me), "author: {:?}", read[0].author);
    Ok(())
}

/// `InvalidInput`, also for blanks.
pub async fn create_refuses_an_empty_text(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    for body in ["", " \n\t"] {
        let made = ctx.scm.comments().create_comment(&repo.id, pull.id, &NewComment::new(body)).await;
        ctx.refused(made, &[ErrorKind::InvalidInput])?;
    }
    ensure_eq!(bodies(ctx, &repo, pull.id).await?, Vec::<String>::new(), "comments");
    Ok(())
}

/// One's own and those of others, in the order they were written.
pub async fn the_list_is_oldest_first(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    ensure_eq!(bodies(ctx, &repo, pull.id).await?, Vec::<String>::new(), "comments before any");
    write(ctx, &repo, pull.id, "first").await?;
    ctx.fixture.comment_as_other(&repo, pull.id, "second").await?;
    write(ctx, &repo, pull.id, "third").await?;
    ensure_eq!(bodies(ctx, &repo, pull.id).await?, ["first", "second", "third"], "comments");
    Ok(())
}

/// State changes and the like come only when they are asked for.
pub async fn the_list_leaves_out_what_the_server_wrote(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    write(ctx, &repo, pull.id, "mine").await?;
    ctx.scm.pull_requests().close_pull_request(&repo.id, pull.id).await?;
    ctx.scm.pull_requests().reopen_pull_request(&repo.id, pull.id).await?;
    ensure_eq!(bodies(ctx, &repo, pull.id).await?, ["mine"], "comments");
    let opts = ListComments::default().with_system(true);
    let with_system = everything(ctx.scm.comments().list_comments(&repo.id, pull.id, opts)).await?;
    let own: Vec<_> = with_system.iter().filter(|comment| !comment.system).collect();
    ensure_eq!(own.len(), 1, "comments that are not the server's");
    Ok(())
}

/// Small pages with cursors kept as JSON.
pub async fn the_list_can_be_taken_up_again(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    let mut wanted = Vec::new();
    for n in 0..7 {
        wanted.push(write(ctx, &repo, pull.id, &format!("comment {n}")).await?.id);
    }
    let opts = ListComments::default().with_page_size(3);
    let pages = every_page(|at| {
        let (scm, repo, id, opts) = (Arc::clone(&ctx.scm), &repo.id, pull.id, &opts);
        async move { scm.comments().list_comments_page(repo, id, opts, at.as_ref()).await }
    })
    .await?;
    let pages = pages.into_iter().map(|page| page.into_iter().map(|comment| comment.id).collect()).collect();
    pages_hold(pages, 3, &wanted)
}

/// A cursor of another provider.
pub async fn a_foreign_cursor_is_refused(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    let (opts, cursor) = (ListComments::default(), foreign_cursor());
    let page = ctx.scm.comments().list_comments_page(&repo.id, pull.id, &opts, Some(&cursor)).await;
    ctx.refused(page, &[ErrorKind::InvalidInput])?;
    Ok(())
}

/// The same comment with another text.
pub async fn edit_replaces_the_text(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    let made = write(ctx, &repo, pull.id, "before").await?;
    for round in 0..2 {
        let edited = ctx.scm.comments().edit_comment(&repo.id, pull.id, &made.id, "**after** ä").await?;
        ensure_eq!((&edited.id, edited.body.as_str()), (&made.id, "**after** ä"), "edited, round {round}");
    }
    ensure_eq!(bodies(ctx, &repo, pull.id).await?, ["**after** ä"], "comments");
    let empty = ctx.scm.comments().edit_comment(&repo.id, pull.id, &made.id, " ").await;
    ctx.refused(empty, &[ErrorKind::InvalidInput])?;
    Ok(())
}

/// Gone, and `NotFound` when it is asked again.
pub async fn delete_takes_it_away(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    let (one, _) = (write(ctx, &repo, pull.id, "one").await?, write(ctx, &repo, pull.id, "two").await?);
    ctx.scm.comments().delete_comment(&repo.id, pull.id, &one.id).await?;
    ensure_eq!(bodies(ctx, &repo, pull.id).await?, ["two"], "comments");
    ctx.refused(ctx.scm.comments().delete_comment(&repo.id, pull.id, &one.id).await, &[ErrorKind::NotFound])?;
    Ok(())
}

/// `PermissionDenied`, and they stay.
pub async fn the_comments_of_others_are_theirs(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    ctx.fixture.comment_as_other(&repo, pull.id, "theirs").await?;
    let all = all(ctx, &repo, pull.id).await?;
    let Some(theirs) = all.first() else {
        return Err(Stop::failed("the comment of someone else is not listed"));
    };
    let denied = [ErrorKind::PermissionDenied];
    ctx.refused(ctx.scm.comments().edit_comment(&repo.id, pull.id, &theirs.id, "mine").await, &denied)?;
    ctx.refused(ctx.scm.comments().delete_comment(&repo.id, pull.id, &theirs.id).await, &denied)?;
    ensure_eq!(bodies(ctx, &repo, pull.id).await?, ["theirs"], "comments");
    Ok(())
}

/// Pull request or comment.
pub async fn what_is_missing_is_not_found(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    let (comments, missing) = (ctx.scm.comments(), [ErrorKind::NotFound]);
    let (no_pull, no_comment) = (PullRequestId::new(987_654), CommentId::new("987654321")?);
    let new = NewComment::new("to nobody");
    ctx.refused(comments.create_comment(&repo.id, no_pull, &new).await, &missing)?;
    ctx.refused(
        comments.list_comments_page(&repo.id, no_pull, &ListComments::default(), None).await,
        &missing,
    )?;
    ctx.refused(comments.edit_comment(&repo.id, pull.id, &no_comment, "text").await, &missing)?;
    ctx.refused(comments.delete_comment(&repo.id, pull.id, &no_comment).await, &missing)?;
    Ok(())
}

/// Created, then unchanged; another mark makes another comment.
pub async fn ensure_writes_once(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    let (one, two) = (Marker::new("guidance")?, Marker::new("guidance-2")?);
    let ensure = |marker| ctx.scm.comments().ensure_comment(&repo.id, pull.id, marker, "Please review.\n");
    let first = ensure(&one).await?;
    ensure_eq!(first.change, Change::Created, "the first time");
    ensure!(first.value.body.starts_with("Please review."), "{:?}", first.value.body);
    for round in ["second", "third"] {
        let again = ensure(&one).await?;
        ensure_eq!(
            (again.change, again.value.id),
            (Change::Unchanged, first.value.id.clone()),
            "the {round} time"
        );
    }
    let other = ensure(&two).await?;
    ensure!(other.is_created() && other.value.id != first.value.id, "another mark: {:?}", other.change);
    ensure_eq!(all(ctx, &repo, pull.id).await?.len(), 2, "comments");
    Ok(())
}

/// Updated in place; written anew after it was deleted.
pub async fn ensure_brings_it_up_to_date(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    let marker = Marker::new("guidance")?;
    let ensure = |body| ctx.scm.comments().ensure_comment(&repo.id, pull.id, &marker, body);
    let first = ensure("one").await?.value;
    let second = ensure("two ä").await?;
    ensure_eq!((second.change, &second.value.id), (Change::Updated, &first.id), "another text");
    ensure_eq!(ensure("two ä").await?.change, Change::Unchanged, "the same text");
    let bodies = bodies(ctx, &repo, pull.id).await?;
    ensure!(bodies.len() == 1 && bodies[0].starts_with("two ä"), "comments: {bodies:?}");
    ctx.scm.comments().delete_comment(&repo.id, pull.id, &first.id).await?;
    ensure_eq!(ensure("two ä").await?.change, Change::Created, "after it was deleted");
    Ok(())
}

/// Past the first page.
pub async fn ensure_finds_its_own_among_many(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    for n in 0..105 {
        ctx.fixture.comment_as_other(&repo, pull.id, &format!("comment {n}")).await?;
    }
    let marker = Marker::new("guidance")?;
    let first = ctx.scm.comments().ensure_comment(&repo.id, pull.id, &marker, "text").await?;
    let again = ctx.scm.comments().ensure_comment(&repo.id, pull.id, &marker, "text").await?;
    ensure_eq!((again.change, again.value.id), (Change::Unchanged, first.value.id), "among many");
    Ok(())
}

/// A reply is in the thread; the thread is resolved and opened again.
pub async fn threads_are_answered_and_resolved(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = changed_file(ctx).await?;
    let comments = ctx.scm.comments();
    let on_line = CommentPosition::Lines {
        path: "code.txt".parse()?,
        old_path: None,
        lines: LineRange::line(DiffSide::New, 2)?,
    };
    let new = if ctx.capabilities.comment_on_line {
        NewComment::new("question").with_position(on_line)
    } else {
        NewComment::new("question")
    };
    let first = comments.create_comment(&repo.id, pull.id, &new).await?;
    let read = all(ctx, &repo, pull.id).await?;
    let listed = read.iter().find(|seen| seen.id == first.id).and_then(|seen| seen.thread.clone());
    let Some(thread) = first.thread.clone().or(listed) else {
        return Err(Stop::failed(format!("a comment that can be answered tells no thread: {read:?}")));
    };
    let reply = comments.reply(&repo.id, pull.id, &thread, "answer").await?;
    ensure_eq!(reply.body, "answer", "the reply");
    let in_thread = |seen: &Comment| seen.thread.as_ref() == Some(&thread);
    let read = all(ctx, &repo, pull.id).await?;
    let texts: Vec<_> = read.iter().filter(|seen| in_thread(seen)).map(|seen| seen.body.as_str()).collect();
    ensure_eq!(texts, ["question", "answer"], "the thread");
    for (to, wanted) in [
        (Resolution::Resolved, true),
        (Resolution::Resolved, true),
        (Resolution::Open, false),
        (Resolution::Open, false),
    ] {
        comments.resolve_thread(&repo.id, pull.id, &thread, to).await?;
        let read = all(ctx, &repo, pull.id).await?;
        let resolved = read.iter().find(|seen| seen.id == first.id).and_then(|seen| seen.resolved);
        ensure!(resolved.is_none_or(|seen| seen == wanted), "{to:?}: resolved is {resolved:?}");
    }
    let gone = ThreadId::new("0123456789abcdef0123456789abcdef01234567")?;
    ctx.refused(comments.reply(&repo.id, pull.id, &gone, "answer").await, &[ErrorKind::NotFound])?;
    let resolved = comments.resolve_thread(&repo.id, pull.id, &gone, Resolution::Resolved).await;
    ctx.refused(resolved, &[ErrorKind::NotFound])?;
    Ok(())
}

/// The other half of the case about threads.
pub async fn threads_are_refused(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    write(ctx, &repo, pull.id, "alone").await?;
    let thread = ThreadId::new("0123456789abcdef0123456789abcdef01234567")?;
    ctx.unsupported(ctx.scm.comments().reply(&repo.id, pull.id, &thread, "answer").await)?;
    let resolved = ctx.scm.comments().resolve_thread(&repo.id, pull.id, &thread, Resolution::Resolved).await;
    ctx.unsupported(resolved)?;
    ensure_eq!(bodies(ctx, &repo, pull.id).await?, ["alone"], "comments");
    Ok(())
}

/// A file of five lines whose second was changed and whose fourth was taken away, and one more that was added.
async fn changed_file(ctx: &Ctx) -> Result<(Repo, PullRequest)> {
    let repo = ctx.repository_with(RepoSpec::new().with_file("code.txt", "1\n2\n3\n4\n5\n")).await?;
    let source = BranchName::new("topic")?;
    ctx.fixture.push_as_other(&repo, &source, &[("code.txt", b"1\ntwo\n3\n5\nsix\n")]).await?;
    let new = NewPullRequest::new(source, repo.default_branch.clone(), "Lines");
    let pull = ctx.scm.pull_requests().create_pull_request(&repo.id, &new).await?.value;
    Ok((repo, pull))
}

async fn on_lines(ctx: &Ctx, ranges: &[LineRange]) -> Result<()> {
    let (repo, pull) = changed_file(ctx).await?;
    for lines in ranges {
        let position = CommentPosition::Lines { path: "code.txt".parse()?, old_path: None, lines: *lines };
        let new = NewComment::new(format!("on {lines:?}")).with_position(position.clone());
        let made = ctx.scm.comments().create_comment(&repo.id, pull.id, &new).await?;
        ensure_eq!(made.position, position, "where it was made");
        let read = all(ctx, &repo, pull.id).await?;
        let seen = read.iter().find(|seen| seen.id == made.id).map(|seen| &seen.position);
        ensure_eq!(seen, Some(&position), "where it is read");
    }
    let outside = CommentPosition::Lines {
        path: "code.txt".parse()?,
        old_path: None,
        lines: LineRange::line(DiffSide::New, 999)?,
    };
    let new = NewComment::new("on a line that is not there").with_position(outside);
    let made = ctx.scm.comments().create_comment(&repo.id, pull.id, &new).await;
    ctx.refused(made, &[ErrorKind::InvalidInput])?;
    ensure_eq!(all(ctx, &repo, pull.id).await?.len(), ranges.len(), "comments");
    Ok(())
}

/// Added, unchanged, and removed.
pub async fn a_comment_on_a_line(ctx: &Ctx) -> Result<()> {
    let (added, same) = (LineRange::line(DiffSide::New, 2)?, LineRange::line(DiffSide::New, 3)?);
    on_lines(ctx, &[added, same, LineRange::line(DiffSide::Old, 4)?]).await
}

/// From one line to another.
pub async fn a_comment_on_several_lines(ctx: &Ctx) -> Result<()> {
    on_lines(ctx, &[LineRange::lines(DiffSide::New, 2, 3)?]).await
}

/// A file as a whole.
pub async fn a_comment_on_a_file(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = changed_file(ctx).await?;
    let position = CommentPosition::File { path: "code.txt".parse()? };
    let new = NewComment::new("on the file").with_position(position.clone());
    let made = ctx.scm.comments().create_comment(&repo.id, pull.id, &new).await?;
    ensure_eq!(made.position, position, "where it was made");
    Ok(())
}

async fn refused_at(ctx: &Ctx, new: impl FnOnce(NewComment) -> NewComment) -> Result<()> {
    let (repo, pull) = changed_file(ctx).await?;
    let new = new(NewComment::new("cannot be"));
    ctx.unsupported(ctx.scm.comments().create_comment(&repo.id, pull.id, &new).await)?;
    ensure_eq!(bodies(ctx, &repo, pull.id).await?, Vec::<String>::new(), "comments");
    Ok(())
}

/// The other half of the case about lines: never a general comment instead.
pub async fn a_line_is_refused(ctx: &Ctx) -> Result<()> {
    let (path, lines) = ("code.txt".parse()?, LineRange::line(DiffSide::New, 2)?);
    refused_at(ctx, |new| new.with_position(CommentPosition::Lines { path, old_path: None, lines })).await
}

/// The other half of the case about several lines.
pub async fn several_lines_are_refused(ctx: &Ctx) -> Result<()> {
    let (path, lines) = ("code.txt".parse()?, LineRange::lines(DiffSide::New, 2, 3)?);
    refused_at(ctx, |new| new.with_position(CommentPosition::Lines { path, old_path: None, lines })).await
}

/// The other half of the case about files.
pub async fn a_file_is_refused(ctx: &Ctx) -> Result<()> {
    let path = "code.txt".parse()?;
    refused_at(ctx, |new| new.with_position(CommentPosition::File { path })).await
}

/// A task blocks until it is resolved.
pub async fn a_task_is_made_and_resolved(ctx: &Ctx) -> Result<()> {
    let (repo, pull) = with_pull_request(ctx, RepoSpec::new()).await?;
    let made =
        ctx.scm.comments().create_comment(&repo.id, pull.id, &NewComment::new("do it").as_task()).await?;
    ensure!(made.task && made.resolved != Some(true), "a new task: {made:?}");
    let Some(thread) = made.thread else { return Err(Stop::failed("a task tells no thread to resolve")) };
    ctx.scm.comments().resolve_thread(&repo.id, pull.id, &thread, Resolution::Resolved).await?;
    let read = all(ctx, &repo, pull.id).await?;
    ensure!(read.iter().any(|seen| seen.id == made.id && seen.resolved == Some(true)), "resolved: {read:?}");
    Ok(())
}

/// The other half of the case about tasks.
pub async fn a_task_is_refused(ctx: &Ctx) -> Result<()> {
    refused_at(ctx, NewComment::as_task).await
}
