//! The history of a pull request, newest first. It is the only list of all its comments.

use serde_json::{Value, json};

use crate::sim::bitbucket_dc::{
    call::Call,
    comments, entities,
    page::cap,
    reply::Outcome,
    router::{Route, Since::Always},
    state::State,
};

use super::model::{Action, Activity, PullRequest, find};

pub(crate) const ROUTES: &[Route] = &[(
    "GET",
    "/api/projects/:key/repos/:slug/pull-requests/:id/activities",
    Always,
    "fromType fromId &page",
    list,
)];

fn list(call: &Call) -> Outcome {
    let state = call.state();
    let pull = find(call, &state)?;
    let found: Vec<&Activity> = pull.activities.iter().rev().collect();
    call.paged(found, cap::ACTIVITIES, |activity| json(call, &state, pull, activity))
}

fn json(call: &Call, state: &State, pull: &PullRequest, activity: &Activity) -> Value {
    let mut value = json!({
        "id": activity.id,
        "createdDate": call.date(activity.created_at),
        "user": entities::user_by_id(&call.inner, state, activity.user_id),
    });
    match &activity.action {
        Action::Plain(name, extra) => {
            entities::extend(&mut value, json!({ "action": name }));
            entities::extend(&mut value, extra.clone());
        }
        Action::Commented(id) => {
            entities::extend(&mut value, json!({ "action": "COMMENTED", "commentAction": "ADDED" }));
            if let Some(comment) = pull.comments.get(id) {
                let shown = comments::json(call, state, pull, comment);
                entities::extend(&mut value, json!({ "comment": shown }));
                if let Some(anchor) = &comment.anchor {
                    entities::extend(
                        &mut value,
                        json!({ "commentAnchor": anchor.json(|path| Value::from(path)) }),
                    );
                }
            }
        }
    }
    value
}
