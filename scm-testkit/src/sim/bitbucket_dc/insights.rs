//! Code Insights: reports about a commit with annotations of its lines.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    call::Call,
    entities,
    page::cap,
    reply::{Failure, Outcome, Reply},
    router::{Route, Since::Always},
};

/// The most annotations a report may have.
const MOST: usize = 1_000;

pub(crate) const ROUTES: &[Route] = &[
    ("GET", "/insights/projects/:key/repos/:slug/commits/:commitId/reports", Always, "&page", list),
    (
        "PUT",
        "/insights/projects/:key/repos/:slug/commits/:commitId/reports/:report",
        Always,
        "title details result reporter link logoUrl data:any createdDate coverageProviderKey",
        put,
    ),
    ("GET", "/insights/projects/:key/repos/:slug/commits/:commitId/reports/:report", Always, "", show),
    ("DELETE", "/insights/projects/:key/repos/:slug/commits/:commitId/reports/:report", Always, "", delete),
    (
        "GET",
        "/insights/projects/:key/repos/:slug/commits/:commitId/reports/:report/annotations",
        Always,
        "",
        annotations,
    ),
    (
        "POST",
        "/insights/projects/:key/repos/:slug/commits/:commitId/reports/:report/annotations",
        Always,
        "annotations:any",
        annotate,
    ),
    (
        "DELETE",
        "/insights/projects/:key/repos/:slug/commits/:commitId/reports/:report/annotations",
        Always,
        "externalId",
        delete_annotations,
    ),
    (
        "PUT",
        "/insights/projects/:key/repos/:slug/commits/:commitId/reports/:report/annotations/:externalId",
        Always,
        "message severity type path line:int link externalId",
        put_annotation,
    ),
    (
        "GET",
        "/insights/projects/:key/repos/:slug/commits/:commitId/annotations",
        Always,
        "severity path externalId type key",
        all_annotations,
    ),
];

#[derive(Debug)]
pub(crate) struct Report {
    author_id: u64,
    body: Value,
    annotations: Vec<Value>,
}

/// The commit of the path and the key of its report.
fn place(call: &Call) -> Result<(String, String), Failure> {
    let id = call.part("commitId");
    if id.len() != 40 {
        return Err(Failure::field("commitId", "A commit is named by its full id of 40 characters."));
    }
    let commit = call.commit(&*call.git()?, Some(id))?;
    Ok((commit, call.part("report").to_owned()))
}

fn no_report(key: &str) -> Failure {
    Failure::new(404, "codeinsights.NoSuchInsightReportException", format!("Report {key} does not exist."))
}

fn list(call: &Call) -> Outcome {
    let (commit, _) = place(call)?;
    let state = call.state();
    let reports = &call.repo_in(&state)?.reports;
    let found: Vec<Value> = of_commit(reports, &commit).map(|(_, report)| report.body.clone()).collect();
    call.paged(found, cap::DEFAULT, |body| body)
}

fn of_commit<'a>(
    reports: &'a BTreeMap<(String, String), Report>,
    commit: &'a str,
) -> impl Iterator<Item = (&'a str, &'a Report)> {
    reports.iter().filter(move |((id, _), _)| id == commit).map(|((_, key), report)| (key.as_str(), report))
}

fn put(call: &Call) -> Outcome {
    let user = call.user()?;
    let place = place(call)?;
    let params = &call.params;
    let title = params.filled("title").unwrap_or_default();
    if title.is_empty() || title.chars().count() > 450 {
        return Err(Failure::field("title", "A title of at most 450 characters is required."));
    }
    let result = params.filled("result");
    if result.is_some_and(|result| !matches!(result, "PASS" | "FAIL")) {
        return Err(Failure::field("result", "must be PASS or FAIL"));
    }
    let data = params.list("data").unwrap_or_default();
    if data.len() > 6 || !data.iter().all(Value::is_object) {
        return Err(Failure::field("data", "has at most 6 entries with title, type and value"));
    }
    let mut body = Map::new();
    for name in ["title", "details", "result", "reporter", "link", "logoUrl"] {
        if let Some(text) = params.filled(name) {
            body.insert(name.to_owned(), Value::from(text));
        }
    }
    let mut body = Value::Object(body);
    entities::extend(
        &mut body,
        json!({ "key": place.1, "data": data, "createdDate": call.date(call.inner.clock.now()) }),
    );
    let mut state = call.state();
    let reports = &mut call.repo_mut(&mut state)?.reports;
    if reports.get(&place).is_some_and(|known| known.author_id != user) {
        return Err(Failure::not_permitted());
    }
    let annotations = reports.remove(&place).map(|known| known.annotations).unwrap_or_default();
    reports.insert(place, Report { author_id: user, body: body.clone(), annotations });
    Ok(Reply::ok(body))
}

