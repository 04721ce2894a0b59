//! The stream engine without a broker: tasks over a log in memory, against a model that knows nothing of them.

mod audit;
mod examples;
mod laws;
mod memory;
mod model;
mod properties;
mod shape;
