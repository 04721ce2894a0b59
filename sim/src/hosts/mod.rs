//! The hosts of a world: several programs on one thread, on one virtual clock.
//!
//! In: the program of each host, and a seed. Out: steps of virtual time, between which hosts are crashed and started.
//!
//! All hosts share one paused tokio runtime, whose clock moves only when nobody has anything left to do, and then straight
//! to the next timer: a host that waits costs nothing. The tasks of a host are a [`LocalSet`] of its own, so that a crash
//! drops all of them, with the connections that they hold, in the same call.
//!
//! Invariant: whatever a program starts is in its host's set; nothing of it runs after the crash.
//! Invariant: hosts that can run at the same moment do so in an order that the seed draws.

mod ready;

use std::error::Error;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use engine::env::{BoxFuture, Tasks};
use tokio::runtime::{Builder, RngSeed, Runtime, UnhandledPanic};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::Instant;

use crate::clock;
use crate::entropy::counted;
use ready::Ready;

/// How a host's program ends.
pub type Ended = Result<(), Box<dyn Error>>;

type Program<'a> = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Ended>>> + 'a>;

/// The hosts, and the clock that they share.
pub struct Hosts<'a> {
    runtime: Runtime,
    /// When the world began, by the runtime's clock.
    began: Instant,
    tick: Duration,
    machines: Machines<'a>,
}

struct Machines<'a> {
    seed: u64,
    /// How many orders were drawn.
    orders: u64,
    all: Vec<Machine<'a>>,
    ready: Arc<Ready>,
    /// Whose turn it is; kept for its room.
    turn: Vec<usize>,
}

struct Machine<'a> {
    name: String,
    /// `None`: it starts once.
    program: Option<Program<'a>>,
    tasks: LocalSet,
    /// `None` while it is down, and when its program has ended.
    main: Option<JoinHandle<Ended>>,
    waker: Waker,
}

impl<'a> Hosts<'a> {
    /// No host yet; a [`step`](Hosts::step) is `tick` long, a whole number of milliseconds.
    ///
    /// # Panics
    /// If no runtime can be made: the machine has no memory.
    pub fn new(seed: u64, tick: Duration) -> Hosts<'a> {
        assert!(
            tick >= Duration::from_millis(1) && tick.subsec_nanos().is_multiple_of(1_000_000),
            "{tick:?} is not whole ms"
        );
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            // Nothing is spawned on the runtime itself; should it be, its panics count.
            .unhandled_panic(UnhandledPanic::ShutdownRuntime)
            .rng_seed(RngSeed::from_bytes(&seed.to_le_bytes()))
            .build()
            .expect("a runtime without I/O");
        let began = runtime.block_on(async {
            // Timers are rounded up to milliseconds of the runtime's own start: the world begins on one.
            tokio::time::sleep(Duration::from_millis(1)).await;
            Instant::now()
        });
        let machines = Machines { seed, orders: 0, all: Vec::new(), ready: Arc::default(), turn: Vec::new() };
        Hosts { runtime, began, tick, machines }
    }

    /// Adds a host, which runs `program` from now on, and again from every [`start`](Hosts::start) on.
    pub fn host<F: Future<Output = Ended> + 'static>(&mut self, name: &str, program: impl Fn() -> F + 'a) {
        let index = self.add(name, Some(Box::new(move || Box::pin(program()))));
        self.run(index);
    }

    /// Adds a host that runs `program`, and neither crashes nor starts again.
    pub fn immortal(&mut self, name: &str, program: impl Future<Output = Ended> + 'static) {
        let index = self.add(name, None);
        self.machines.begin(index, program);
    }

    /// The host is gone, with its tasks and their connections. What it holds may still look at the time while it is
    /// dropped.
    ///
    /// # Panics
    /// If there is no such host, or it is one that does not crash.
    pub fn crash(&mut self, name: &str) {
        let index = self.machines.find(name);
        let machine = &mut self.machines.all[index];
        assert!(machine.program.is_some(), "{name} does not crash");
        machine.main = None;
        let tasks = mem::replace(&mut machine.tasks, no_tasks());
        let (_entered, _running) = (self.runtime.enter(), clock::Running::since(self.began));
        drop(tasks);
    }

    /// Starts a host that crashed.
    ///
    /// # Panics
    /// If there is no such host, or it runs.
    pub fn start(&mut self, name: &str) {
        let index = self.machines.find(name);
        assert!(self.machines.all[index].main.is_none(), "{name} runs");
        self.run(index);
    }

    /// Lets every host run for one tick. Whether all programs have ended that start once.
    ///
    /// # Errors
    /// When a program ended with an error.
    ///
    /// # Panics
    /// When a task of a host panicked.
    pub fn step(&mut self) -> Result<bool, String> {
        self.advance(1);
        self.settle()
    }

    /// Lets every host run to the end of the first tick in which one has something to do, for at most so many ticks. How
    /// many there were, and the error with which a program ended.
    ///
    /// # Panics
    /// When a task of a host panicked.
    pub fn step_to_event(&mut self, at_most: u64) -> (u64, Result<(), String>) {
        let ticks = self.advance(at_most.max(1));
        (ticks, self.settle().map(|_| ()))
    }

    /// See [`step_to_event`](Hosts::step_to_event).
    fn advance(&mut self, at_most: u64) -> u64 {
        let (machines, tick) = (&mut self.machines, self.tick);
        let _running = clock::Running::since(self.began);
        self.runtime.block_on(async {
            let begins = Instant::now();
            let mut over = pin!(tokio::time::sleep(tick * u32::try_from(at_most).unwrap_or(u32::MAX)));
            let mut idle = true;
            std::future::poll_fn(|cx| {
                // First: what is due at the end of the tick belongs to the next one. Time has moved, so nobody is in the
                // middle of giving way to others, which tokio would forget with the end of this call.
                if over.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                if machines.run(cx) && mem::take(&mut idle) {
                    let ticks = begins.elapsed().as_nanos() / tick.as_nanos() + 1;
                    over.as_mut().reset(begins + tick * u32::try_from(ticks).expect("no more than asked for"));
                    // Registers the new moment, which lies ahead.
                    return over.as_mut().poll(cx);
                }
                Poll::Pending
            })
            .await;
            (begins.elapsed().as_nanos() / tick.as_nanos()) as u64
        })
    }

    /// Takes the results of the programs that have ended. Whether all have that start once.
    fn settle(&mut self) -> Result<bool, String> {
        let _running = clock::Running::since(self.began);
        let mut ended = true;
        for machine in &mut self.machines.all {
            let Some(main) = machine.main.take_if(|main| main.is_finished()) else {
                ended &= machine.main.is_none() || machine.program.is_some();
                continue;
            };
            // A process that has ended is gone with all that it had.
            let tasks = mem::replace(&mut machine.tasks, no_tasks());
            let result = self.runtime.block_on(async {
                drop(tasks);
                main.await
            });
            match result {
                Ok(result) => result.map_err(|error| format!("{}: {error}", machine.name))?,
                Err(error) => return Err(format!("{}: {error}", machine.name)),
            }
        }
        Ok(ended)
    }

    /// Steps until all programs have ended that start once, for at most `limit` of virtual time.
    ///
    /// # Errors
    /// When a program ended with an error, or they did not end in time.
    pub fn run_to_end(&mut self, limit: Duration) -> Result<(), String> {
        let steps = limit.as_millis() / self.tick.as_millis();
        for _ in 0..steps {
            if self.step()? {
                return Ok(());
            }
        }
        Err(format!("the programs did not end within {limit:?}"))
    }

    fn add(&mut self, name: &str, program: Option<Program<'a>>) -> usize {
        let machines = &mut self.machines;
        assert!(machines.all.iter().all(|machine| machine.name != name), "{name} was added twice");
        let index = machines.all.len();
        let waker = Ready::waker(&machines.ready, index);
        machines.all.push(Machine { name: name.to_owned(), program, tasks: no_tasks(), main: None, waker });
        index
    }

    /// Runs the program of a host that starts more than once.
    fn run(&mut self, index: usize) {
        let (_entered, _running) = (self.runtime.enter(), clock::Running::since(self.began));
        let program = self.machines.all[index].program.as_ref().expect("it starts more than once");
        let program = program();
        self.machines.begin(index, program);
    }
}

