//! Ctrl-C: the first ends the work in good order, with a partial report; the second ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit::Exit;
use crate::output;

/// A flag that the first Ctrl-C sets.
pub fn flag() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    on_each(move |count| {
        if count > 1 {
            std::process::exit(i32::from(Exit::Interrupted as u8));
        }
        output::note("interrupted: ending the seeds that run; once more ends at once");
        seen.store(true, Ordering::Relaxed);
    });
    stop
}

/// Takes no notice of Ctrl-C. For worker processes: a terminal sends it to them too, and their parent decides.
pub fn ignore() {
    on_each(|_| {});
}

#[expect(clippy::disallowed_methods, reason = "the command is above the engine and may hold a thread")]
fn on_each(mut act: impl FnMut(u32) + Send + 'static) {
    let (ready, installed) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
        runtime.block_on(async {
            let Ok(mut signals) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()) else {
                return;
            };
            let _ = ready.send(());
            let mut count = 0;
            while signals.recv().await.is_some() {
                count += 1;
                act(count);
            }
        });
    });
    // Without a handler Ctrl-C ends the process, as it does anywhere.
    let _ = installed.recv();
}
