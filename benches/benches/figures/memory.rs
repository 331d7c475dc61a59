//! Decoding of pages, and what the pipeline costs per call, both without a network.

use std::hint::black_box;

use benches::{Memory, Project, gitlab, projects};
use criterion::{Criterion, Throughput};
use http::Method;
use scm_core::pipeline::ApiRequest;
use scm_core::{Body, HttpTransport as _, ListRepositories, Repositories as _};
use serde_json::{Value, json};

pub(crate) const PAGE: &str = "page of 100 projects";
pub(crate) const CALL: &str = "call over memory";

pub(crate) fn run(criterion: &mut Criterion) {
    page_decode(criterion);
    pipeline_overhead(criterion);
}

fn page_decode(c: &mut Criterion) {
    let runtime = runtime();
    let page = projects(100);
    let text = page.to_string();
    let client = gitlab(&page).expect("a client");
    let opts = ListRepositories::default();
    let mut group = c.benchmark_group(PAGE);
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("models", |b| {
        b.iter(|| {
            let page = runtime.block_on(client.list_repositories_page(&opts, None)).expect("a page");
            black_box(page.into_items().expect("items"))
        });
    });
    group.bench_function("generic JSON", |b| {
        b.iter(|| black_box(serde_json::from_str::<Value>(&text).expect("JSON")));
    });
    group.bench_function("plain structs", |b| {
        b.iter(|| black_box(serde_json::from_str::<Vec<Project>>(&text).expect("projects")));
    });
    group.finish();
}

fn pipeline_overhead(c: &mut Criterion) {
    let runtime = runtime();
    let body = json!({"ok": true});
    let client = gitlab(&body).expect("a client");
    let bare = Memory::new(&body);
    let mut group = c.benchmark_group(CALL);
    group.bench_function("pipeline", |b| {
        b.iter(|| {
            let call = async {
                let request = ApiRequest::new(Method::GET, "api/v4", &["projects", "group/project"]);
                client.request(request).await
            };
            black_box(runtime.block_on(call).expect("an answer"))
        });
    });
    group.bench_function("the transport alone", |b| {
        b.iter(|| {
            let call = async {
                let request =
                    http::Request::get("https://gitlab.company.com/api/v4/projects/group%2Fproject")
                        .body(Body::empty())
                        .expect("a request");
                let answer = bare.send(request).await?;
                answer.into_body().collect(1 << 20).await
            };
            black_box(runtime.block_on(call).expect("an answer"))
        });
    });
    group.finish();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}
