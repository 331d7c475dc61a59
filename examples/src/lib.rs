//! What the example programs share.
//!
//! [`analysis`] is the pure half of `remediate`: it finds vulnerable dependencies in the text of a repository's
//! manifests and lock files and says which bytes have to change. It knows no server, no network and no clock.
//! [`connections`] opens what a configuration file names, or the embedded demonstration. [`output`] prints.

pub mod analysis;
pub mod connections;
pub mod output;
