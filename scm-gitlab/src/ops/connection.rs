use async_trait::async_trait;
use http::Method;
use scm_core::check::climb;
use scm_core::{
    CheckOptions, CheckReport, Connection, Error, ErrorKind, Identity, Product, Result, ServerInfo, TokenInfo,
};

use crate::check::Steps;
use crate::client::{GitLab, api};
use crate::convert;
use crate::wire::{WireMetadata, WireToken, WireVersion};

#[async_trait]
impl Connection for GitLab {
    async fn check(&self, opts: &CheckOptions) -> CheckReport {
        climb(&Steps(self), opts).await
    }

    async fn identity(&self) -> Result<Identity> {
        self.operation("identity").send(api(Method::GET, &["user"])).await?.read(convert::identity)
    }

    async fn server(&self) -> Result<ServerInfo> {
        let operation = self.operation("server");
        let (version_text, enterprise) = match operation.send(api(Method::GET, &["metadata"])).await {
            Ok(answer) => {
                let wire: WireMetadata = answer.json()?;
                (wire.version, wire.enterprise)
            }
            // Hidden by some gateways that let the older call through.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let answer = operation.send(api(Method::GET, &["version"])).await?;
                (answer.json::<WireVersion>()?.version, None)
            }
            Err(error) => return Err(error),
        };
        let version = version_text.parse().map_err(|_: Error| {
            operation.own(Error::new(ErrorKind::Decode, "the version cannot be read (at 'version')"))
        })?;
        let mut server = ServerInfo::new(Product::GitLab, version, &version_text);
        server.edition = match enterprise {
            Some(true) => Some("ee".to_owned()),
            Some(false) => Some("ce".to_owned()),
            None => version_text.contains("-ee").then(|| "ee".to_owned()),
        };
        Ok(server)
    }

    async fn token(&self) -> Result<Option<TokenInfo>> {
        let request = api(Method::GET, &["personal_access_tokens", "self"]);
        let wire = match self.operation("token").send(request).await {
            Ok(answer) => answer.json::<WireToken>()?,
            // OAuth and job tokens have no such page; a scope may be too small for it.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        // Whose it is tells its kind; a token without the scope for that still has its own facts.
        let owner = self.identity().await.ok();
        Ok(Some(convert::token_info(wire, owner.as_ref())))
    }
}
