//! The analysis, from outside: repositories in, changed texts and explanations out.

mod advisories;
mod cargo;
mod demo;
mod explain;
mod garbage;
mod maven;
mod npm;
mod pip;
mod stale;
mod support;
mod versions;
