#![doc = include_str!("../README.md")]

pub mod agent;
mod body;
mod fault;
mod tunnel;
mod wire;
