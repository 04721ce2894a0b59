//! The subcommands: a file each with `Args` (whose comment is its help) and `run`, and a line in the list below.

mod bare_loop;
mod bench;
mod bench_phase;
mod completions;
mod config;
mod dataset;
mod explain;
mod gate;
mod man;
#[cfg(feature = "mutants")]
mod mutants;
mod repro;
mod run;
mod seed_worker;
mod shrink;

use crate::exit::Exit;

macro_rules! commands {
    ($($(@ $feature:literal)? $(#[$about:meta])* $variant:ident = $module:ident,)*) => {
        #[derive(Debug, clap::Subcommand)]
        pub enum Command { $($(#[cfg(feature = $feature)])? $(#[$about])* $variant($module::Args),)* }

        impl Command {
            /// Runs the command that was chosen.
            pub fn run(self) -> anyhow::Result<Exit> {
                match self { $($(#[cfg(feature = $feature)])? Command::$variant(args) => $module::run(args),)* }
            }
        }
    };
}

commands! {
    #[command(hide = true)]
    BareLoop = bare_loop,
    Bench = bench,
    #[command(hide = true)]
    BenchPhase = bench_phase,
    Completions = completions,
    Config = config,
    #[command(hide = true)]
    Dataset = dataset,
    Explain = explain,
    Gate = gate,
    Man = man,
    @ "mutants"
    Mutants = mutants,
    Repro = repro,
    Run = run,
    #[command(hide = true)]
    SeedWorker = seed_worker,
    Shrink = shrink,
}
