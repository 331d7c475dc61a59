use std::io;

use crate::fault::program::Program;

/// squid or tinyproxy as it is installed, in a process of its own, on a port of its own. Dropping it ends it.
///
/// Where it is not installed there is none, which is said aloud; with the variable `CI` set to `true` that is an error.
#[derive(Debug)]
pub struct RealProxy(Program);

impl RealProxy {
    /// squid with these lines in its configuration, such as `http_access allow all`. `acl NAME proxy_auth REQUIRED` lets
    /// the user `svc` in with the password `p@ss`.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn squid(rules: &str) -> io::Result<Option<Self>> {
        Self::there("squid", Program::squid(rules, &[]).await?)
    }

    /// tinyproxy with these lines in its configuration. `Filter "DIR/filter"` forbids `bad.test`.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn tinyproxy(rules: &str) -> io::Result<Option<Self>> {
        Self::there("tinyproxy", Program::tinyproxy(rules, &[("filter", "^bad\\.test$\n")]).await?)
    }

    #[expect(clippy::print_stderr, reason = "a skipped test says why")]
    #[expect(clippy::disallowed_methods, reason = "whether a skip is a failure is told by CI alone")]
    fn there(program: &str, found: Option<Program>) -> io::Result<Option<Self>> {
        if found.is_none() {
            if std::env::var("CI").is_ok_and(|ci| ci == "true") {
                return Err(io::Error::new(io::ErrorKind::NotFound, format!("{program} is not installed")));
            }
            eprintln!("skipped: {program} is not installed");
        }
        Ok(found.map(Self))
    }

    /// `http://` and the address, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.0.address())
    }

    /// The same with a user name and password, percent-encoded already.
    #[must_use]
    pub fn url_with(&self, userinfo: &str) -> String {
        format!("http://{userinfo}@{}", self.0.address())
    }

    /// How many requests and tunnels it has been asked for, those that are over at least.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub fn requests(&self) -> io::Result<usize> {
        self.0.requests()
    }
}
