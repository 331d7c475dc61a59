//! Protected branches.

use serde_json::{Value, json};

use super::{
    auth::Access,
    call::Call,
    reply::{Failure, Outcome, Reply},
    router::Route,
    state::ProtectedBranch,
};

const LEVELS: &str = "push_access_level:int merge_access_level:int allow_force_push:bool unprotect_access_level:int \
     allowed_to_push:list allowed_to_merge:list allowed_to_unprotect:list code_owner_approval_required:bool";

pub(crate) const ROUTES: &[Route] = &[
    ("GET", "/projects/:id/protected_branches", Access::Read, "search &page", list),
    (
        "POST",
        "/projects/:id/protected_branches",
        Access::Write,
        "name!:filled push_access_level:int merge_access_level:int allow_force_push:bool unprotect_access_level:int \
         allowed_to_push:list allowed_to_merge:list allowed_to_unprotect:list code_owner_approval_required:bool",
        create,
    ),
    ("GET", "/projects/:id/protected_branches/:name", Access::Read, "", show),
    ("PATCH", "/projects/:id/protected_branches/:name", Access::Write, LEVELS, update),
    ("DELETE", "/projects/:id/protected_branches/:name", Access::Write, "", delete),
];

fn rule_json(rule: &ProtectedBranch) -> Value {
    let access = |level: u32| {
        let words = match level {
            0 => "No one",
            30 => "Developers + Maintainers",
            60 => "Administrators",
            _ => "Maintainers",
        };
        json!([{
            "id": rule.id, "access_level": level, "access_level_description": words,
            "deploy_key_id": null, "user_id": null, "group_id": null,
        }])
    };
    json!({
        "id": rule.id,
        "name": rule.pattern,
        "push_access_levels": access(rule.push_level),
        "merge_access_levels": access(rule.merge_level),
        "allow_force_push": rule.allow_force_push,
        "unprotect_access_levels": [],
        "code_owner_approval_required": rule.code_owner_approval_required,
        "inherited": false,
    })
}

fn list(call: &Call) -> Outcome {
    call.needs(20)?;
    let state = call.state();
    let search = call.params.filled("search");
    let rules: Vec<ProtectedBranch> = call
        .project_in(&state)?
        .protected
        .iter()
        .filter(|rule| search.is_none_or(|text| rule.pattern.contains(text)))
        .cloned()
        .collect();
    call.paged(rules, |rule| rule_json(&rule))
}

fn show(call: &Call) -> Outcome {
    call.needs(20)?;
    let state = call.state();
    let rule = call.project_in(&state)?.protected.iter().find(|rule| rule.pattern == call.part("name"));
    Ok(Reply::ok(rule_json(rule.ok_or_else(Failure::nothing_here)?)))
}

fn level(call: &Call, name: &str) -> Result<Option<u32>, Failure> {
    let valid = |level: i64| u32::try_from(level).ok().filter(|level| [0, 30, 40, 60].contains(level));
    match call.params.int(name) {
        None => Ok(None),
        Some(level) => valid(level)
            .map(Some)
            .ok_or_else(|| Failure::error(400, format!("{name} does not have a valid value"))),
    }
}

fn create(call: &Call) -> Outcome {
    call.may_write(40)?;
    let pattern = call.params.text("name").unwrap_or_default().to_owned();
    let (push, merge) = (level(call, "push_access_level")?, level(call, "merge_access_level")?);
    let mut state = call.state();
    if call.project_in(&state)?.protected.iter().any(|rule| rule.pattern == pattern) {
        return Err(Failure::message(409, format!("Protected branch '{pattern}' already exists")));
    }
    let rule = ProtectedBranch {
        id: state.next_id("protected branch"),
        pattern,
        push_level: push.unwrap_or(40),
        merge_level: merge.unwrap_or(40),
        allow_force_push: call.params.flag("allow_force_push"),
        code_owner_approval_required: call.params.flag("code_owner_approval_required"),
    };
    let value = rule_json(&rule);
    call.project_mut(&mut state)?.protected.push(rule);
    Ok(Reply::created(value))
}

fn update(call: &Call) -> Outcome {
    call.may_write(40)?;
    let mut state = call.state();
    let rules = &mut call.project_mut(&mut state)?.protected;
    let rule =
        rules.iter_mut().find(|rule| rule.pattern == call.part("name")).ok_or_else(Failure::nothing_here)?;
    if let Some(flag) = call.params.bool("allow_force_push") {
        rule.allow_force_push = flag;
    }
    if let Some(flag) = call.params.bool("code_owner_approval_required") {
        rule.code_owner_approval_required = flag;
    }
    Ok(Reply::ok(rule_json(rule)))
}

fn delete(call: &Call) -> Outcome {
    call.may_write(40)?;
    let mut state = call.state();
    let rules = &mut call.project_mut(&mut state)?.protected;
    let at =
        rules.iter().position(|rule| rule.pattern == call.part("name")).ok_or_else(Failure::nothing_here)?;
    rules.remove(at);
    Ok(Reply::no_content())
}
