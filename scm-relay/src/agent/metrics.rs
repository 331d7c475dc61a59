//! What an agent counts, for Prometheus.

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::connect::VERSION;

/// Seconds: REST is fast, a clone is not.
const SECONDS: [f64; 11] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0];

/// All of an agent's.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) tunnels: Gauge,
    pub(crate) opened: Counter,
    pub(crate) failures: Family<Label, Counter>,
    pub(crate) in_flight: Gauge,
    pub(crate) requests: Family<Pair, Counter>,
    pub(crate) seconds: Histogram,
    pub(crate) bytes: Family<Label, Counter>,
}

/// `code` of a failure, or `direction` of bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Label(pub(crate) &'static str, pub(crate) &'static str);

/// Where a request went, and how it ended: never to more origins than are allowed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Pair {
    pub(crate) origin: String,
    pub(crate) outcome: &'static str,
}

impl EncodeLabelSet for Label {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [(self.0, self.1)].encode(encoder)
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("scm_agent");
        let mut this = Self {
            registry: Registry::default(),
            tunnels: Gauge::default(),
            opened: Counter::default(),
            failures: Family::default(),
            in_flight: Gauge::default(),
            requests: Family::default(),
            seconds: Histogram::new(SECONDS),
            bytes: Family::default(),
        };
        registry.register("build", "The version of this agent", Info::new([("version", VERSION)]));
        registry.register("tunnels", "Tunnels to the hub that are open", this.tunnels.clone());
        registry.register("tunnels_opened", "Tunnels that were opened", this.opened.clone());
        let help = "Tunnels that could not be opened, by what was wrong";
        registry.register("tunnel_failures", help, this.failures.clone());
        registry.register(
            "requests_in_flight",
            "Requests whose answers are not over",
            this.in_flight.clone(),
        );
        let help = "Requests that are over, by server and outcome";
        registry.register("requests", help, this.requests.clone());
        registry.register(
            "request_seconds",
            "How long requests took, to the last byte",
            this.seconds.clone(),
        );
        let help = "Bytes of bodies, to servers and from them";
        registry.register("bytes", help, this.bytes.clone());
        this.registry = registry;
        this
    }

    /// In the text form of OpenMetrics.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // A String takes everything.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