impl Drop for Hosts<'_> {
    /// The end of the world: what is dropped may look at the time, and the runtime outlives the tasks.
    fn drop(&mut self) {
        let (_entered, _running) = (self.runtime.enter(), clock::Running::since(self.began));
        self.machines.all.clear();
    }
}

impl Machines<'_> {
    fn find(&self, name: &str) -> usize {
        self.all.iter().position(|machine| machine.name == name).unwrap_or_else(|| panic!("there is no host {name}"))
    }

    fn begin(&mut self, index: usize, program: impl Future<Output = Ended> + 'static) {
        let machine = &mut self.all[index];
        machine.main = Some(machine.tasks.spawn_local(program));
        machine.waker.wake_by_ref();
    }

    /// Runs whoever has something to do, until nobody has. Whether anybody had.
    fn run(&mut self, cx: &Context<'_>) -> bool {
        self.ready.watch(cx.waker());
        let mut ran = false;
        while self.ready.take(&mut self.turn) {
            ran = true;
            self.draw_order();
            for &index in &self.turn {
                let machine = &mut self.all[index];
                let polled = Pin::new(&mut machine.tasks).poll(&mut Context::from_waker(&machine.waker));
                // Ready: it has no tasks any more.
                debug_assert!(polled == Poll::Pending || machine.main.as_ref().is_none_or(JoinHandle::is_finished));
            }
        }
        ran
    }

    /// Puts those whose turn it is into an order of the seed's.
    fn draw_order(&mut self) {
        if self.turn.len() < 2 {
            return;
        }
        self.orders += 1;
        let mut draw = counted(self.seed, "order", "", self.orders);
        // Fisher and Yates; for a handful of hosts one draw has bits enough.
        for left in (2..=self.turn.len()).rev() {
            self.turn.swap(left - 1, (draw % left as u64) as usize);
            draw /= left as u64;
        }
    }
}

fn no_tasks() -> LocalSet {
    let mut tasks = LocalSet::new();
    tasks.unhandled_panic(UnhandledPanic::ShutdownRuntime);
    tasks
}

/// The tasks of the host that is running at the call, which must be one of them: what is started here is gone with it.
pub struct HostTasks;

impl Tasks for HostTasks {
    fn spawn(&self, task: BoxFuture<'static, ()>) -> JoinHandle<()> {
        tokio::task::spawn_local(task)
    }
}

#[cfg(test)]
mod tests;
