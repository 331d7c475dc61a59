//! The way of one request: from a path to an agent and a server, and through a tunnel.

use std::sync::Arc;
use std::time::SystemTime;

use http::header::{self, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, Uri, request};
use scm_core::{Body, Code, Delivery, ErrorKind, TransportError};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};
use url::Url;

use super::Inner;
use super::answer::MAX_HEAD;
use super::exchange::{Exchange, later};
use super::registry::{Absent, Member};
use crate::fault;
use crate::keys::AgentName;
use crate::tunnel::{self, HEADERS};

/// On an answer that took a second tunnel.
pub(crate) const ATTEMPTS: HeaderName = HeaderName::from_static("scm-hub-attempts");

/// Beside a `Location` that was changed: what the server said.
const SAID: HeaderName = HeaderName::from_static("scm-hub-location");

/// Where services ask for servers.
const PREFIX: &str = "/v1/agents/";

/// What the path of a request to the hub says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) agent: AgentName,
    /// The server's own URL; its path is byte for byte what the caller wrote.
    pub(crate) uri: Uri,
}

impl Place {
    /// Reads `/v1/agents/{agent}/{scheme}/{host}/{path}`.
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let mut parts = uri.path().strip_prefix(PREFIX)?.splitn(4, '/');
        let agent = parts.next()?.parse().ok()?;
        let scheme = match parts.next()? {
            "http" => Scheme::HTTP,
            "https" => Scheme::HTTPS,
            _ => return None,
        };
        let authority: Authority = parts.next()?.parse().ok()?;
        if authority.as_str().contains('@') {
            return None;
        }
        let path = parts.next().unwrap_or_default();
        let path = match uri.query() {
            Some(query) => format!("/{path}?{query}"),
            None => format!("/{path}"),
        };
        let path: PathAndQuery = path.parse().ok()?;
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build().ok()?;
        Some(Self { agent, uri })
    }

    /// Keeps a redirect within the same origin under the hub, and says beside it what the server said; others are left alone.
    pub(crate) fn keep_under_hub(&self, headers: &mut HeaderMap) {
        let location = headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
        let Some(location) = location.and_then(|location| self.under_hub(location)) else { return };
        if let Some(said) = headers.insert(header::LOCATION, location) {
            headers.insert(SAID, said);
        }
    }

    fn under_hub(&self, location: &str) -> Option<HeaderValue> {
        let base = Url::parse(&self.uri.to_string()).ok()?;
        let target = base.join(location).ok()?;
        if target.origin() != base.origin() {
            return None;
        }
        let (scheme, authority) = (self.uri.scheme_str()?, self.uri.authority()?);
        let rest = &target[url::Position::BeforePath..];
        HeaderValue::try_from(format!("{PREFIX}{}/{scheme}/{authority}{rest}", self.agent)).ok()
    }
}

impl Inner {
    /// Sends `request` of `service`, whose URI is that of the server, by way of `agent`, within the limits.
    pub(crate) async fn carry(
        self: &Arc<Self>,
        service: &str,
        agent: &AgentName,
        request: Request<Body>,
    ) -> Result<Response<Body>, TransportError> {
        let (mut head, body) = request.into_parts();
        fault::strip(&mut head.headers);
        let mut exchange = Exchange::new(self, service, agent, &head);
        let mut attempts = 0;
        let outcome = async {
            small_enough(&head)?;
            let body = exchange.upload(body)?;
            let place = self.place(agent).await?;
            let first = self.registry.wait(agent, &[], self.settings.patience).await;
            let first = first.map_err(|absent| offline(agent, absent))?;
            let answer = exchange.head(self.pass(agent, first, head, body, &mut attempts)).await?;
            Ok((place, answer))
        };
        let outcome = outcome.await.map(|(place, answer)| {
            exchange.place = Some(place);
            answer
        });
        exchange.attempts = attempts;
        exchange.finish(outcome)
    }

    /// A place among the requests that `agent` may have in flight, waited for in turn.
    async fn place(&self, agent: &AgentName) -> Result<OwnedSemaphorePermit, TransportError> {
        let places = self.registry.share(agent, &self.settings).places;
        match timeout(self.settings.patience, places.acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => {
                self.registry.pick(agent, &[]).map_err(|absent| offline(agent, absent))?;
                let message = format!(
                    "the agent {agent} has {} requests in flight, which is as many as it may have",
                    self.settings.in_flight
                );
                Err(TransportError::new(ErrorKind::Relay, Delivery::NotSent, message))
            }
        }
    }

