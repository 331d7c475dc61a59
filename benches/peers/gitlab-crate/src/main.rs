//! The `gitlab` crate: walks over the whole listing once for each line on standard input. Arguments: URL, token.

use std::error::Error;
use std::io::{Write as _, stdin, stdout};

use gitlab::GitlabBuilder;
use gitlab::api::common::SortOrder;
use gitlab::api::projects::{ProjectOrderBy, Projects};
use gitlab::api::{AsyncQuery as _, Pagination, paged};

// The fields that the other clients read; here nobody reads on.
#[allow(dead_code, reason = "what counts is that they were decoded")]
#[path = "../../../src/project.rs"]
mod project;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(url), Some(token)) = (args.next(), args.next()) else {
        return Err("usage: gitlab-crate URL TOKEN".into());
    };
    let host = url.strip_prefix("http://").ok_or("an address with http://")?;
    let client = GitlabBuilder::new(host, token).insecure().build_async().await?;
    let endpoint = Projects::builder()
        .membership(true)
        .archived(false)
        .order_by(ProjectOrderBy::Id)
        .sort(SortOrder::Ascending)
        .build()?;
    for line in stdin().lines() {
        line?;
        let found: Vec<project::Project> = paged(&endpoint, Pagination::All).query_async(&client).await?;
        writeln!(stdout(), "{}", found.len())?;
    }
    Ok(())
}
