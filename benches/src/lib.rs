//! What the benchmarks share: a transport that answers from memory, listings by our client and by hand, and
//! the programs they run in.

mod by_hand;
mod memory;
mod process;
pub mod project;
mod walk;

pub use by_hand::ByHand;
pub use memory::{Memory, gitlab, projects};
pub use process::{Cost, Process};
pub use project::Project;
pub use walk::Walk;
