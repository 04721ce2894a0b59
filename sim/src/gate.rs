//! Whether a host runs: what every call out of the engine passes through.
//!
//! In: freeze and thaw, from the world or from a point that was told to crash. Out: futures and streams that deliver
//! nothing while the gate is shut, also what was under way before. Always: waiters wake in the order in which they came,
//! and a shut gate never asks the inner future, so that no effect of it happens either.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// One incarnation of a host. Cheap to clone; every clone is the same gate.
#[derive(Clone, Default)]
pub struct Gate(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    frozen: bool,
    waiting: Vec<Waker>,
}

impl Gate {
    /// From now on nothing gets through.
    pub fn freeze(&self) {
        self.lock().frozen = true;
    }

    /// Everything goes on where it stood.
    pub fn thaw(&self) {
        let waiting = {
            let mut state = self.lock();
            state.frozen = false;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    pub fn is_frozen(&self) -> bool {
        self.lock().frozen
    }

    /// Ready while the gate is open; otherwise the task is woken when it opens.
    pub fn poll_open(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if !state.frozen {
            return Poll::Ready(());
        }
        if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Waits until the gate is open.
    pub async fn open(&self) {
        std::future::poll_fn(|cx| self.poll_open(cx)).await;
    }

    /// `future`, which neither moves on nor delivers its result while the gate is shut.
    pub fn hold<'a, T>(&self, future: impl Future<Output = T> + Send + 'a) -> Held<'a, T> {
        Held { gate: self.clone(), future: Box::pin(future) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A future behind a [`Gate`].
pub struct Held<'a, T> {
    gate: Gate,
    future: Pin<Box<dyn Future<Output = T> + Send + 'a>>,
}

impl<T> Future for Held<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match self.gate.poll_open(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => self.future.as_mut().poll(cx),
        }
    }
}
