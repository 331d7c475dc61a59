//! What a hub counts, for Prometheus.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::registry::AgentStatus;

/// Seconds: REST is fast, a clone is not.
const SECONDS: [f64; 11] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0];

/// All of a hub's. Agents are those that have a key, so that there are only so many of them.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    tunnels: Family<OfAgent, Gauge>,
    in_flight: Family<OfAgent, Gauge>,
    pub(crate) opened: Family<OfAgent, Counter>,
    pub(crate) over: Family<Reason, Counter>,
    pub(crate) refused: Family<Reason, Counter>,
    pub(crate) requests: Family<Ended, Counter>,
    pub(crate) repeated: Family<OfAgent, Counter>,
    pub(crate) seconds: Histogram,
    pub(crate) bytes: Family<Moved, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfAgent {
    pub(crate) agent: String,
}

/// Why a tunnel is over, or was not opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    pub(crate) reason: &'static str,
}

/// How a request ended: `2xx` to `5xx` of the server, a code or kind of a failure, or `cancelled`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Ended {
    pub(crate) agent: String,
    pub(crate) outcome: String,
}

/// Bytes of bodies, `to_server` or `from_server`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Moved {
    pub(crate) agent: String,
    pub(crate) direction: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("scm_hub");
        let mut this = Self {
            registry: Registry::default(),
            tunnels: Family::default(),
            in_flight: Family::default(),
            opened: Family::default(),
            over: Family::default(),
            refused: Family::default(),
            requests: Family::default(),
            repeated: Family::default(),
            seconds: Histogram::new(SECONDS),
            bytes: Family::default(),
        };
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version of this hub", version);
        registry.register("tunnels", "Tunnels that are open", this.tunnels.clone());
        let help = "Requests whose answers are not over";
        registry.register("requests_in_flight", help, this.in_flight.clone());
        registry.register("tunnels_opened", "Tunnels that were opened", this.opened.clone());
        registry.register("tunnels_over", "Tunnels that are over, by reason", this.over.clone());
        let help = "Callers that were not let in, by reason";
        registry.register("refused", help, this.refused.clone());
        registry.register("requests", "Requests that are over, by outcome", this.requests.clone());
        let help = "Requests that took a second tunnel";
        registry.register("requests_repeated", help, this.repeated.clone());
        let help = "How long requests took, to the last byte";
        registry.register("request_seconds", help, this.seconds.clone());
        let help = "Bytes of bodies, to servers and from them";
        registry.register("bytes", help, this.bytes.clone());
        this.registry = registry;
        this
    }

    /// In the text form of OpenMetrics, with how agents stand now.
    pub(crate) fn text(&self, agents: &[AgentStatus]) -> String {
        for status in agents {
            let agent = OfAgent { agent: status.name.to_string() };
            let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
            self.tunnels.get_or_create(&agent).set(number(status.tunnels));
            self.in_flight.get_or_create(&agent).set(number(status.in_flight));
        }
        let mut text = String::new();
        // A String takes everything.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
