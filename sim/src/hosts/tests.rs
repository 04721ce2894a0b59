use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Mutex;

use tokio::sync::Notify;

use super::*;
use crate::clock::virtual_ms;

#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<String>>>);

impl Said {
    fn say(&self, what: impl Into<String>) {
        self.0.lock().expect("no panic").push(what.into());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }
}

fn hosts(seed: u64) -> Hosts<'static> {
    Hosts::new(seed, Duration::from_millis(10))
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Says its name and the time as it is dropped.
struct Last(Said, &'static str);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.say(format!("{} dropped at {:?}", self.1, virtual_ms()));
    }
}

#[test]
fn time_stands_still_while_anyone_has_something_to_do_and_then_jumps_to_the_next_timer() {
    let mut hosts = hosts(1);
    let said = Said::default();
    for (name, pause) in [("a", 7), ("b", 25)] {
        let heard = said.clone();
        hosts.host(name, move || {
            let heard = heard.clone();
            async move {
                loop {
                    for _ in 0..500 {
                        tokio::task::yield_now().await;
                    }
                    heard.say(format!("{name} {}", virtual_ms().expect("in a host")));
                    tokio::time::sleep(ms(pause)).await;
                }
            }
        });
    }
    for _ in 0..3 {
        hosts.step().expect("nobody fails");
    }
    let mut said = said.all();
    said.sort();
    assert_eq!(said, ["a 0", "a 14", "a 21", "a 28", "a 7", "b 0", "b 25"]);
    assert_eq!(virtual_ms(), None, "between the steps nobody runs");
}

#[test]
fn a_crash_drops_every_task_at_once_and_the_next_start_begins_anew() {
    let mut hosts = hosts(2);
    let said = Said::default();
    let heard = said.clone();
    hosts.host("a", move || {
        let heard = heard.clone();
        async move {
            let (one, two, three) =
                (Last(heard.clone(), "one"), Last(heard.clone(), "two"), Last(heard.clone(), "three"));
            heard.say(format!("start at {:?}", virtual_ms()));
            tokio::task::spawn_local(async move {
                let _one = one;
                tokio::task::spawn_local(async move {
                    let _two = two;
                    std::future::pending::<()>().await;
                });
                std::future::pending::<()>().await;
            });
            let task = async move {
                let _three = three;
                tokio::time::sleep(ms(1_000)).await;
            };
            HostTasks.spawn(Box::pin(async move { tokio::task::spawn_local(task).await.expect("it ends") }));
            std::future::pending().await
        }
    });
    hosts.step().expect("nobody fails");
    hosts.crash("a");
    let mut dropped = said.all().split_off(1);
    dropped.sort();
    let at = |name: &str| format!("{name} dropped at Some(10)");
    assert_eq!(dropped, [at("one"), at("three"), at("two")]);
    for _ in 0..200 {
        hosts.step().expect("nobody fails");
    }
    assert_eq!(said.all().len(), 4, "nothing of it moves any more");
    hosts.start("a");
    hosts.step().expect("nobody fails");
    assert_eq!(said.all()[4], "start at Some(2010)");
}

#[test]
fn a_task_that_is_started_by_a_destructor_is_gone_with_the_host() {
    struct Starts(Said);
    impl Drop for Starts {
        fn drop(&mut self) {
            let last = Last(self.0.clone(), "its task");
            tokio::task::spawn_local(async move {
                tokio::task::yield_now().await;
                last.0.say("it ran");
            });
        }
    }
    let mut hosts = hosts(3);
    let said = Said::default();
    let heard = said.clone();
    hosts.host("a", move || {
        let starts = Starts(heard.clone());
        async move {
            let _starts = starts;
            std::future::pending().await
        }
    });
    hosts.step().expect("nobody fails");
    hosts.crash("a");
    hosts.step().expect("nobody fails");
    assert_eq!(said.all(), ["its task dropped at Some(10)"]);
}

#[test]
fn hosts_that_can_run_at_the_same_moment_do_so_in_an_order_of_the_seeds() {
    let order = |seed: u64| {
        let mut hosts = hosts(seed);
        let said = Said::default();
        for name in ["a", "b", "c", "d"] {
            let heard = said.clone();
            hosts.host(name, move || {
                let heard = heard.clone();
                async move {
                    for _ in 0..3 {
                        tokio::time::sleep(ms(5)).await;
                        heard.say(name);
                    }
                    std::future::pending().await
                }
            });
        }
        for _ in 0..2 {
            hosts.step().expect("nobody fails");
        }
        let said = said.all();
        assert_eq!(said.len(), 12);
        said
    };
    let orders: BTreeSet<Vec<String>> = (0..40).map(|seed| order(seed)[..4].to_vec()).collect();
    assert!(orders.len() > 12, "{} of 24 orders", orders.len());
    assert_eq!(order(7), order(7));
}

