//! What a pull request changes: files, lines, commits, and the same as text.

use serde_json::json;

use crate::sim::{
    bitbucket_dc::{
        call::Call,
        comments, commits,
        diffs::{self, Asked, Pinned},
        entities,
        reply::{Content, Failure, Outcome, Reply},
        router::{
            Route,
            Since::{Always, V},
        },
    },
    repo::{DiffStyle, LogQuery},
};

use super::model::{Side, find};

const DIFF: &str =
    "avatarScheme contextLines:int sinceId srcPath diffType untilId whitespace withComments:bool avatarSize";

pub(crate) const ROUTES: &[Route] = &[
    (
        "GET",
        "/api/projects/:key/repos/:slug/pull-requests/:id/changes",
        Always,
        "sinceId changeScope untilId withComments:bool &page",
        changes,
    ),
    (
        "GET",
        "/api/projects/:key/repos/:slug/pull-requests/:id/commits",
        Always,
        "avatarScheme withCounts:bool avatarSize &page",
        commit_list,
    ),
    ("GET", "/api/projects/:key/repos/:slug/pull-requests/:id/diff", Always, DIFF, diff),
    ("GET", "/api/projects/:key/repos/:slug/pull-requests/:id/diff/*path", Always, DIFF, diff),
    (
        "GET",
        "/api/projects/:key/repos/:slug/pull-requests/:id.diff",
        Always,
        "contextLines:int whitespace",
        raw_diff,
    ),
    ("GET", "/api/projects/:key/repos/:slug/pull-requests/:id.patch", Always, "", raw_patch),
    ("GET", "/api/projects/:key/repos/:slug/pull-requests/:id/merge-base", V(8, 16), "", merge_base),
    (
        "GET",
        "/api/projects/:key/repos/:slug/pull-requests/:id/diff-stats-summary/*path",
        V(9, 1),
        "sinceId srcPath untilId whitespace",
        stats,
    ),
];

/// Base and ends of the pull request of the path.
fn ends(call: &Call) -> Result<(String, Side, Side), Failure> {
    let state = call.state();
    let pull = find(call, &state)?;
    Ok((pull.base.clone(), pull.from.clone(), pull.to.clone()))
}

/// The range that is asked for: two commits, or all of it.
fn range(call: &Call) -> Result<(String, String), Failure> {
    let (base, from, _) = ends(call)?;
    match (call.params.filled("sinceId"), call.params.filled("untilId")) {
        (Some(since), Some(until)) => {
            let git = call.git()?;
            Ok((call.commit(&git, Some(since))?, call.commit(&git, Some(until))?))
        }
        _ => Ok((base, from.commit)),
    }
}

fn changes(call: &Call) -> Outcome {
    let (since, until) = range(call)?;
    let git = call.git()?;
    let mut reply = diffs::changes(call, &git, &since, &until)?;
    if let Content::Json(page) = &mut reply.body {
        let scope = call.params.filled("changeScope").unwrap_or("ALL");
        entities::extend(page, json!({ "properties": { "changeScope": scope } }));
    }
    Ok(reply)
}

fn commit_list(call: &Call) -> Outcome {
    let (base, from, to) = ends(call)?;
    // When it is merged the target has them all, so the base counts too.
    let merged = find(call, &call.state())?.state == "MERGED";
    let without = if merged { base } else { to.commit };
    let query = LogQuery { revisions: vec![from.commit, format!("^{without}")], ..LogQuery::default() };
    commits::paged(call, &*call.git()?, &query)
}

fn diff(call: &Call) -> Outcome {
    let (since, until) = range(call)?;
    let git = call.git()?;
    let pinned = if call.params.bool("withComments") == Some(false) {
        Vec::new()
    } else {
        let state = call.state();
        let pull = find(call, &state)?;
        pull.comments
            .values()
            .filter_map(|comment| {
                let anchor = comment.anchor.as_ref().filter(|anchor| !anchor.orphaned)?;
                Some(Pinned {
                    path: anchor.path.clone(),
                    old_side: anchor.old_side(),
                    line: anchor.line,
                    id: comment.id,
                    json: comments::json(call, &state, pull, comment),
                })
            })
            .collect()
    };
    diffs::diff(call, &git, &since, &until, &Asked::of(call), &pinned)
}

fn raw_diff(call: &Call) -> Outcome {
    let (base, from, _) = ends(call)?;
    let context = call.params.int("contextLines").and_then(|lines| u32::try_from(lines).ok()).unwrap_or(3);
    let ignore_space = call.params.filled("whitespace").is_some_and(|text| text.starts_with("ignore"));
    let style = DiffStyle { context, ignore_space };
    let text = call.git()?.patch_of(&base, &from.commit, style, &[])?;
    Ok(Reply::bytes("text/plain;charset=UTF-8", text))
}

fn raw_patch(call: &Call) -> Outcome {
    let (base, from, _) = ends(call)?;
    let git = call.git()?;
    let mut command = git.command();
    command.args(["format-patch", "--stdout", "--full-index", &format!("{base}..{}", from.commit)]);
    Ok(Reply::bytes("text/plain;charset=UTF-8", git.git.run(&mut command)?))
}

fn merge_base(call: &Call) -> Outcome {
    let (_, from, to) = ends(call)?;
    commits::common(call, &*call.git()?, from.commit, to.commit)
}

fn stats(call: &Call) -> Outcome {
    let (since, until) = range(call)?;
    let path = call.part("path");
    let files = call.git()?.diff(&since, &until)?;
    let file = files.iter().find(|file| file.new_path == path);
    let count =
        |sign: char| file.map_or(0, |file| file.hunks.lines().filter(|line| line.starts_with(sign)).count());
    Ok(Reply::ok(json!({ "linesAdded": count('+'), "linesDeleted": count('-') })))
}
