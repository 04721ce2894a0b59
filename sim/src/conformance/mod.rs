//! What every implementation of [`engine::env`] must do: one body of laws, run against the machine and against the
//! simulated world.
//!
//! In: an [`Env`](engine::env::Env). Out: a panic that names the law. Always: the laws ask only for what both worlds
//! promise, so an engine that leans on nothing else behaves the same in both.

pub mod disk;
pub mod network;
