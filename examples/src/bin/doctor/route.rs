//! Which way requests take where there is a proxy with exceptions.

use std::io::BufRead as _;
use std::process::ExitCode;

use clap::Args;
use scm_client::transport::{NoProxy, Proxies};
use scm_core::{Error, Result, redact};
use scm_examples::output::{print, print_json, warn};

/// Tells for each URL whether requests go through the proxy or straight to the server, and why, by the very rules that
/// connections follow. Nothing is sent and no name is resolved.
#[derive(Args, Debug)]
#[command(after_help = "\
Rules of noProxy, in short:
  company.com       the name and every name under it; .company.com is the same
  *.company.com     the names under it only
  10.0.0.0/8        URLs whose host is written as an address in that network
  host:8443         the same on that port only
  *                 everything
  localhost and loopback addresses are direct without an entry.

Examples:
  doctor route --proxy http://proxy.company.com:3128 --no-proxy .company.com,10.0.0.0/8 https://gitlab.company.com
  echo '{\"no_proxy\":\".svc\",\"url\":\"https://git.default.svc/\"}' | doctor route --stdin

Exit codes: 0 every URL has its answer, 2 wrong usage, such as a URL without a valid host.")]
pub(crate) struct Route {
    /// The proxy, for http and https URLs alike. Only looked at: it must be one that connections could take.
    #[arg(long, value_name = "URL", conflicts_with = "stdin")]
    proxy: Option<String>,
    /// The exceptions, between commas or blanks. An entry that cannot be read is ignored, and told.
    #[arg(
        long,
        value_name = "LIST",
        default_value = "",
        hide_default_value = true,
        conflicts_with = "stdin"
    )]
    no_proxy: String,
    /// Send localhost and loopback addresses through the proxy too.
    #[arg(long)]
    proxy_loopback: bool,
    /// Read lines {"no_proxy": LIST, "url": URL} from standard input and write lines {"route", "because"}; the route is
    /// direct, proxy, or refused for a URL without a valid host.
    #[arg(long)]
    stdin: bool,
    /// What is to be reached, with its scheme, such as `https://gitlab.company.com`.
    #[arg(required_unless_present = "stdin", conflicts_with = "stdin")]
    url: Vec<String>,
}

#[derive(serde::Deserialize)]
struct Question {
    no_proxy: String,
    url: String,
}

impl Route {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        if self.stdin { self.answer_lines() } else { self.answer_urls() }
    }

    fn parse(&self, list: &str) -> NoProxy {
        let list = NoProxy::parse(list);
        if self.proxy_loopback { list.with_proxied_loopback() } else { list }
    }

    fn answer_urls(&self) -> Result<ExitCode> {
        if let Some(proxy) = &self.proxy {
            Proxies::new()
                .with_https_proxy(&proxy.as_str().into())
                .map_err(|error| Error::config(error.message().replacen("https_proxy", "--proxy", 1)))?;
        }
        let list = self.parse(&self.no_proxy);
        for malformed in list.malformed() {
            warn(&format!("--no-proxy: an entry is ignored: {malformed}"));
        }
        let mut code = ExitCode::SUCCESS;
        for url in &self.url {
            let decision = list.decide_text(url);
            if decision.as_str() == "refused" {
                code = ExitCode::from(2);
            }
            print(&format!("{:<7} {}  {}\n", decision.as_str(), redact::line(url), decision.because()))?;
        }
        Ok(code)
    }

    fn answer_lines(&self) -> Result<ExitCode> {
        let mut last = (String::new(), self.parse(""));
        for (index, line) in std::io::stdin().lock().lines().enumerate() {
            let fault = |what: &str| Error::config(format!("standard input, line {}: {what}", index + 1));
            let line = line.map_err(|error| fault(&error.kind().to_string()))?;
            if line.trim().is_empty() {
                continue;
            }
            let Question { no_proxy, url } = serde_json::from_str(&line)
                .map_err(|_| fault("not a JSON object with the texts `no_proxy` and `url`"))?;
            // Lists are long, and asked about many times.
            if no_proxy != last.0 {
                last = (no_proxy.clone(), self.parse(&no_proxy));
            }
            let decision = last.1.decide_text(&url);
            print_json(&serde_json::json!({ "route": decision.as_str(), "because": decision.because() }))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
