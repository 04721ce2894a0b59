use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::env::{Env, Point};

use super::*;
use crate::points::{PointAction, PointRequest};

fn stage(seed: u64, yield_percent: u32) -> (Hosts<'static>, Surroundings, HostEnv) {
    let hosts = Hosts::new(seed, Duration::from_millis(1));
    let (latency, sync_time) = (Latency { min_ms: 0, max_ms: 0, grain_ms: 1 }, SyncTime { min_ms: 1, max_ms: 1 });
    let around = Surroundings::new(seed, 1_000_000, latency, sync_time, yield_percent, Trace::new(1, false));
    let host = HostEnv::new("host", &around);
    (hosts, around, host)
}

fn start<F: Future<Output = ()> + 'static>(
    hosts: &mut Hosts<'static>,
    host: &HostEnv,
    program: impl Fn(Env) -> F + 'static,
) {
    let host = host.clone();
    hosts.host("host", move || {
        let future = program(host.start());
        async move {
            future.await;
            std::future::pending().await
        }
    });
}

fn run(hosts: &mut Hosts<'static>, ticks: u64) {
    for _ in 0..ticks {
        hosts.step().expect("no host fails");
    }
}

#[test]
fn a_crash_at_the_third_passing_freezes_the_host_in_the_same_poll() {
    let (mut hosts, around, host) = stage(1, 0);
    let steps: Arc<Mutex<Vec<u32>>> = Arc::default();
    let seen = steps.clone();
    start(&mut hosts, &host, move |env| {
        let seen = seen.clone();
        async move {
            // Another task of the host, which runs in the same tick after the crash.
            tokio::task::spawn_local({
                let env = env.clone();
                async move {
                    loop {
                        tokio::task::yield_now().await;
                        if env.disk().create_dir_all("/late".as_ref()).await.is_ok() {
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                    }
                }
            });
            for step in 0..10 {
                env.reach(Point::TaskCommitted).await;
                seen.lock().expect("no panic").push(step);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    around.points.arm(4, "host", Point::TaskCommitted, 3, PointAction::Crash);
    run(&mut hosts, 100);
    assert_eq!(*steps.lock().expect("no panic"), [0, 1], "the third passing does not return");
    assert!(host.is_frozen());
    let asked = PointRequest { id: 4, host: "host".into(), point: Point::TaskCommitted, action: PointAction::Crash };
    assert_eq!(around.points.take_requests(), [asked]);
    assert_eq!(around.points.take_requests(), []);
    assert_eq!(around.effects.get(4).effective, 1);
    assert_eq!(around.points.passings()[&("host".to_string(), Point::TaskCommitted)], 3);
    host.crash(&mut hosts, Fate::Kill);
    host.bounce(&mut hosts);
    run(&mut hosts, 100);
    assert_eq!(steps.lock().expect("no panic").len(), 12, "the next incarnation runs through");
}

#[test]
fn a_crash_that_the_driver_counts_has_no_effect_by_itself() {
    let (mut hosts, around, host) = stage(1, 0);
    start(&mut hosts, &host, move |env| async move { env.reach(Point::TaskPolled).await });
    around.points.arm(4, "host", Point::TaskPolled, 1, PointAction::CrashUncounted);
    run(&mut hosts, 50);
    assert!(host.is_frozen());
    assert_eq!(around.points.take_requests()[0].action, PointAction::CrashUncounted);
    assert_eq!(around.effects.get(4).effective, 0);
}

#[test]
fn a_pause_at_a_point_lasts_until_the_thaw() {
    let (mut hosts, around, host) = stage(1, 0);
    let passed: Arc<Mutex<u32>> = Arc::default();
    let seen = passed.clone();
    start(&mut hosts, &host, move |env| {
        let seen = seen.clone();
        async move {
            env.reach(Point::TaskPolled).await;
            *seen.lock().expect("no panic") += 1;
        }
    });
    around.points.arm(4, "host", Point::TaskPolled, 1, PointAction::Pause);
    run(&mut hosts, 50);
    assert_eq!(*passed.lock().expect("no panic"), 0);
    assert_eq!(around.points.take_requests()[0].action, PointAction::Pause);
    host.thaw();
    run(&mut hosts, 5);
    assert_eq!(*passed.lock().expect("no panic"), 1);
}

#[test]
fn seeded_yields_explore_orders_inside_a_host() {
    let order = |seed, yield_percent| {
        let (mut hosts, _around, host) = stage(seed, yield_percent);
        let order: Arc<Mutex<Vec<u32>>> = Arc::default();
        let seen = order.clone();
        start(&mut hosts, &host, move |env| {
            let seen = seen.clone();
            async move {
                for task in 0..4 {
                    let (env, seen) = (env.clone(), seen.clone());
                    tokio::task::spawn_local(async move {
                        for _ in 0..3 {
                            env.reach(Point::TaskPolled).await;
                            seen.lock().expect("no panic").push(task);
                            tokio::task::yield_now().await;
                        }
                    });
                }
            }
        });
        run(&mut hosts, 5);
        let order = order.lock().expect("no panic").clone();
        assert_eq!(order.len(), 12);
        order
    };
    let without: BTreeSet<_> = (0..20).map(|seed| order(seed, 0)).collect();
    assert_eq!(without.len(), 1, "first in, first out");
    let with: BTreeSet<_> = (0..20).map(|seed| order(seed, 50)).collect();
    assert!(with.len() > 10, "{} orders of 20 seeds", with.len());
    assert_eq!(order(3, 50), order(3, 50));
}

#[test]
fn the_clock_is_virtual_skewed_and_goes_on_over_a_crash() {
    let (mut hosts, _around, host) = stage(1, 0);
    let read: Arc<Mutex<Vec<i64>>> = Arc::default();
    let seen = read.clone();
    start(&mut hosts, &host, move |env| {
        let seen = seen.clone();
        async move {
            loop {
                seen.lock().expect("no panic").push(env.now().0);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    });
    run(&mut hosts, 25);
    host.skew().add(0, -500);
    run(&mut hosts, 10);
    host.crash(&mut hosts, Fate::Kill);
    run(&mut hosts, 100);
    host.bounce(&mut hosts);
    run(&mut hosts, 5);
    let read = read.lock().expect("no panic").clone();
    assert_eq!(read[..4], [1_000_000, 1_000_010, 1_000_020, 999_530]);
    assert_eq!(*read.last().expect("some"), 999_635);
}
