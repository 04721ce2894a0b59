//! A broker on the real disk, through both transports.
//!
//! A test's world is a directory that outlives its brokers: each runs on a runtime of its own, and a crash is that
//! runtime's end at a named point. What was written stays, as after a kill.

mod protocol;
mod restarts;
mod transactions;
mod wire;
mod world;
