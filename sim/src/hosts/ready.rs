//! Which hosts have something to do.
//!
//! In: wakes of their tasks. Out: each woken host once, in the order of the first wake; the driver is woken with the first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

#[derive(Default)]
pub(super) struct Ready(Mutex<State>);

#[derive(Default)]
struct State {
    woken: Vec<usize>,
    driver: Option<Waker>,
}

/// Of one host.
struct HostWaker {
    ready: Arc<Ready>,
    index: usize,
}

impl Wake for HostWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.ready.lock();
        if state.woken.contains(&self.index) {
            return;
        }
        state.woken.push(self.index);
        if let Some(driver) = state.driver.take() {
            driver.wake();
        }
    }
}

impl Ready {
    pub(super) fn waker(ready: &Arc<Ready>, index: usize) -> Waker {
        Waker::from(Arc::new(HostWaker { ready: ready.clone(), index }))
    }

    /// The next host that is woken wakes `driver`.
    pub(super) fn watch(&self, driver: &Waker) {
        self.lock().driver = Some(driver.clone());
    }

    /// Moves the woken hosts to `turn`. Whether there are any.
    pub(super) fn take(&self, turn: &mut Vec<usize>) -> bool {
        turn.clear();
        std::mem::swap(&mut self.lock().woken, turn);
        !turn.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
