//! The check ladder for Bitbucket: what stands above the network.

use scm_core::{CheckOptions, CheckReport};

use crate::client::{BitbucketDc, PROVIDER};

pub(crate) async fn climb(bitbucket: &BitbucketDc, _opts: &CheckOptions) -> CheckReport {
    CheckReport::new(PROVIDER, bitbucket.pipeline.base(), bitbucket.pipeline.transport().route())
}
