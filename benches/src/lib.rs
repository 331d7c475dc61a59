//! What the benchmarks share: a transport that answers from memory, and listings by our client and by hand.

mod by_hand;
mod memory;
pub mod project;
mod walk;

pub use by_hand::ByHand;
pub use memory::{Memory, gitlab, projects};
pub use project::Project;
pub use walk::Walk;
