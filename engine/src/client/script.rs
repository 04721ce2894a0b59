//! A transport that answers by a script: what the broker would say, and what the network does to it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kafka_protocol::messages::{RequestKind, ResponseKind};

use super::{Client, ClientConfig};
use crate::env::BoxFuture;
use crate::env::real::{EnvOptions, env};
use crate::wire::{Transport, TransportError};

/// What happens to one request.
pub enum Step {
    /// It is answered.
    Answer(Box<dyn FnOnce(&RequestKind) -> ResponseKind + Send>),
    /// The connection breaks: it may have taken effect.
    Lose,
    /// No answer ever comes.
    Hang,
}

pub fn answer<R: Into<ResponseKind> + Send + 'static>(response: R) -> Step {
    Step::Answer(Box::new(move |_| response.into()))
}

pub fn with<R: Into<ResponseKind>>(make: impl FnOnce(&RequestKind) -> R + Send + 'static) -> Step {
    Step::Answer(Box::new(move |request| make(request).into()))
}

#[derive(Default)]
pub struct Script {
    steps: Mutex<VecDeque<Step>>,
    seen: Mutex<Vec<RequestKind>>,
}

impl Script {
    /// A client whose requests meet `steps`, in order.
    pub fn client(steps: Vec<Step>) -> (Client, Arc<Script>) {
        let script = Arc::new(Script { steps: Mutex::new(steps.into()), seen: Mutex::default() });
        let config = ClientConfig { retry_for: Duration::from_secs(20), ..ClientConfig::default() };
        let env = env(EnvOptions { log: false, ..EnvOptions::default() });
        (Client::new(env, Arc::clone(&script) as Arc<dyn Transport>, config), script)
    }

    /// The requests so far; forgets them.
    pub fn seen(&self) -> Vec<RequestKind> {
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn then(&self, steps: Vec<Step>) {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).extend(steps);
    }
}

impl Transport for Script {
    fn call(&self, version: i16, request: RequestKind) -> BoxFuture<'_, Result<ResponseKind, TransportError>> {
        let key = crate::wire::frame::request_key(&request).expect("one of ours");
        assert_eq!(version, crate::wire::api::latest(key));
        let step = self.steps.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let step = step.unwrap_or_else(|| panic!("the script is over at {request:?}"));
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        Box::pin(async move {
            match step {
                Step::Answer(make) => Ok(make(&request)),
                Step::Lose => {
                    Err(TransportError::Broken { address: "script".to_owned(), reason: "as written".to_owned() })
                }
                Step::Hang => std::future::pending().await,
            }
        })
    }
}
