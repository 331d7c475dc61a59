//! The ladder from where the agent stands: to the hub, then to each server it may reach.

use scm_core::{CheckReport, Code, Outcome, Route, Rung, RungReport};
use tokio::time::Instant;
use url::Url;

use super::{Agent, Inner, advice, connect};

impl Agent {
    /// What every step on the way to the hub sees, up to the access key, and then to each server of the allow list. A tunnel is
    /// opened for it and closed before the hub gives it any work; servers get no request, and no credential.
    pub async fn check(&self) -> Vec<CheckReport> {
        let agent = &self.0;
        let servers = agent.upstream.policy.allowed().iter().map(|entry| agent.server(entry));
        let (hub, servers) = tokio::join!(agent.to_hub(), futures_util::future::join_all(servers));
        std::iter::once(hub).chain(servers).collect()
    }
}

impl Inner {
    async fn to_hub(&self) -> CheckReport {
        let rungs = self.dialer.probe(&self.hub).await;
        let mut report = CheckReport::new("hub", self.hub.as_str(), route(&rungs));
        rungs.into_iter().map(advice::own_rung).for_each(|rung| report.push(rung));
        let start = Instant::now();
        let rung = if report.is_ok() {
            match connect::open(&self.dialer, &self.hub, &self.key.now()).await {
                Ok(opened) => {
                    let seen = format!(
                        "the hub (version {}) takes the access key of the agent {}",
                        or_unknown(&opened.hub),
                        or_unknown(&opened.agent)
                    );
                    RungReport::passed(Rung::Route, seen)
                }
                Err(error) => {
                    let code = error.code().unwrap_or(Code::RelayHubUnreachable);
                    RungReport::failed(code, error.to_string(), advice::for_tunnel(&error))
                }
            }
        } else {
            RungReport::skipped(Rung::Route, "there is no way to the hub")
        };
        report.push(rung.with_elapsed(start.elapsed()));
        report
    }

    async fn server(&self, entry: &super::Allow) -> CheckReport {
        let url = entry.url();
        let rungs = match Url::parse(&url) {
            Ok(url) => self.upstream.probe(&url).await.unwrap_or_else(|error| {
                let code = error.code().unwrap_or(Code::RelayAgentDenied);
                vec![advice::own_rung(RungReport::failed(code, error.to_string(), ""))]
            }),
            Err(_) => Vec::new(),
        };
        let mut report = CheckReport::new(entry.preset().as_str(), &url, route(&rungs));
        rungs.into_iter().for_each(|rung| report.push(rung));
        report
    }
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}

fn route(rungs: &[RungReport]) -> Route {
    let proxied = rungs.iter().any(|rung| rung.rung == Rung::Proxy && rung.outcome != Outcome::Skipped);
    if proxied { Route::Proxy } else { Route::Direct }
}
