//! The real engine: a Kafka-format log, a broker and a client that speak the Kafka protocol, and a stream processor
//! whose output is a pure function of the log.
//!
//! Start with [`env::point`], the list of moments at which a crash hurts; then [`log`], [`broker`], [`stream`].
//!
//! What is absent: the engine reads no clock, opens no socket or file and draws no random number except through
//! [`env`]; it knows nothing of the simulator; no `Drop` does I/O.

#[macro_use]
pub mod mutant;

pub mod broker;
pub mod client;
pub mod env;
pub mod log;
pub mod record;
pub mod schema;
pub mod stream;
pub mod types;
pub mod wire;
