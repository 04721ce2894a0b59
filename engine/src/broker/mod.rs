//! A broker: Kafka requests against the logs of this process.

mod config;
mod error;

use std::sync::Arc;

pub use config::BrokerConfig;
pub use error::BrokerError;

use crate::env::Env;
use crate::wire::Transport;

/// A running broker; a handle, cheap to clone, usable from any runtime.
#[derive(Clone)]
pub struct Broker {
    inner: Arc<()>,
}

impl Broker {
    /// Locks the data directory, recovers its logs and transactions, and begins to write. Its tasks live on the runtime
    /// that this is called on.
    pub async fn start(_env: Env, _config: BrokerConfig) -> Result<Broker, BrokerError> {
        todo!()
    }

    /// Listens on `address` and answers until [`Broker::stop`].
    pub async fn serve(&self, _address: &str) -> Result<(), BrokerError> {
        todo!("{:?}", self.inner)
    }

    /// The way in from this process: the same entry point, no encoding.
    pub fn local(&self) -> Arc<dyn Transport> {
        todo!()
    }

    /// Ends every call and connection, then writes and syncs what is queued.
    pub async fn stop(&self) {
        todo!()
    }

    /// Resolves when a write or sync failed: what is durable is unknown, and the process must end.
    pub async fn failed(&self) -> BrokerError {
        todo!()
    }
}
