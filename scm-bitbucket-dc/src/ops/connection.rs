use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use scm_core::check::climb;
use scm_core::{
    CheckOptions, CheckReport, Connection, Credential, Error, ErrorKind, Identity, Product, Result,
    ServerInfo, TokenInfo, TokenKind,
};
use secrecy::ExposeSecret as _;

use crate::check::Steps;
use crate::client::{BitbucketDc, api, rest_api};
use crate::wire::{WireAccessToken, WireProperties};

#[async_trait]
impl Connection for BitbucketDc {
    async fn check(&self, opts: &CheckOptions) -> CheckReport {
        climb(&Steps(self), opts).await
    }

    async fn identity(&self) -> Result<Identity> {
        let operation = self.operation("identity");
        let caller = self.caller(&operation).await?;
        self.identity_of(&operation, caller).await
    }

    async fn server(&self) -> Result<ServerInfo> {
        let operation = self.operation("server");
        let answer = operation.send(api(Method::GET, &["application-properties"])).await?;
        let wire: WireProperties = answer.json()?;
        let decode = |message: &str| answer.own(Error::new(ErrorKind::Decode, message));
        if !wire.is_bitbucket() {
            return Err(decode("another product of the same family answers (at 'displayName')"));
        }
        let version =
            wire.version.parse().map_err(|_: Error| decode("the version cannot be read (at 'version')"))?;
        Ok(ServerInfo::new(Product::BitbucketDataCenter, version, &wire.version))
    }

    /// The server tells nobody the scopes or the expiry of the token in use: what is known is its number, which stands
    /// in the token itself, and by its user what it belongs to.
    async fn token(&self) -> Result<Option<TokenInfo>> {
        let operation = self.operation("token");
        let caller = self.caller(&operation).await?;
        let name = caller.name.clone();
        let owner = self.identity_of(&operation, caller).await?;
        let mut out = TokenInfo::new();
        out.id = match self.pipeline.credentials().credential().await? {
            Credential::Token(secret) => token_id(secret.expose_secret()),
            _ => None,
        };
        out.kind = match owner.bot {
            Some(false) => Some(TokenKind::Personal),
            // Known to the server as a user, or not at all.
            Some(true) if owner.active.is_some() => Some(TokenKind::ServiceAccount),
            Some(true) => Some(TokenKind::Project),
            None => None,
        };
        if let (Some(id), Some(true)) = (&out.id, owner.active) {
            // Some versions tell more of a user's own tokens.
            let request =
                rest_api(Method::GET, "access-tokens", &["users", &name.as_str().to_lowercase(), id]);
            if let Ok(wire) =
                operation.send(request).await.and_then(|answer| answer.json::<WireAccessToken>())
            {
                out.name = wire.name;
                out.scopes = wire.permissions;
                out.expires_at = wire.expiry_date.and_then(|time| time.read()).map(|time| time.date());
            }
        }
        Ok(Some(out))
    }
}

/// The number that a token begins with, once it is decoded.
fn token_id(token: &str) -> Option<String> {
    let text = token.strip_prefix("BBDC-").unwrap_or(token);
    // The whole need not be padded; the number stands at the start, in groups of four.
    let whole = text.get(..text.len() / 4 * 4)?;
    let decoded = STANDARD.decode(whole).ok()?;
    let end = decoded.iter().position(|byte| *byte == b':')?;
    let id = std::str::from_utf8(decoded.get(..end)?).ok()?;
    (!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_begins_with_its_number() {
        let body = STANDARD.encode(b"252973515069:\x9e\xba\xff secret bytes");
        assert_eq!(token_id(&format!("BBDC-{body}")).as_deref(), Some("252973515069"));
        assert_eq!(token_id(&body).as_deref(), Some("252973515069"), "older ones have no prefix");
        for token in ["", "BBDC-", "glpat-x", "BBDC-####", "ZZZZ"] {
            assert_eq!(token_id(token), None, "{token}");
        }
    }
}
