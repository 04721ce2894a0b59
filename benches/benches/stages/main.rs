//! What each stage of an event costs by itself: the figures of `docs/BUDGET.md`, a file a stage.
//!
//! `cargo bench -p segno-benches -- decode` runs the groups whose name holds `decode`. One program holds them all, so that
//! it is linked once.

mod append;
mod batch;
mod commit;
mod decode;
mod dedup;
mod fire;
mod lookup;
mod window;

criterion::criterion_group!(
    stages,
    batch::batch,
    decode::decode,
    lookup::stages,
    dedup::dedup,
    fire::fire,
    fire::output,
    commit::commits,
    window::windows,
    append::log,
);
criterion::criterion_main!(stages);
