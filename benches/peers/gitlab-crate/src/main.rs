//! The `gitlab` crate: the first line on standard input is the token; for each further one it walks over the whole listing
//! once. Argument: URL.

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
    let url = std::env::args().nth(1).ok_or("usage: gitlab-crate URL")?;
    let mut lines = stdin().lines();
    let token = lines.next().ok_or("no token on standard input")??;
    let host = url.strip_prefix("http://").ok_or("an address with http://")?;
    let client = GitlabBuilder::new(host, token).insecure().build_async().await?;
    let endpoint = Projects::builder()
        .membership(true)
        .archived(false)
        .order_by(ProjectOrderBy::Id)
        .sort(SortOrder::Ascending)
        .build()?;
    for line in lines {
        line?;
        let found: Vec<project::Project> = paged(&endpoint, Pagination::All).query_async(&client).await?;
        writeln!(stdout(), "{}", found.len())?;
    }
    Ok(())
}
