//! What a service may ask of the hub itself: who is connected, and what an agent sees.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use scm_core::{Body, HttpTransport as _};
use url::Url;

use super::answer::{self, refusal};
use super::registry::AgentStatus;
use super::{Hub, Inner};
use crate::keys::{AgentName, Service};

/// Where services ask for agents.
pub(crate) const AGENTS: &str = "/v1/agents";

/// Longest URL that is probed.
const URL: usize = 8 * 1024;

/// The agent in `/v1/agents/{agent}/probe`.
pub(crate) fn probed(path: &str) -> Option<AgentName> {
    path.strip_prefix(AGENTS)?.strip_prefix('/')?.strip_suffix("/probe")?.parse().ok()
}

impl Inner {
    /// The agents that `service` may use, those that never came included.
    pub(crate) fn list(&self, service: &Service, method: &Method) -> Response<Body> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "GET or HEAD");
        }
        let mut seen = self.registry.status();
        seen.retain(|status| service.may_use(&status.name));
        for name in service.agents() {
            if !seen.iter().any(|status| status.name == *name) {
                seen.push(AgentStatus::never(name.clone()));
            }
        }
        seen.sort_by(|a, b| a.name.cmp(&b.name));
        answer::json(&seen)
    }

    /// The rungs of hub and agent towards the URL in the body.
    pub(crate) async fn probe(
        self: &Arc<Self>,
        agent: AgentName,
        request: Request<Body>,
    ) -> Result<Response<Body>, Box<Response<Body>>> {
        let refuse = |status, code, message| Err(Box::new(refusal(status, code, message)));
        if request.method() != Method::POST {
            return refuse(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "POST, with a URL as the body",
            );
        }
        let url = request.into_body().collect(URL).await.ok();
        let url = url.as_deref().and_then(|url| Url::parse(std::str::from_utf8(url).ok()?.trim()).ok());
        let Some(url) = url else {
            return refuse(
                StatusCode::BAD_REQUEST,
                "no_url",
                "the body has to be a URL, such as https://gitlab.company.com/",
            );
        };
        let transport = Hub(Arc::clone(self)).transport(agent);
        Ok(answer::json(&transport.probe(&url).await))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_names_its_agent() {
        assert_eq!(probed("/v1/agents/acme/probe").unwrap().as_str(), "acme");
        for path in
            ["/v1/agents/probe", "/v1/agents//probe", "/v1/agents/a/b/probe", "/v1/agents/acme/probe/"]
        {
            assert_eq!(probed(path), None, "{path}");
        }
    }
}
