//! The subcommands: a file each with `Args` (whose comment is its help) and `run`, and a line in the list below.

mod gate;
mod repro;
mod seed_worker;

use crate::exit::Exit;

macro_rules! commands {
    ($($(#[$about:meta])* $variant:ident = $module:ident,)*) => {
        #[derive(Debug, clap::Subcommand)]
        pub enum Command { $($(#[$about])* $variant($module::Args),)* }

        impl Command {
            /// Runs the command that was chosen.
            pub fn run(self) -> anyhow::Result<Exit> {
                match self { $(Command::$variant(args) => $module::run(args),)* }
            }
        }
    };
}

commands! {
    Gate = gate,
    Repro = repro,
    #[command(hide = true)]
    SeedWorker = seed_worker,
}
