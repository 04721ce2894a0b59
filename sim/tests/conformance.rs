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
use sim::hosts::Hosts;
use sim::net::Latency;
use sim::trace::Trace;

fn surroundings(seed: u64) -> Surroundings {
    let latency = Latency { min_ms: 0, max_ms: 4, grain_ms: 1 };
    Surroundings::new(seed, 1_700_000_000_000, latency, SyncTime { min_ms: 1, max_ms: 5 }, 20, Trace::new(1, false))
}

/// Longer than any law takes.
const LIMIT: Duration = Duration::from_secs(600);

fn world(seed: u64) -> Hosts<'static> {
    Hosts::new(seed, Duration::from_millis(1))
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
        let (around, mut hosts) = (surroundings(1), world(1));
        let host = HostEnv::new("host", &around);
        hosts.immortal("host", async move {
            let env = host.start();
            let dir = PathBuf::from("/data/law");
            env.disk().create_dir_all(&dir).await?;
            law(env, dir).await;
            Ok(())
        });
        hosts.run_to_end(LIMIT).expect("the law holds");
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
            let (around, mut hosts) = (surroundings(seed), world(seed));
            let (told, heard) = network::introduction();
            let (server, client) = (HostEnv::new("server", &around), HostEnv::new("client", &around));
            let done = Arc::new(AtomicUsize::new(0));
            let (bound, connected) = (done.clone(), done.clone());
            hosts.immortal("server", async move {
                bind(server.start(), "server:0".into(), told).await;
                bound.fetch_add(1, Ordering::Relaxed);
                Ok(())
            });
            hosts.immortal("client", async move {
                connect(client.start(), heard).await;
                // A process that ends is gone, with what was still on its way.
                while connected.load(Ordering::Relaxed) == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                connected.fetch_add(1, Ordering::Relaxed);
                Ok(())
            });
            hosts.run_to_end(LIMIT).expect("the law holds");
            assert_eq!(done.load(Ordering::Relaxed), 2, "both parties came to their end");
        }
    }
}
