//! Stand-ins for source control servers: simulators that hold real git repositories, fault injection and seed data.
//!
//! The simulators listen on loopback, keep state the way the products do (a commit changes the tree, a merge request
//! shows its diff, a pipeline moves through its states) and answer field by field as the products answer. They need
//! the `git` program.
//!
//! ```no_run
//! # async fn example() -> Result<(), scm_testkit::sim::SimError> {
//! use scm_testkit::sim::gitlab::GitLabSim;
//!
//! let sim = GitLabSim::builder().context_path("/gitlab").seed_demo().start().await?;
//! println!("{} {}", sim.url(), sim.tokens()[0].token);
//! sim.shutdown().await;
//! # Ok(())
//! # }
//! ```

// Answers of the servers are written as single large `json!` values.
#![recursion_limit = "256"]

pub mod canary;
pub mod conformance;
pub mod fault;
pub mod seed;
pub mod sim;