#[test]
fn a_host_that_is_woken_by_another_runs_at_the_same_moment() {
    let mut hosts = hosts(4);
    let (bell, said) = (Rc::new(Notify::new()), Said::default());
    let (rings, heard) = (bell.clone(), said.clone());
    hosts.immortal("waits", async move {
        rings.notified().await;
        heard.say(format!("rung at {:?}", virtual_ms()));
        Ok(())
    });
    hosts.immortal("rings", async move {
        tokio::time::sleep(ms(13)).await;
        bell.notify_one();
        Ok(())
    });
    hosts.run_to_end(ms(100)).expect("both end");
    assert_eq!(said.all(), ["rung at Some(13)"]);
}

#[test]
fn an_error_ends_the_step_with_the_hosts_name_and_a_panic_passes_through() {
    let mut failing = hosts(5);
    failing.immortal("a", async { Err("no more".into()) });
    assert_eq!(failing.step().expect_err("it failed"), "a: no more");
    let mut late = hosts(5);
    late.immortal("a", std::future::pending());
    assert_eq!(late.run_to_end(ms(50)).expect_err("it does not end"), "the programs did not end within 50ms");

    let panics = std::panic::catch_unwind(|| {
        let mut hosts = hosts(6);
        hosts.host("a", || async {
            tokio::task::spawn_local(async { panic!("a bug") });
            std::future::pending().await
        });
        let _ = hosts.step();
    });
    assert!(panics.is_err());
}

#[test]
fn tasks_that_give_way_to_each_other_all_get_on() {
    let mut hosts = hosts(7);
    hosts.immortal("a", async {
        let mut tasks = Vec::new();
        for _ in 0..50 {
            tasks.push(tokio::task::spawn_local(async {
                for round in 0..100 {
                    tokio::task::yield_now().await;
                    if round % 10 == 0 {
                        tokio::time::sleep(ms(1)).await;
                    }
                }
            }));
        }
        for task in tasks {
            task.await?;
        }
        Ok(())
    });
    hosts.run_to_end(ms(100)).expect("all end");
}

#[test]
fn a_step_to_the_next_event_ends_with_its_tick_and_not_later_than_asked() {
    let mut hosts = hosts(8);
    let said = Said::default();
    let heard = said.clone();
    hosts.immortal("a", async move {
        for pause in [0, 3, 10, 42, 500] {
            tokio::time::sleep(ms(pause)).await;
            heard.say(format!("{}", virtual_ms().expect("in a host")));
        }
        Ok(())
    });
    // At 0 and 3; at 13; at 55, after which 444 ticks are too many; at 555.
    let ticks: Vec<u64> = (0..6).map(|_| hosts.step_to_event(30).0).collect();
    assert_eq!(ticks, [1, 1, 4, 30, 20, 30], "{:?}", said.all());
    assert_eq!(said.all(), ["0", "3", "13", "55", "555"]);
}

#[test]
fn a_step_that_ends_at_a_timer_leaves_what_is_due_then_to_the_next() {
    let mut hosts = hosts(9);
    let said = Said::default();
    let heard = said.clone();
    hosts.immortal("a", async move {
        for _ in 0..3 {
            tokio::time::sleep(ms(10)).await;
            // Gives way at the very moment at which a step has ended.
            tokio::task::yield_now().await;
            heard.say(format!("{}", virtual_ms().expect("in a host")));
        }
        Ok(())
    });
    let mut after = Vec::new();
    for _ in 0..4 {
        hosts.step().expect("nobody fails");
        after.push(said.all().len());
    }
    assert_eq!((after, said.all()), (vec![0, 1, 2, 3], vec!["10".to_owned(), "20".to_owned(), "30".to_owned()]));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test is about several threads")]
fn what_a_world_does_depends_on_nothing_else_in_the_process() {
    let run = || {
        let mut hosts = hosts(10);
        let said = Said::default();
        for name in ["a", "b", "c"] {
            let heard = said.clone();
            hosts.host(name, move || {
                let heard = heard.clone();
                async move {
                    for task in 0..5 {
                        let last = Last(heard.clone(), name);
                        tokio::task::spawn_local(async move {
                            tokio::time::sleep(ms(3 + task)).await;
                            last.0.say(format!("{name} {task}"));
                            std::future::pending::<()>().await;
                        });
                    }
                    std::future::pending().await
                }
            });
        }
        for name in ["b", "c", "a"] {
            hosts.step().expect("nobody fails");
            hosts.crash(name);
            hosts.start(name);
        }
        said.all()
    };
    let alone = run();
    assert_eq!(alone.len(), 40, "{alone:?}");
    std::thread::scope(|scope| {
        let beside: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        for other in beside {
            assert_eq!(other.join().expect("no panic"), alone);
        }
    });
}
