#![doc = include_str!("../README.md")]

mod align;
mod check;
mod client;
mod config;
mod convert;
mod diff;
mod error;
mod exact;
mod merge;
mod ops;
mod page;
mod user;
mod wire;

pub use client::BitbucketDc;
pub use config::BitbucketDcConfig;
