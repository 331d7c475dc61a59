//! Lists of merge requests, of a project and of the whole instance.

use crate::sim::{
    gitlab::{
        call::Call,
        reply::{Failure, Outcome},
        state::State,
    },
    params::timestamp,
};

use super::model::{MergeRequest, basic_json};

/// Parameters that both lists know.
pub(crate) const FILTERS: &str = "author_id:int author_username assignee_id assignee_username:list reviewer_username \
     labels:list milestone my_reaction_emoji reviewer_id state:enum(opened|closed|locked|merged|all) \
     order_by:enum(created_at|label_priority|milestone_due|popularity|priority|title|updated_at|merged_at) \
     sort:enum(asc|desc) with_labels_details:bool with_merge_status_recheck:bool created_after:time \
     created_before:time updated_after:time updated_before:time view:enum(simple) \
     scope:enum(created-by-me|assigned-to-me|created_by_me|assigned_to_me|reviews_for_me|all) source_branch \
     source_project_id:int target_branch search in wip:enum(yes|no) draft:bool not:hash deployed_before \
     deployed_after environment approved:enum(yes|no) merge_user_id:int merge_user_username approver_ids \
     approved_by_ids approved_by_usernames iids:ints non_archived:bool render_html:bool &page";

pub(crate) fn of_project(call: &Call) -> Outcome {
    let state = call.state();
    let project = call.project_in(&state)?;
    let wanted = filtered(call, &state, project.merge_requests.values(), "all")?;
    call.paged(wanted, |mr| basic_json(&call.inner, &state, mr))
}

pub(crate) fn of_everyone(call: &Call) -> Outcome {
    let user = call.user()?;
    let today = call.inner.today();
    let state = call.state();
    let visible = state
        .projects
        .values()
        .filter(|project| !project.merge_requests.is_empty() && state.can_see(project, Some(user), &today))
        .flat_map(|project| project.merge_requests.values());
    let wanted = filtered(call, &state, visible, "created_by_me")?;
    call.paged(wanted, |mr| basic_json(&call.inner, &state, mr))
}

fn filtered<'a>(
    call: &Call,
    state: &State,
    all: impl Iterator<Item = &'a MergeRequest>,
    default_scope: &str,
) -> Result<Vec<&'a MergeRequest>, Failure> {
    let params = &call.params;
    let time = |name| params.filled(name).and_then(timestamp);
    let named = |name| params.filled(name).map(|text| state.user_named(text).map_or(0, |user| user.id));
    let wanted_state = params.text("state").unwrap_or("all");
    let scope = params.text("scope").unwrap_or(default_scope).replace('-', "_");
    let me = call.user_id();
    if scope != "all" && me.is_none() {
        return Err(Failure::unauthorized());
    }
    let author = params.id("author_id").or_else(|| named("author_username"));
    let assignee = params.filled("assignee_id").map(str::to_owned);
    let reviewer =
        named("reviewer_username").or_else(|| params.filled("reviewer_id").and_then(|id| id.parse().ok()));
    let labels = params.texts("labels");
    let iids = params.ids("iids").filter(|iids| !iids.is_empty());
    let search = params.filled("search").map(str::to_lowercase);
    let (created, updated) =
        ((time("created_after"), time("created_before")), (time("updated_after"), time("updated_before")));
    let within = |range: (Option<jiff::Timestamp>, Option<jiff::Timestamp>), at| {
        range.0.is_none_or(|from| at >= from) && range.1.is_none_or(|to| at <= to)
    };
    let draft = params.text("wip").map(|text| text == "yes").or_else(|| params.bool("draft"));
    let not_author = params
        .get("not")
        .and_then(|not| not.get("author_id"))
        .and_then(|id| id.as_u64().or_else(|| id.as_str().and_then(|text| text.parse().ok())));
    let mut found: Vec<&MergeRequest> = all
        .filter(|mr| wanted_state == "all" || mr.state == wanted_state)
        .filter(|mr| match scope.as_str() {
            "created_by_me" => Some(mr.author_id) == me,
            "assigned_to_me" => me.is_some_and(|me| mr.assignees.contains(&me)),
            "reviews_for_me" => me.is_some_and(|me| mr.reviewers.contains(&me)),
            _ => true,
        })
        .filter(|mr| iids.as_ref().is_none_or(|iids| iids.contains(&mr.iid)))
        .filter(|mr| params.filled("source_branch").is_none_or(|name| name == mr.source_branch))
        .filter(|mr| params.filled("target_branch").is_none_or(|name| name == mr.target_branch))
        .filter(|mr| params.id("source_project_id").is_none_or(|id| id == mr.source_project_id))
        .filter(|mr| author.is_none_or(|id| id == mr.author_id))
        .filter(|mr| not_author != Some(mr.author_id))
        .filter(|mr| match assignee.as_deref() {
            None => true,
            Some("None") => mr.assignees.is_empty(),
            Some("Any") => !mr.assignees.is_empty(),
            Some(id) => id.parse().is_ok_and(|id| mr.assignees.contains(&id)),
        })
        .filter(|mr| reviewer.is_none_or(|id| mr.reviewers.contains(&id)))
        .filter(|mr| match labels.as_deref() {
            None | Some([]) => true,
            Some([one]) if one == "None" => mr.labels.is_empty(),
            Some([one]) if one == "Any" => !mr.labels.is_empty(),
            Some(labels) => labels.iter().all(|label| mr.labels.contains(label)),
        })
        .filter(|mr| draft.is_none_or(|draft| draft == mr.draft()))
        .filter(|mr| within(created, mr.created_at) && within(updated, mr.updated_at))
        .filter(|mr| {
            search.as_deref().is_none_or(|text| {
                mr.title.to_lowercase().contains(text)
                    || mr.description.as_deref().unwrap_or_default().to_lowercase().contains(text)
            })
        })
        .collect();
    match params.text("order_by").unwrap_or("created_at") {
        "updated_at" => found.sort_by_key(|mr| (mr.updated_at, mr.id)),
        "merged_at" => found.sort_by_key(|mr| (mr.merged.map(|(at, _)| at), mr.id)),
        "title" => found.sort_by(|a, b| (&a.title, a.id).cmp(&(&b.title, b.id))),
        _ => found.sort_by_key(|mr| (mr.created_at, mr.id)),
    }
    if params.text("sort") != Some("asc") {
        found.reverse();
    }
    Ok(found)
}
