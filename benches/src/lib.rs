//! What the benchmarks share: a transport that answers from memory, listings by our client and by hand, commits by our
//! client and by git, and the programs they run in.

mod by_hand;
mod commit;
mod memory;
mod process;
pub mod project;
mod proxy;
mod relay;
mod serve;
mod walk;

pub use by_hand::ByHand;
pub use commit::{ByGit, ByScm, Task};
pub use memory::{Memory, gitlab, projects};
pub use process::{Cost, Process, peak};
pub use project::Project;
pub use proxy::{Proxy, Traffic};
pub use relay::{AGENT, AUTHORITY, SERVICE};
pub use serve::{CERTIFICATE, KEY, serve};
pub use walk::Walk;
