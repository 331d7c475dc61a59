//! Whose turn it is: limits and priorities. Requests wait at a gate that the test opens; no time is measured.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use http::Method;

use super::fake::*;
use crate::page::{Cursor, Page, Pages};
use crate::pipeline::{ApiRequest, Limits, Pipeline, PipelineConfig};
use crate::scm::{CallOptions, Priority};

/// Starts calls that are told apart by their names, in this order.
async fn start(pipeline: &Pipeline, priority: Priority, names: impl IntoIterator<Item = String>) {
    let pipeline = pipeline.with_options(CallOptions::default().with_priority(priority));
    for name in names {
        let operation = pipeline.operation("op");
        tokio::spawn(async move {
            let request = ApiRequest::new(Method::GET, "api", &[&name]);
            operation.send(request).await.unwrap();
        });
    }
    settle().await;
}

async fn start_bulk(pipeline: &Pipeline, count: usize) {
    start(pipeline, Priority::Bulk, (0..count).map(|n| format!("bulk{n}"))).await;
}

async fn start_calls(pipeline: &Pipeline, count: usize) {
    start(pipeline, Priority::Interactive, (0..count).map(|n| format!("call{n}"))).await;
}

#[tokio::test(start_paused = true)]
async fn a_scan_leaves_room_for_a_call_that_comes_late() {
    let (pipeline, fake) = gated(Vec::new(), 4);
    start_bulk(&pipeline, 300).await;
    assert_eq!(fake.order(), ["bulk0", "bulk1", "bulk2"]);
    start_calls(&pipeline, 1).await;
    assert_eq!(fake.order(), ["bulk0", "bulk1", "bulk2", "call0"]);
    // The place that was kept free stays free of bulk work when the call is over, too.
    fake.release(4).await;
    assert_eq!(fake.order()[4..], ["bulk3", "bulk4", "bulk5"]);
    fake.release(300).await;
    assert_eq!((fake.count(), fake.most.load(Ordering::SeqCst)), (301, 4));
}

#[tokio::test(start_paused = true)]
async fn a_call_never_queues_behind_a_crowd_of_bulk_work_nor_bulk_work_for_ever() {
    let (pipeline, fake) = gated(Vec::new(), 4);
    start(&pipeline, Priority::Interactive, ["a", "b", "c", "d"].map(str::to_owned)).await;
    start_bulk(&pipeline, 300).await;
    start_calls(&pipeline, 4).await;
    assert_eq!(fake.order(), ["a", "b", "c", "d"]);
    for _ in 0..4 {
        fake.release(1).await;
    }
    // One of the scan stood in line before the calls came, and the next one joins behind them.
    assert_eq!(fake.order()[4..], ["bulk0", "call0", "call1", "call2"]);
    for _ in 0..4 {
        fake.release(1).await;
    }
    assert_eq!(fake.order()[8..], ["call3", "bulk1", "bulk2", "bulk3"]);
    fake.release(300).await;
    assert_eq!((fake.count(), fake.most.load(Ordering::SeqCst)), (308, 4));
}

#[tokio::test(start_paused = true)]
async fn a_scan_that_is_paused_does_not_hold_up_a_call_after_the_pause() {
    let (pipeline, fake) = gated(vec![Answer::Status(429, &[("retry-after", "30")], "slow down")], 4);
    start_bulk(&pipeline, 100).await;
    fake.release(1).await;
    // The first request is answered by the 429; the other two were on their way.
    tokio::time::sleep(Duration::from_secs(10)).await;
    start_calls(&pipeline, 2).await;
    assert_eq!(fake.order(), ["bulk0", "bulk1", "bulk2"]);
    fake.release(2).await;
    assert_eq!(fake.count(), 3, "nothing leaves in the pause, though there is room");
    tokio::time::sleep(Duration::from_secs(20)).await;
    let mut next = fake.order()[3..].to_vec();
    next.sort();
    assert_eq!(next, ["bulk3", "bulk4", "call0", "call1"], "both calls came in as the scan went on");
    fake.release(1).await;
    assert_eq!(fake.order()[7], "bulk5");
    fake.release(300).await;
    assert_eq!((fake.count(), fake.most.load(Ordering::SeqCst)), (103, 4));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_gives_its_turn_back() {
    let (pipeline, fake) = gated(Vec::new(), 1);
    let operation = pipeline.operation("op");
    for priority in [Priority::Interactive, Priority::Bulk] {
        start(&pipeline, priority, ["runs".to_owned()]).await;
        // One that waits in line, and then one that runs.
        let handle = pipeline.with_options(CallOptions::default().with_priority(priority));
        let waiting = handle.operation("op");
        let mut waiting = Box::pin(waiting.send(get()));
        assert!((&mut waiting).now_or_never().is_none());
        drop(waiting);
        fake.release(1).await;
        let mut running = Box::pin(operation.send(get()));
        assert!((&mut running).now_or_never().is_none());
        drop(running);
        settle().await;
    }
    start_calls(&pipeline, 1).await;
    assert_eq!(fake.order(), ["runs", "x", "runs", "x", "call0"]);
}

#[tokio::test(start_paused = true)]
async fn no_more_requests_run_than_allowed() {
    for (concurrent, calls, bulk) in [(1, 1, 1), (3, 3, 3), (4, 4, 3), (16, 16, 12)] {
        for (priority, most) in [(Priority::Interactive, calls), (Priority::Bulk, bulk)] {
            let (pipeline, fake) = gated(Vec::new(), concurrent);
            start(&pipeline, priority, (0..40).map(|n| n.to_string())).await;
            assert_eq!(fake.count(), most, "{concurrent} {priority:?}");
            fake.release(40).await;
            assert_eq!((fake.count(), fake.most.load(Ordering::SeqCst)), (40, most));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_works_on_the_items_of_a_list_never_waits_for_its_own_next_page() {
    let one_at_a_time = |config: &mut PipelineConfig| config.limits = Limits::default().with_concurrent(1);
    let (pipeline, fake) = pipeline_with(Vec::new(), static_token(), one_at_a_time);
    let pages = Pages::new(None, Some(3), |at: Option<Cursor>| async {
        pipeline.operation("list").send(get()).await?;
        let n = at.map_or(0, |at| at.token_for("test", "list").unwrap().parse().unwrap());
        Ok(Page::new(vec![Ok(n), Ok(n)], Some(Cursor::new("test", "list", (n + 1).to_string()))))
    });
    let mut items = pages.items(None);
    let mut worked = Vec::new();
    while let Some(item) = items.next().await {
        worked.push(item.unwrap());
        // By the same server, and for longer than any call may take.
        pipeline.operation("work").send(get()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(600)).await;
    }
    assert_eq!((worked, fake.count()), (vec![0, 0, 1, 1, 2, 2], 9));
}
