//! Lists of pull requests.

use crate::sim::bitbucket_dc::{
    call::Call,
    page::cap,
    reply::{Failure, Outcome, Reply},
    router::{Route, Since::Always},
    state::{Repository, State},
};

use super::model::{PullRequest, find, json};

pub(crate) const ROUTES: &[Route] = &[
    (
        "GET",
        "/api/projects/:key/repos/:slug/pull-requests",
        Always,
        "withAttributes:bool at withProperties:bool draft:bool filterText state order direction username.N role.N \
         approved.N &page",
        list,
    ),
    ("GET", "/api/projects/:key/repos/:slug/pull-requests/:id", Always, "", show),
];

fn one_of<'a>(call: &'a Call, name: &str, known: &[&'a str], default: &'a str) -> Result<&'a str, Failure> {
    match call.params.filled(name) {
        None => Ok(default),
        Some(text) => known
            .iter()
            .copied()
            .find(|known| known.eq_ignore_ascii_case(text))
            .ok_or_else(|| Failure::field(name, format!("{text} is not one of {}", known.join(", ")))),
    }
}

fn list(call: &Call) -> Outcome {
    let wanted = one_of(call, "state", &["OPEN", "DECLINED", "MERGED", "ALL"], "OPEN")?;
    let direction = one_of(call, "direction", &["INCOMING", "OUTGOING"], "INCOMING")?;
    let order = one_of(call, "order", &["NEWEST", "OLDEST"], "NEWEST")?;
    let text = call.params.filled("filterText").unwrap_or_default().to_lowercase();
    let drafts = call.params.bool("draft").filter(|_| call.inner.release >= (8, 17));
    let at = call.at();
    let state = call.state();
    let side = |pull: &PullRequest| match direction {
        "INCOMING" => pull.to.clone(),
        _ => pull.from.clone(),
    };
    let mut found: Vec<(&Repository, &PullRequest)> = state
        .repos
        .values()
        .filter(|repo| call.level_on(&state, repo) > 0)
        .flat_map(|repo| repo.pull_requests.values().map(move |pull| (repo, pull)))
        .filter(|(_, pull)| wanted == "ALL" || pull.state == wanted)
        .filter(|(_, pull)| side(pull).repo_id == call.repo)
        // A short name fits nothing: the parameter is a full ref.
        .filter(|(_, pull)| at.is_none_or(|at| side(pull).id == at))
        .filter(|(_, pull)| drafts.is_none_or(|draft| pull.draft == draft))
        .filter(|(_, pull)| {
            let description = pull.description.as_deref().unwrap_or_default();
            text.is_empty() || format!("{} {description}", pull.title).to_lowercase().contains(&text)
        })
        .filter(|(_, pull)| taken_part(call, &state, pull))
        .collect();
    found.sort_by_key(|(_, pull)| (pull.created_at, pull.id));
    if order == "NEWEST" {
        found.reverse();
    }
    call.paged(found, cap::PULL_REQUESTS, |(repo, pull)| json(&call.inner, &state, repo, pull))
}

/// The filters `username.1`, `role.1`, `approved.1` and on.
fn taken_part(call: &Call, state: &State, pull: &PullRequest) -> bool {
    let value = |name: &str, n: usize| {
        let name = format!("{name}.{n}");
        call.query.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    };
    (1..=10).map_while(|n| value("username", n).map(|name| (n, name))).all(|(n, name)| {
        let Some(user) = state.user_named(name) else { return false };
        let role = value("role", n);
        let fits = |wanted: &str| role.is_none_or(|role| role.eq_ignore_ascii_case(wanted));
        let listed = [("REVIEWER", &pull.reviewers), ("PARTICIPANT", &pull.participants)];
        let found = listed
            .iter()
            .filter(|(role, _)| fits(role))
            .flat_map(|(_, list)| list.iter())
            .find(|one| one.user_id == user.id);
        let approved = value("approved", n).map(|text| text == "true");
        match found {
            Some(one) => approved.is_none_or(|wanted| wanted == (one.status == "APPROVED")),
            None => fits("AUTHOR") && pull.author_id == user.id && approved != Some(true),
        }
    })
}

fn show(call: &Call) -> Outcome {
    let state = call.state();
    let pull = find(call, &state)?;
    Ok(Reply::ok(json(&call.inner, &state, call.repo_in(&state)?, pull)))
}