fn show(call: &Call) -> Outcome {
    let place = place(call)?;
    let state = call.state();
    let found = call.repo_in(&state)?.reports.get(&place);
    found.map(|report| Reply::ok(report.body.clone())).ok_or_else(|| no_report(&place.1))
}

fn delete(call: &Call) -> Outcome {
    let place = place(call)?;
    change(call, &place, 3, |_| Ok(()))?;
    call.repo_mut(&mut call.state())?.reports.remove(&place);
    Ok(Reply::no_content())
}

/// Changes a report as its author, or as someone who may do this much.
fn change(
    call: &Call,
    place: &(String, String),
    others: u8,
    edit: impl FnOnce(&mut Report) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let user = call.user()?;
    let mut state = call.state();
    let level = call.level_on(&state, call.repo_in(&state)?);
    let report = call.repo_mut(&mut state)?.reports.get_mut(place).ok_or_else(|| no_report(&place.1))?;
    if report.author_id != user && level < others {
        return Err(Failure::not_permitted());
    }
    edit(report)
}

/// Nobody but the author annotates.
const AUTHOR_ONLY: u8 = u8::MAX;

fn annotation(value: &Value, key: &str) -> Result<Value, Failure> {
    let message = value["message"].as_str().unwrap_or_default();
    if message.is_empty() || message.chars().count() > 2_000 {
        return Err(Failure::field("message", "A message of at most 2000 characters is required."));
    }
    if !matches!(value["severity"].as_str(), Some("LOW" | "MEDIUM" | "HIGH")) {
        return Err(Failure::field("severity", "must be LOW, MEDIUM or HIGH"));
    }
    let kind = &value["type"];
    if !kind.is_null() && !matches!(kind.as_str(), Some("VULNERABILITY" | "CODE_SMELL" | "BUG")) {
        return Err(Failure::field("type", "must be VULNERABILITY, CODE_SMELL or BUG"));
    }
    let mut kept = json!({ "reportKey": key, "line": value["line"].as_u64().unwrap_or(0) });
    for name in ["externalId", "link", "message", "path", "severity", "type"] {
        if let Some(text) = value[name].as_str() {
            entities::extend(&mut kept, json!({ name: text }));
        }
    }
    Ok(kept)
}

fn annotate(call: &Call) -> Outcome {
    let place = place(call)?;
    let list = call.params.get("annotations").and_then(Value::as_array);
    let list = list.ok_or_else(|| Failure::field("annotations", "A list of annotations is required."))?;
    let new = list.iter().map(|one| annotation(one, &place.1)).collect::<Result<Vec<_>, _>>()?;
    change(call, &place, AUTHOR_ONLY, |report| {
        if report.annotations.len() + new.len() > MOST {
            return Err(Failure::bad_argument(format!("A report cannot have more than {MOST} annotations.")));
        }
        report.annotations.extend(new);
        Ok(())
    })?;
    Ok(Reply::no_content())
}

fn put_annotation(call: &Call) -> Outcome {
    let place = place(call)?;
    let id = call.part("externalId").to_owned();
    let mut new = annotation(&call.json, &place.1)?;
    entities::extend(&mut new, json!({ "externalId": id }));
    change(call, &place, AUTHOR_ONLY, |report| {
        report.annotations.retain(|known| known["externalId"] != id);
        report.annotations.push(new);
        Ok(())
    })?;
    Ok(Reply::no_content())
}

fn delete_annotations(call: &Call) -> Outcome {
    let place = place(call)?;
    let id = call.params.filled("externalId").map(str::to_owned);
    change(call, &place, 3, |report| {
        report.annotations.retain(|known| id.as_ref().is_some_and(|id| known["externalId"] != *id));
        Ok(())
    })?;
    Ok(Reply::no_content())
}

fn annotations(call: &Call) -> Outcome {
    let place = place(call)?;
    let state = call.state();
    let report = call.repo_in(&state)?.reports.get(&place).ok_or_else(|| no_report(&place.1))?;
    Ok(Reply::ok(json!({ "annotations": report.annotations })))
}

fn all_annotations(call: &Call) -> Outcome {
    let (commit, _) = place(call)?;
    let state = call.state();
    let fits = |name: &str, value: &Value| {
        call.params.filled(name).is_none_or(|wanted| value.as_str() == Some(wanted))
    };
    let found: Vec<&Value> = of_commit(&call.repo_in(&state)?.reports, &commit)
        .filter(|(key, _)| call.params.filled("key").is_none_or(|wanted| wanted == *key))
        .flat_map(|(_, report)| &report.annotations)
        .filter(|one| ["severity", "path", "externalId", "type"].iter().all(|name| fits(name, &one[*name])))
        .collect();
    Ok(Reply::ok(json!({ "annotations": found })))
}
