//! Ctrl-C and SIGTERM: the first ends the work in good order, with a partial report; the second ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Exit;
use crate::output;

/// A flag that the first of them sets.
pub fn flag() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    on_each(move |count| {
        if count > 1 {
            std::process::exit(i32::from(Exit::Interrupted as u8));
        }
        output::note("interrupted: ending in good order, with what is done so far; once more ends at once");
        seen.store(true, Ordering::Relaxed);
    });
    stop
}

/// Takes no notice of them. For worker processes: a terminal sends Ctrl-C to them too, and their parent decides.
pub fn ignore() {
    on_each(|_| {});
}

#[expect(clippy::disallowed_methods, reason = "the command is above the engine and may hold a thread")]
fn on_each(mut act: impl FnMut(u32) + Send + 'static) {
    let (ready, installed) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
        runtime.block_on(async {
            let (Ok(mut interrupts), Ok(mut terminations)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            let _ = ready.send(());
            for count in 1.. {
                let more = tokio::select! {
                    biased;
                    more = interrupts.recv() => more,
                    more = terminations.recv() => more,
                };
                if more.is_none() {
                    return;
                }
                act(count);
            }
        });
    });
    // Without a handler they end the process, as they do anywhere.
    let _ = installed.recv();
}
