//! The agent: dials the hub, and carries out what its policy allows.

mod policy;
mod presets;

pub use policy::{Allow, Policy};
