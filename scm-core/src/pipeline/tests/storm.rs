//! 429 and what it does to everybody.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future;

use super::fake::*;
use crate::error::{Delivery, ErrorKind};
use crate::pipeline::{Limits, PipelineConfig};
use crate::scm::{CallOptions, Priority};
use crate::time::{Clock, Timestamp};

/// Tokio's paused time, from a fixed hour on, with no luck in its jitter.
#[derive(Debug)]
struct TestClock(Instant);

impl TestClock {
    fn set(config: &mut PipelineConfig) {
        config.clock = std::sync::Arc::new(Self(now()));
    }
}

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let start: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        start.saturating_add(self.monotonic() - self.0)
    }

    fn monotonic(&self) -> Instant {
        now()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn jitter(&self, limit: Duration) -> Duration {
        limit
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn throttled(wait: &'static [(&'static str, &'static str)]) -> Answer {
    Answer::Status(429, wait, "slow down")
}

#[tokio::test(start_paused = true)]
async fn one_429_pauses_everybody_and_then_all_go_on() {
    let (pipeline, fake) = pipeline(vec![throttled(&[("retry-after", "30")])]);
    let started = now();
    // Forty callers by two handles of one server; the first is told to wait, the others come one by one in the pause.
    let bulk = pipeline.with_options(CallOptions::default().with_priority(Priority::Bulk));
    let calls = (0..40).map(|n| {
        let pipeline = if n % 2 == 0 { &pipeline } else { &bulk };
        async move {
            tokio::time::sleep(Duration::from_millis(700 * n)).await;
            pipeline.operation("op").send(get()).await
        }
    });
    let answers = future::join_all(calls).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let seen = fake.seen.lock().unwrap();
    assert_eq!(seen.len(), 41);
    for later in &seen[1..] {
        assert!(later.at - started >= seconds(30), "{later:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_several_pauses_the_longest_counts() {
    let storm = ["10", "40", "20"].map(|wait| match wait {
        "10" => throttled(&[("retry-after", "10")]),
        "40" => throttled(&[("retry-after", "40")]),
        _ => throttled(&[("retry-after", "20")]),
    });
    let (pipeline, fake) = pipeline(storm.into());
    let started = now();
    let operations: Vec<_> = (0..3).map(|_| pipeline.operation("op")).collect();
    let answers = future::join_all(operations.iter().map(|operation| operation.send(get()))).await;
    assert!(answers.iter().all(Result::is_ok));
    let seen = fake.seen.lock().unwrap();
    assert_eq!(seen.len(), 6);
    assert!(seen[..3].iter().all(|seen| seen.at == started));
    assert!(seen[3..].iter().all(|seen| seen.at - started >= seconds(40)), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn every_form_of_a_wait_is_kept_to_the_second() {
    // In milliseconds from the first request, whose answer took ten. Without a word of the server, or with one that
    // cannot be read, the back-off of half a second is all.
    for (wait, leaves_after) in [
        (&[][..], 510),
        (&[("retry-after", "0")], 510),
        (&[("retry-after", "7")], 7_010),
        (&[("retry-after", "Sat, 21 Nov 2026 10:01:30 GMT")], 90_000),
        (&[("retry-after", "Sat, 21 Nov 2026 09:00:00 GMT")], 510),
        (&[("retry-after", "-5")], 510),
        (&[("retry-after", "in a while")], 510),
        // 2026-11-21T10:00:45Z.
        (&[("ratelimit-reset", "1795255245")], 45_000),
        (&[("ratelimit-reset", "1795255245"), ("retry-after", "-5")], 45_000),
        (&[("ratelimit-reset", "1795255245"), ("retry-after", "3")], 3_010),
        (&[("ratelimit-reset", "45")], 510),
        (&[("ratelimit-reset", "soon")], 510),
    ] {
        let (pipeline, fake) = pipeline_with(vec![throttled(wait)], static_token(), TestClock::set);
        pipeline.operation("op").send(post()).await.unwrap();
        let seen = fake.seen.lock().unwrap();
        assert_eq!(seen.len(), 2, "{wait:?}");
        assert_eq!((seen[1].at - seen[0].at).as_millis(), leaves_after, "{wait:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_absurd_wait_is_told_and_locks_nobody_out_for_good() {
    for (wait, told) in [
        (&[("retry-after", "31536000")], seconds(31_536_000)),
        (&[("retry-after", "99999999999999999999")], Duration::MAX),
        (&[("retry-after", "Sun, 21 Nov 2027 10:00:00 GMT")], seconds(31_536_000)),
        (&[("ratelimit-reset", "1826791200")], seconds(31_536_000)),
    ] {
        let (pipeline, fake) = pipeline_with(vec![throttled(wait)], static_token(), TestClock::set);
        let started = now();
        let error = pipeline.operation("op").send(get()).await.unwrap_err();
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::RateLimited, Delivery::Answered));
        // A date is measured when the answer is there.
        let told_after = error.retry_after().unwrap();
        assert!(told - told_after <= Duration::from_millis(10), "{wait:?}: {told_after:?}");
        assert!(now() - started <= Duration::from_millis(10), "nobody waits for it");
        assert_eq!(fake.count(), 1);
        // The others are held for two minutes, not for a year.
        let patient = pipeline.with_options(CallOptions::default().with_deadline(seconds(600)));
        patient.operation("op").send(get()).await.unwrap();
        let seen = fake.seen.lock().unwrap();
        assert_eq!(seen[1].at - seen[0].at, seconds(120) + Duration::from_millis(10), "{wait:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_longer_than_the_deadline_is_told_at_once() {
    // Also where every turn is taken by one who waits for the end of the pause.
    for concurrent in [16, 1] {
        let storm = vec![throttled(&[("retry-after", "60")])];
        let (pipeline, fake) = pipeline_with(storm, static_token(), |config| {
            config.limits = Limits::default().with_concurrent(concurrent);
        });
        let (first, patient) = (pipeline.operation("op"), pipeline.operation("op"));
        let patient = async {
            tokio::time::sleep(seconds(1)).await;
            patient.send(get()).await
        };
        let hasty = pipeline.with_options(CallOptions::default().with_deadline(seconds(5)));
        let hasty = async {
            tokio::time::sleep(seconds(10)).await;
            let started = now();
            let error = hasty.operation("op").send(post()).await.unwrap_err();
            assert_eq!(now(), started, "there is nothing to wait for");
            error
        };
        let (first, patient, error) = future::join3(first.send(get()), patient, hasty).await;
        assert!(first.is_ok() && patient.is_ok());
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::RateLimited, Delivery::NotSent));
        assert!(error.is_retryable() && error.operation() == Some("op"));
        assert_eq!(error.retry_after(), Some(Duration::from_millis(50_010)));
        assert_eq!(fake.count(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_down_asks_for_no_pause_by_telling_its_rate() {
    // GitLab writes RateLimit-Reset into every answer.
    let down = Answer::Status(503, &[("ratelimit-reset", "1795255245")], "deploying");
    let (pipeline, fake) = pipeline_with(vec![down], static_token(), TestClock::set);
    pipeline.operation("op").send(get()).await.unwrap();
    let seen = fake.seen.lock().unwrap();
    assert_eq!(seen[1].at - seen[0].at, Duration::from_millis(510));
}

#[tokio::test(start_paused = true)]
async fn a_storm_that_does_not_end_is_given_up_by_each_call_in_turn() {
    let storm = (0..100).map(|_| throttled(&[("retry-after", "1")])).collect();
    let (pipeline, fake) = pipeline(storm);
    let operations: Vec<_> = (0..4).map(|_| pipeline.operation("op")).collect();
    let errors = future::join_all(operations.iter().map(|operation| operation.send(post()))).await;
    for error in errors {
        let error = error.unwrap_err();
        assert_eq!((error.kind(), error.retry_after()), (ErrorKind::RateLimited, Some(seconds(1))));
    }
    assert_eq!(fake.count(), 20, "five tries each");
    assert_eq!(fake.dropped.load(Ordering::SeqCst), 0);
}
