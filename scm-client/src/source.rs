//! Where a secret or a certificate comes from: a file, a variable, or the configuration itself.

use std::fmt;
use std::path::{Path, PathBuf};

use scm_core::{Error, Result, read_secret};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// How every error about a source starts: it must hold nothing of what was there instead.
pub(crate) const EXPECTED: &str = "expected { file = \"...\" }, { env = \"NAME\" } or { value = \"...\" }";

/// One value from a file, a variable, or given in place. Never shown.
#[derive(Clone)]
#[non_exhaustive]
pub enum Source {
    /// The content of a file.
    File(PathBuf),
    /// The value of a variable.
    Variable(String),
    /// The value itself.
    Value(SecretString),
}

impl Source {
    /// The value: of a file the whole content, of anything else the text.
    ///
    /// # Errors
    /// `Config`, naming `what`, and the file or variable.
    pub(crate) fn bytes(&self, what: &str, dir: &Path, vars: Variables<'_>) -> Result<SecretSlice<u8>> {
        match self {
            Self::File(path) => {
                let path = dir.join(path);
                std::fs::read(&path).map(SecretSlice::from).map_err(|error| {
                    Error::config(format!(
                        "{what}: the file {} cannot be read: {}",
                        path.display(),
                        error.kind()
                    ))
                })
            }
            other => {
                let text = other.text(what, dir, vars)?;
                Ok(text.expose_secret().as_bytes().to_vec().into())
            }
        }
    }

    /// The same, as text.
    ///
    /// # Errors
    /// Those of [`bytes`](Self::bytes), and for what is no UTF-8.
    pub(crate) fn text(&self, what: &str, dir: &Path, vars: Variables<'_>) -> Result<SecretString> {
        match self {
            Self::File(_) => {
                let bytes = self.bytes(what, dir, vars)?;
                let text = std::str::from_utf8(bytes.expose_secret());
                let text =
                    text.map_err(|_| Error::config(format!("{what}: the file is no text, such as PEM")))?;
                Ok(text.to_owned().into())
            }
            Self::Variable(name) => match vars(name) {
                Some(value) if !value.trim().is_empty() => Ok(SecretString::from(value.trim().to_owned())),
                _ => Err(Error::config(format!("{what}: the variable {name} is not set"))),
            },
            Self::Value(value) if value.expose_secret().trim().is_empty() => {
                Err(Error::config(format!("{what}: the value is empty")))
            }
            Self::Value(value) => Ok(value.clone()),
        }
    }

    /// A secret of one line.
    pub(crate) fn secret(&self, what: &str, dir: &Path, vars: Variables<'_>) -> Result<SecretString> {
        match self {
            Self::File(path) => read_secret(&dir.join(path))
                .map_err(|error| Error::config(format!("{what}: {}", error.message()))),
            other => other.text(what, dir, vars),
        }
    }
}

/// Looks up a variable by name. Libraries never read the environment: programs pass `std::env::var`.
pub type Variables<'a> = &'a (dyn Fn(&str) -> Option<String> + Sync);

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Variable(name) => write!(f, "Variable({name})"),
            Self::Value(_) => f.write_str("Value([redacted])"),
        }
    }
}

/// Where the access token is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TokenSource {
    /// Here.
    Here(Source),
    /// With the agent, which puts it on each request.
    Agent,
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = Source;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Source, A::Error> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            file: Option<PathBuf>,
            env: Option<String>,
            value: Option<SecretText>,
        }
        let fields = Fields::deserialize(MapAccessDeserializer::new(map));
        match fields {
            Ok(Fields { file: Some(path), env: None, value: None }) => Ok(Source::File(path)),
            Ok(Fields { file: None, env: Some(name), value: None }) => Ok(Source::Variable(name)),
            Ok(Fields { file: None, env: None, value: Some(SecretText(text)) }) => Ok(Source::Value(text)),
            // Whatever stood there may be a secret.
            _ => Err(serde::de::Error::custom(EXPECTED)),
        }
    }
}

struct SecretText(SecretString);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(text.into()))
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// A source, or plain text as its value: proxy URLs are written so.
        struct OrText;

        impl<'de> Visitor<'de> for OrText {
            type Value = Source;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Source, E> {
                Ok(Source::Value(text.to_owned().into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Source, A::Error> {
                SourceVisitor.visit_map(map)
            }
        }

        deserializer.deserialize_any(OrText)
    }
}

impl<'de> Deserialize<'de> for TokenSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OrAgent;

        impl<'de> Visitor<'de> for OrAgent {
            type Value = TokenSource;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TokenSource, E> {
                // A token written as plain text ends up in backups and reviews: it takes the word `value`.
                if text == "agent" {
                    Ok(TokenSource::Agent)
                } else {
                    Err(E::custom(format!("{EXPECTED}, or \"agent\"")))
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TokenSource, A::Error> {
                SourceVisitor.visit_map(map).map(TokenSource::Here)
            }
        }

        deserializer.deserialize_any(OrAgent)
    }
}
