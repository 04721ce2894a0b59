//! The laws of the boundary, against the machine and against the simulated world.
#![expect(clippy::disallowed_macros, reason = "a test names the law that it tries")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use engine::env::real;
use sim::conformance::{disk, network};
use sim::disk::SyncTime;
use sim::env::{HostEnv, Surroundings};
use sim::net::Latency;
use sim::trace::Trace;

fn surroundings(seed: u64) -> Surroundings {
    let latency = Latency { min_ms: 0, max_ms: 4 };
    Surroundings::new(seed, 1_700_000_000_000, latency, SyncTime { min_ms: 1, max_ms: 5 }, 20, Trace::new(1, false))
}

fn world(seed: u64) -> turmoil::Sim<'static> {
    turmoil::Builder::new()
        .rng_seed(seed)
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::ZERO)
        .max_message_latency(Duration::ZERO)
        .tcp_capacity(10_000)
        .simulation_duration(Duration::from_secs(600))
        .build()
}

#[test]
fn the_machines_disk_keeps_every_law() {
    for (name, law) in disk::LAWS {
        let dir = tempfile::tempdir().expect("a directory");
        let runtime = real::threads::runtime().expect("a runtime");
        let env = real::env(real::EnvOptions::default());
        println!("{name}");
        runtime.block_on(law(env, dir.path().to_path_buf()));
    }
}

#[test]
fn the_simulated_disk_keeps_every_law() {
    for (name, law) in disk::LAWS {
        println!("{name}");
        let (around, mut sim) = (surroundings(1), world(1));
        let host = HostEnv::new("host", &around);
        sim.client("host", async move {
            let env = host.start();
            let dir = PathBuf::from("/data/law");
            env.disk().create_dir_all(&dir).await?;
            law(env, dir).await;
            Ok(())
        });
        sim.run().expect("the law holds");
    }
}

#[test]
fn the_machines_network_keeps_every_law() {
    for (name, bind, connect) in network::LAWS {
        println!("{name}");
        let runtime = real::threads::runtime().expect("a runtime");
        let env = real::env(real::EnvOptions::default());
        let (told, heard) = network::introduction();
        runtime.block_on(async {
            tokio::join!(bind(env.clone(), "127.0.0.1:0".into(), told), connect(env.clone(), heard));
        });
    }
}

#[test]
fn the_simulated_network_keeps_every_law() {
    for seed in 0..8 {
        for (name, bind, connect) in network::LAWS {
            println!("{name}");
            let (around, mut sim) = (surroundings(seed), world(seed));
            let (told, heard) = network::introduction();
            let (server, client) = (HostEnv::new("server", &around), HostEnv::new("client", &around));
            let done = Arc::new(AtomicUsize::new(0));
            let (bound, connected) = (done.clone(), done.clone());
            sim.client("server", async move {
                bind(server.start(), "server:0".into(), told).await;
                bound.fetch_add(1, Ordering::Relaxed);
                Ok(())
            });
            sim.client("client", async move {
                connect(client.start(), heard).await;
                // turmoil stops a host whose program has ended, with what was still on its way.
                while connected.load(Ordering::Relaxed) == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                connected.fetch_add(1, Ordering::Relaxed);
                Ok(())
            });
            sim.run().expect("the law holds");
            assert_eq!(done.load(Ordering::Relaxed), 2, "both parties came to their end");
        }
    }
}
