//! Keys by which agents and services prove themselves. Only their hashes are stored.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use scm_core::{Error, ErrorKind, Result};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Valid at once, so that a key can be replaced without a gap.
const AT_ONCE: usize = 2;

/// The name of an agent: letters, digits, `-`, `_` and `.`, up to 64 of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentName(String);

impl AgentName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AgentName {
    type Err = Error;

    /// # Errors
    /// `Config` for anything else.
    fn from_str(text: &str) -> Result<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if text.is_empty() || text.len() > 64 || text.starts_with('.') || !text.chars().all(fits) {
            return Err(Error::config(
                "the name of an agent has 1 to 64 letters, digits, '-', '_' and '.', such as acme",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for AgentName {
    type Error = Error;

    /// # Errors
    /// `Config` for what is no name.
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<AgentName> for String {
    fn from(name: AgentName) -> Self {
        name.0
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is stored of a key, written `sha256:` and 64 hexadecimal digits.
///
/// A key has 256 random bits, so that a plain hash of it tells nothing.
#[derive(Clone, Copy, Debug)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Of this key.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }
}

impl PartialEq for KeyHash {
    /// Takes the same time wherever they differ.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyHash {}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for KeyHash {
    type Err = Error;

    /// # Errors
    /// `Config` for anything else.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::config("the hash of a key is written sha256: and 64 hexadecimal digits");
        let digits = text.strip_prefix("sha256:").filter(|digits| digits.len() == 64).ok_or_else(wrong)?;
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(hash))
    }
}

/// A key that was just made. It is shown once; the hash is for the hub's configuration.
#[derive(Debug)]
#[non_exhaustive]
pub struct NewKey {
    /// For the agent or the service.
    pub secret: SecretString,
    /// For the hub.
    pub hash: KeyHash,
}

impl NewKey {
    /// Makes a key of 256 random bits.
    ///
    /// # Errors
    /// `Internal` when the system gives no random bytes.
    pub fn generate() -> Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|_| Error::new(ErrorKind::Internal, "the system gives no random bytes"))?;
        let secret = format!("scmhub-{}", URL_SAFE_NO_PAD.encode(bytes));
        Ok(Self { hash: KeyHash::of(&secret), secret: secret.into() })
    }
}

/// Who may connect, and who may use whom.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    agents: Vec<(AgentName, KeyHash)>,
    services: Vec<Arc<Service>>,
}

/// A service, by one of its keys.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) name: String,
    hash: KeyHash,
    agents: BTreeSet<AgentName>,
}

impl Service {
    pub(crate) fn may_use(&self, agent: &AgentName) -> bool {
        self.agents.contains(agent)
    }

    pub(crate) fn agents(&self) -> impl Iterator<Item = &AgentName> {
        self.agents.iter()
    }
}

impl Keys {
    /// Nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the agent `name` connect with the key that has this hash. A second key of an agent is for its rotation.
    ///
    /// # Errors
    /// `Config` for a third key of one agent.
    pub fn with_agent(mut self, name: AgentName, hash: KeyHash) -> Result<Self> {
        if self.agents.iter().filter(|(known, _)| *known == name).count() >= AT_ONCE {
            return Err(Error::config(format!(
                "the agent {name} has more than {AT_ONCE} keys: take out those that are no longer used"
            )));
        }
        self.agents.push((name, hash));
        Ok(self)
    }

    /// Lets a service use these agents with the key that has this hash.
    #[must_use]
    pub fn with_service(
        mut self,
        name: impl Into<String>,
        hash: KeyHash,
        agents: impl IntoIterator<Item = AgentName>,
    ) -> Self {
        let agents = agents.into_iter().collect();
        self.services.push(Arc::new(Service { name: name.into(), hash, agents }));
        self
    }

    /// The agent that has this key.
    pub(crate) fn agent(&self, key: &str) -> Option<(AgentName, KeyHash)> {
        let hash = KeyHash::of(key);
        self.agents.iter().rev().find(|(_, known)| *known == hash).cloned()
    }

    /// The service that has this key.
    pub(crate) fn service(&self, key: &str) -> Option<Arc<Service>> {
        let hash = KeyHash::of(key);
        self.services.iter().find(|service| service.hash == hash).cloned()
    }

    /// Is this still a key of the agent?
    pub(crate) fn holds(&self, name: &AgentName, hash: KeyHash) -> bool {
        self.agents.iter().any(|(known, stored)| known == name && *stored == hash)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_key_is_found_by_its_hash_alone() {
        let key = NewKey::generate().unwrap();
        let secret = key.secret.expose_secret();
        // 32 bytes in base64, after the prefix.
        assert_eq!((secret.len(), secret.starts_with("scmhub-")), (7 + 43, true));
        assert_ne!(secret, NewKey::generate().unwrap().secret.expose_secret());
        let stored: KeyHash = key.hash.to_string().parse().unwrap();
        let acme: AgentName = "acme".parse().unwrap();
        let keys = Keys::new().with_agent(acme.clone(), stored).unwrap();
        assert_eq!(keys.agent(secret).unwrap().0, acme);
        assert!(keys.agent("scmhub-other").is_none() && keys.agent("").is_none());
        assert!(keys.service(secret).is_none(), "an agent is no service");
        assert!(!format!("{key:?} {keys:?}").contains(secret));
    }

    #[test]
    fn the_hash_is_the_standard_one() {
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(KeyHash::of("abc").to_string(), text);
        assert_eq!(text.parse::<KeyHash>().unwrap(), KeyHash::of("abc"));
        for wrong in ["", "sha256:", "abc", &text[..70], &text.replace("ba78", "zz78"), &format!("{text}00")]
        {
            assert_eq!(wrong.parse::<KeyHash>().unwrap_err().kind(), ErrorKind::Config, "{wrong}");
        }
    }

    #[test]
    fn two_keys_are_valid_at_once_and_a_third_is_refused() {
        let acme: AgentName = "acme".parse().unwrap();
        let keys = Keys::new()
            .with_agent(acme.clone(), KeyHash::of("old"))
            .unwrap()
            .with_agent(acme.clone(), KeyHash::of("new"))
            .unwrap()
            .with_agent("other".parse().unwrap(), KeyHash::of("x"))
            .unwrap();
        assert!(keys.agent("old").is_some() && keys.agent("new").is_some());
        assert!(keys.holds(&acme, KeyHash::of("old")) && !keys.holds(&acme, KeyHash::of("x")));
        let error = keys.with_agent(acme, KeyHash::of("third")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }

    #[test]
    fn a_service_uses_the_agents_it_was_given() {
        let keys = Keys::new().with_service("fixer", KeyHash::of("k"), ["acme".parse().unwrap()]);
        let service = keys.service("k").unwrap();
        assert_eq!(service.name, "fixer");
        assert!(service.may_use(&"acme".parse().unwrap()));
        assert!(!service.may_use(&"other".parse().unwrap()));
        assert!(keys.agent("k").is_none(), "a service is no agent");
    }

    #[test]
    fn names_of_agents_fit_into_a_path() {
        for (name, fits) in [
            ("acme", true),
            ("acme-eu.2_x", true),
            ("", false),
            ("..", false),
            ("a/b", false),
            ("a b", false),
        ] {
            assert_eq!(name.parse::<AgentName>().is_ok(), fits, "{name}");
        }
        assert!("a".repeat(65).parse::<AgentName>().is_err());
    }
}