    /// Through a tunnel. What is provably not sent takes another one where the first one fails, and one more, as long as there is
    /// patience: an agent that goes takes all its tunnels with it. What can do no harm is sent again, once.
    async fn pass(
        &self,
        agent: &AgentName,
        first: Member,
        head: request::Parts,
        mut body: Body,
        attempts: &mut u8,
    ) -> Result<Response<Body>, TransportError> {
        let mut member = first;
        let harmless = [Method::GET, Method::HEAD, Method::OPTIONS].contains(&head.method);
        let mut tried = Vec::new();
        let mut end = None;
        // After this one the server may have acted, whatever the next tunnel says.
        let mut unknown = None;
        *attempts = 1;
        loop {
            let again = body.try_clone().map(|copy| std::mem::replace(&mut body, copy));
            let error = match member.tunnel.send(Request::from_parts(head.clone(), body)).await {
                Ok(answer) => return Ok(cleaned(answer, *attempts)),
                Err(error) => error,
            };
            tried.push(member.id);
            // Those with a code are the agent's word about a server.
            let of_tunnel = error.kind() == ErrorKind::Relay && error.code().is_none();
            let not_sent = error.delivery() == Delivery::NotSent;
            let may_go_again = of_tunnel && (not_sent || harmless && unknown.is_none());
            let error = if not_sent { unknown.take().unwrap_or(error) } else { error };
            let end = *end.get_or_insert_with(|| later(Instant::now(), self.settings.patience));
            let next = match again.filter(|body| may_go_again && body.is_replayable()) {
                Some(body) => {
                    // Half, so that something is left for one that will go soon where no other comes.
                    let patience = end.saturating_duration_since(Instant::now()) / 2;
                    self.registry.wait(agent, &tried, patience).await.ok().zip(Some(body))
                }
                None => None,
            };
            let Some((next, next_body)) = next.filter(|_| Instant::now() < end) else {
                let more = *attempts > 1;
                return Err(if more { error.with_detail("hub_attempts", "2") } else { error });
            };
            (member, body) = (next, next_body);
            if error.delivery() != Delivery::NotSent {
                *attempts = 2;
                unknown = Some(error);
            }
        }
    }
}

/// Tunnels take heads up to a size, and end where they are larger.
fn small_enough(head: &request::Parts) -> Result<(), TransportError> {
    let size = tunnel::size(&head.headers) + head.uri.to_string().len();
    if size <= HEADERS {
        return Ok(());
    }
    let message = format!("the request's head has {size} bytes, and {HEADERS} may pass");
    Err(TransportError::new(ErrorKind::InvalidInput, Delivery::NotSent, message)
        .with_retryable(false)
        .with_detail(MAX_HEAD, HEADERS.to_string()))
}

/// The answer without what only hub and agent may say.
fn cleaned(mut answer: Response<Body>, attempts: u8) -> Response<Body> {
    fault::strip(answer.headers_mut());
    if attempts > 1 {
        answer.headers_mut().insert(ATTEMPTS, u16::from(attempts).into());
    }
    answer
}

fn offline(agent: &AgentName, absent: Absent) -> TransportError {
    let (code, message) = match absent {
        Absent::NeverSeen => (
            Code::RelayAgentNeverSeen,
            format!("the agent {agent} has never connected: is it installed, and is its access key right?"),
        ),
        Absent::Gone(seen) => {
            let ago = SystemTime::now().duration_since(seen).unwrap_or_default().as_secs();
            (
                Code::RelayAgentOffline,
                format!("the agent {agent} is not connected; it was here last {ago} seconds ago"),
            )
        }
        Absent::Refused(why) => (Code::RelayVersion, why),
    };
    TransportError::new(ErrorKind::Relay, Delivery::NotSent, message).with_code(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_agent_and_server_and_the_rest_stays_as_it_is() {
        for (path, agent, uri) in [
            (
                "/v1/agents/acme/https/git.test/g/r.git/info/refs?service=x",
                "acme",
                "https://git.test/g/r.git/info/refs?service=x",
            ),
            ("/v1/agents/acme/http/127.0.0.1:8080/", "acme", "http://127.0.0.1:8080/"),
            ("/v1/agents/acme/http/[::1]:80", "acme", "http://[::1]:80/"),
            (
                "/v1/agents/a.b/https/git.test//a/../%2e%2E/b%2Fc?",
                "a.b",
                "https://git.test//a/../%2e%2E/b%2Fc?",
            ),
        ] {
            let place = Place::of(&path.parse().unwrap()).unwrap();
            assert_eq!((place.agent.as_str(), place.uri.to_string().as_str()), (agent, uri));
        }
        for path in [
            "/",
            "/v1/agents/",
            "/v1/agents/acme",
            "/v1/agents/acme/https",
            "/v1/agents/acme/https/",
            "/v1/agents/acme/ftp/git.test/",
            "/v1/agents/acme/HTTPS/git.test/",
            "/v1/agents/%61cme/https/git.test/",
            "/v1/agents/acme/https/u@git.test/",
            "/v2/agents/acme/https/git.test/",
        ] {
            assert_eq!(Place::of(&path.parse().unwrap()), None, "{path}");
        }
    }

    #[test]
    fn redirects_within_the_server_stay_under_the_hub() {
        let place = Place::of(&"/v1/agents/acme/https/git.test/a/b?c".parse().unwrap()).unwrap();
        for (location, kept) in [
            ("https://git.test/x?y=%2F", "/v1/agents/acme/https/git.test/x?y=%2F"),
            ("https://git.test:443/x", "/v1/agents/acme/https/git.test/x"),
            ("/x", "/v1/agents/acme/https/git.test/x"),
            ("x", "/v1/agents/acme/https/git.test/a/x"),
            ("https://other.test/x", "https://other.test/x"),
            ("http://git.test/x", "http://git.test/x"),
            ("//other.test/x", "//other.test/x"),
        ] {
            let mut headers = HeaderMap::from_iter([(header::LOCATION, HeaderValue::from_static(location))]);
            place.keep_under_hub(&mut headers);
            assert_eq!(headers.get(header::LOCATION).unwrap(), kept, "{location}");
            let said = (location != kept).then_some(location);
            assert_eq!(headers.get(SAID).map(|said| said.to_str().unwrap()), said);
        }
    }
}
