use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::env::{Duplex, Env};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::disk::{Fate, SyncTime};
use crate::env::{HostEnv, Surroundings};
use crate::hosts::Hosts;
use crate::trace::Trace;

const ADDRESS: &str = "server:9000";
const PRODUCE: i16 = 0;
const FETCH: i16 = 1;

/// A world with a server that answers frames and remembers them, and a client that does what a test wants.
struct Stage {
    hosts: Hosts<'static>,
    around: Surroundings,
    server: HostEnv,
    client: HostEnv,
    /// (virtual ms, connection, body) of each frame at the server.
    arrived: Arc<Mutex<Vec<(u64, u32, String)>>>,
    told: Arc<Mutex<Vec<String>>>,
}

fn request(api_key: i16, correlation_id: i32, body: &str) -> Vec<u8> {
    let mut frame = (8 + body.len() as i32).to_be_bytes().to_vec();
    frame.extend_from_slice(&api_key.to_be_bytes());
    frame.extend_from_slice(&0i16.to_be_bytes());
    frame.extend_from_slice(&correlation_id.to_be_bytes());
    frame.extend_from_slice(body.as_bytes());
    frame
}

/// The answer carries the correlation id and the body.
async fn answer_of(stream: &mut dyn Duplex) -> std::io::Result<(i32, String)> {
    let length = stream.read_i32().await?;
    let correlation_id = stream.read_i32().await?;
    let mut body = vec![0; length as usize - 4];
    stream.read_exact(&mut body).await?;
    Ok((correlation_id, String::from_utf8(body).expect("text")))
}

async fn ask(stream: &mut dyn Duplex, api_key: i16, correlation_id: i32, body: &str) -> std::io::Result<String> {
    stream.write_all(&request(api_key, correlation_id, body)).await?;
    let (correlation, answer) = answer_of(stream).await?;
    assert_eq!(correlation, correlation_id);
    Ok(answer)
}

fn now() -> u64 {
    crate::clock::virtual_ms().expect("in a host")
}

impl Stage {
    fn new(seed: u64) -> Stage {
        let mut hosts = Hosts::new(seed, Duration::from_millis(1));
        let sync_time = SyncTime { min_ms: 1, max_ms: 1 };
        let latency = Latency { min_ms: 1, max_ms: 3, grain_ms: 1 };
        let around = Surroundings::new(seed, 0, latency, sync_time, 0, Trace::new(1, false));
        around.net.add_courier(&mut hosts);
        let (server, client) = (HostEnv::new("server", &around), HostEnv::new("client", &around));
        let arrived: Arc<Mutex<Vec<(u64, u32, String)>>> = Arc::default();
        let (host, log) = (server.clone(), arrived.clone());
        hosts.host("server", move || {
            let (env, log) = (host.start(), log.clone());
            async move {
                let listener = env.network().bind(ADDRESS).await?;
                for connection in 0.. {
                    let (stream, log) = (listener.accept().await?, log.clone());
                    tokio::task::spawn_local(serve(stream, connection, log));
                }
                Ok(())
            }
        });
        Stage { hosts, around, server, client, arrived, told: Arc::default() }
    }

    /// Starts the client; what it returns ends up in `told`, after what it told before.
    fn client<F: Future<Output = ()> + 'static>(&mut self, program: impl Fn(Env, Teller) -> F + 'static) {
        let (host, told) = (self.client.clone(), self.told.clone());
        self.hosts.host("client", move || {
            let (env, told) = (host.start(), told.clone());
            let future = program(env, Teller(told));
            async move {
                future.await;
                // A process that ends is gone, with what was still on its way.
                std::future::pending().await
            }
        });
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.hosts.step().expect("no host fails");
        }
    }

    fn bodies(&self) -> Vec<String> {
        self.arrived.lock().expect("no panic").iter().map(|(_, _, body)| body.clone()).collect()
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().expect("no panic").clone()
    }
}

#[derive(Clone)]
struct Teller(Arc<Mutex<Vec<String>>>);

impl Teller {
    fn tell(&self, what: impl Into<String>) {
        self.0.lock().expect("no panic").push(what.into());
    }

    fn tell_result(&self, result: std::io::Result<String>) {
        self.tell(result.unwrap_or_else(|error| format!("{:?}", error.kind())));
    }
}

async fn serve(mut stream: Box<dyn Duplex>, connection: u32, log: Arc<Mutex<Vec<(u64, u32, String)>>>) {
    while let Ok(length) = stream.read_i32().await {
        let mut frame = vec![0; length as usize];
        if stream.read_exact(&mut frame).await.is_err() {
            return;
        }
        let body = String::from_utf8(frame[8..].to_vec()).expect("text");
        log.lock().expect("no panic").push((now(), connection, body.clone()));
        let mut answer = (4 + body.len() as i32).to_be_bytes().to_vec();
        answer.extend_from_slice(&frame[4..8]);
        answer.extend_from_slice(body.as_bytes());
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// One request after the other, as long as it goes well.
async fn talk(env: &Env, teller: &Teller, bodies: &[&str]) {
    let mut stream = env.network().connect(ADDRESS).await.expect("connected");
    for (id, body) in bodies.iter().enumerate() {
        let result = ask(&mut *stream, PRODUCE, id as i32, body).await;
        let failed = result.is_err();
        teller.tell_result(result);
        if failed {
            return;
        }
    }
}

#[test]
fn a_duplicated_request_reaches_the_server_twice_on_two_connections() {
    let mut stage = Stage::new(1);
    stage.around.net.arm(7, "client", "server", 2, Which::Writes, FrameFault::Duplicate { after_ms: 20 });
    stage.client(|env, teller| async move { talk(&env, &teller, &["a", "b", "c"]).await });
    stage.run(100);
    assert_eq!(stage.told(), ["a", "b", "c"], "the client sees nothing of it");
    assert_eq!(stage.bodies(), ["a", "b", "c", "b"]);
    let arrived = stage.arrived.lock().expect("no panic").clone();
    assert_ne!(arrived[3].1, arrived[1].1, "on a connection of its own");
    assert!(arrived[3].0 >= arrived[1].0 + 15, "later: {arrived:?}");
    let effect = stage.around.effects.get(7);
    assert_eq!((effect.effective, effect.visible), (1, 1));
}

#[test]
fn faults_count_only_the_requests_that_they_are_for() {
    let mut stage = Stage::new(1);
    stage.around.net.arm(1, "client", "server", 2, Which::Writes, FrameFault::Duplicate { after_ms: 1 });
    stage.around.net.arm(2, "client", "server", 1, Which::Api(FETCH), FrameFault::Duplicate { after_ms: 1 });
    stage.around.net.arm(3, "client", "server", 4, Which::Any, FrameFault::LoseReply);
    stage.client(|env, teller| async move {
        let mut stream = env.network().connect(ADDRESS).await.expect("connected");
        for (id, (api, body)) in [(PRODUCE, "p1"), (FETCH, "f1"), (PRODUCE, "p2"), (PRODUCE, "p3")].iter().enumerate() {
            teller.tell_result(ask(&mut *stream, *api, id as i32, body).await);
        }
    });
    stage.run(200);
    assert_eq!(stage.told(), ["p1", "f1", "p2", "ConnectionReset"]);
    let mut bodies = stage.bodies();
    bodies.sort();
    assert_eq!(bodies, ["f1", "f1", "p1", "p2", "p2", "p3"]);
    assert_eq!(stage.around.net.requests("client", "server"), 4);
}

#[test]
fn a_delayed_request_arrives_after_its_client_has_closed() {
    let mut stage = Stage::new(2);
    stage.around.net.arm(7, "client", "server", 1, Which::Any, FrameFault::Delay { ms: 200 });
    stage.client(|env, teller| async move {
        let mut stream = env.network().connect(ADDRESS).await.expect("connected");
        let asked = tokio::time::timeout(Duration::from_millis(50), ask(&mut *stream, PRODUCE, 0, "slow")).await;
        assert!(asked.is_err(), "it gives up");
        drop(stream);
        teller.tell(format!("closed at {}", now()));
        talk(&env, &teller, &["retry"]).await;
    });
    stage.run(400);
    let arrived = stage.arrived.lock().expect("no panic").clone();
    assert_eq!(stage.bodies(), ["retry", "slow"], "the retry overtakes it");
    assert!(arrived[1].0 >= 200, "{arrived:?}");
    assert_ne!(arrived[0].1, arrived[1].1);
    let effect = stage.around.effects.get(7);
    assert_eq!((effect.effective, effect.visible), (1, 1));
}

#[test]
fn a_delayed_request_of_a_patient_client_arrives_in_its_place() {
    let mut stage = Stage::new(2);
    stage.around.net.arm(7, "client", "server", 1, Which::Any, FrameFault::Delay { ms: 200 });
    stage.client(|env, teller| async move { talk(&env, &teller, &["slow", "next"]).await });
    stage.run(400);
    assert_eq!(stage.bodies(), ["slow", "next"]);
    let arrived = stage.arrived.lock().expect("no panic").clone();
    assert!(arrived[0].0 >= 200 && arrived[0].1 == arrived[1].1, "{arrived:?}");
    let effect = stage.around.effects.get(7);
    assert_eq!((effect.effective, effect.visible), (1, 0));
}

#[test]
fn a_lost_reply_is_a_reset_after_the_request_was_carried_out() {
    let mut stage = Stage::new(3);
    stage.around.net.arm(7, "client", "server", 2, Which::Any, FrameFault::LoseReply);
    stage.client(|env, teller| async move {
        talk(&env, &teller, &["a", "b", "c"]).await;
        talk(&env, &teller, &["again"]).await;
    });
    stage.run(200);
    assert_eq!(stage.told(), ["a", "ConnectionReset", "again"]);
    assert_eq!(stage.bodies(), ["a", "b", "again"], "b was carried out");
    let effect = stage.around.effects.get(7);
    assert_eq!((effect.effective, effect.visible), (1, 1));
}

/// Asks once with a deadline, and says what came of it.
async fn ask_once(env: &Env, teller: &Teller, body: &str, ms: u64) {
    let asked = tokio::time::timeout(Duration::from_millis(ms), async {
        let mut stream = env.network().connect(ADDRESS).await?;
        // A connection from before the fault: the handshake passed both ways.
        tokio::time::sleep(Duration::from_millis(20)).await;
        ask(&mut *stream, PRODUCE, 0, body).await
    });
    match asked.await {
        Ok(result) => teller.tell_result(result),
        Err(_) => teller.tell(format!("{body}: no answer")),
    }
}

#[test]
fn a_one_way_partition_lets_requests_through_and_no_replies() {
    let mut stage = Stage::new(4);
    stage.client(|env, teller| async move { ask_once(&env, &teller, "x", 300).await });
    stage.run(15);
    stage.around.net.block(9, "server", "client");
    stage.run(400);
    assert_eq!(stage.bodies(), ["x"], "the request arrived");
    assert_eq!(stage.told(), ["x: no answer"]);
    let effect = stage.around.effects.get(9);
    assert_eq!((effect.effective, effect.visible), (1, 1));
}

#[test]
fn a_one_way_partition_the_other_way_holds_the_request() {
    for seed in 0..8 {
        let mut stage = Stage::new(seed);
        stage.client(|env, teller| async move { ask_once(&env, &teller, "x", 300).await });
        stage.run(15);
        stage.around.net.block(9, "client", "server");
        stage.run(200);
        assert_eq!(stage.bodies(), Vec::<String>::new());
        stage.around.net.lift(9);
        stage.run(200);
        // It was sent again, or one side had given up.
        match stage.told()[0].as_str() {
            "x" => assert_eq!(stage.bodies(), ["x"]),
            "ConnectionReset" => assert_eq!(stage.bodies(), Vec::<String>::new()),
            other => panic!("seed {seed}: {other}"),
        }
        assert!(stage.around.effects.get(9).effective > 0);
    }
}

#[test]
fn what_waited_for_a_partition_to_end_arrives_although_its_client_has_given_up() {
    let mut stage = Stage::new(4);
    stage.client(|env, teller| async move { ask_once(&env, &teller, "zombie", 100).await });
    stage.run(15);
    stage.around.net.block(9, "client", "server");
    stage.run(300);
    assert_eq!(stage.told(), ["zombie: no answer"]);
    assert_eq!(stage.bodies(), Vec::<String>::new());
    stage.around.net.heal();
    stage.run(50);
    assert_eq!(stage.bodies(), ["zombie"]);
}

#[test]
fn nobody_connects_through_a_partition() {
    for (from, to) in [("client", "server"), ("server", "client")] {
        let mut stage = Stage::new(5);
        stage.around.net.block(9, from, to);
        stage.client(|env, teller| async move {
            let connected = tokio::time::timeout(Duration::from_millis(100), env.network().connect(ADDRESS)).await;
            teller.tell(if connected.is_err() { "no answer" } else { "connected" });
            talk(&env, &teller, &["later"]).await;
        });
        stage.run(200);
        assert_eq!(stage.told(), ["no answer"]);
        stage.around.net.lift(9);
        stage.run(100);
        assert_eq!(stage.told(), ["no answer", "later"]);
        let effect = stage.around.effects.get(9);
        assert!(effect.effective > 0 && effect.visible > 0, "{effect:?}");
    }
}

#[test]
fn a_slow_link_takes_longer() {
    let took = |extra_ms| {
        let mut stage = Stage::new(6);
        if extra_ms > 0 {
            stage.around.net.slow(9, "client", "server", extra_ms);
        }
        stage.client(|env, teller| async move { talk(&env, &teller, &["x"]).await });
        stage.run(400);
        assert_eq!(stage.told(), ["x"]);
        assert_eq!(stage.around.effects.get(9).effective > 0, extra_ms > 0);
        let arrived = stage.arrived.lock().expect("no panic");
        arrived[0].0
    };
    let (fast, slow) = (took(0), took(100));
    // The handshake, and the request.
    assert!(slow >= fast + 200, "{fast} ms, {slow} ms");
}

#[test]
fn a_killed_server_closes_its_connections_and_refuses_new_ones() {
    let mut stage = Stage::new(7);
    stage.client(|env, teller| async move {
        let mut stream = env.network().connect(ADDRESS).await.expect("connected");
        teller.tell_result(ask(&mut *stream, PRODUCE, 0, "first").await);
        teller.tell_result(answer_of(&mut *stream).await.map(|(_, body)| body));
        let refused = env.network().connect(ADDRESS).await.err().expect("it is down");
        teller.tell(format!("{:?}", refused.kind()));
        tokio::time::sleep(Duration::from_millis(100)).await;
        talk(&env, &teller, &["second"]).await;
    });
    stage.run(30);
    stage.server.crash(&mut stage.hosts, Fate::Kill);
    stage.run(30);
    assert_eq!(stage.told(), ["first", "UnexpectedEof", "ConnectionRefused"]);
    stage.server.bounce(&mut stage.hosts);
    stage.run(100);
    assert_eq!(stage.told().last().map(String::as_str), Some("second"));
}

#[test]
fn a_server_without_power_says_nothing_until_it_is_back() {
    let mut stage = Stage::new(8);
    stage.client(|env, teller| async move {
        let mut stream = env.network().connect(ADDRESS).await.expect("connected");
        teller.tell_result(ask(&mut *stream, PRODUCE, 0, "first").await);
        // It waits for an answer that nobody will give, and then asks again on the connection that it thinks it has.
        let silence = tokio::time::timeout(Duration::from_millis(100), answer_of(&mut *stream)).await;
        teller.tell(if silence.is_err() { "silence" } else { "noise" });
        teller.tell_result(ask(&mut *stream, PRODUCE, 1, "on the old connection").await);
        talk(&env, &teller, &["second"]).await;
    });
    stage.run(30);
    stage.server.crash(&mut stage.hosts, Fate::PowerCut { draw: 1 });
    stage.run(150);
    assert_eq!(stage.told(), ["first", "silence"]);
    stage.server.bounce(&mut stage.hosts);
    stage.run(100);
    assert_eq!(stage.told(), ["first", "silence", "ConnectionReset", "second"]);
    assert_eq!(stage.bodies(), ["first", "second"]);
}

#[test]
fn what_a_killed_client_wrote_still_arrives_and_after_a_power_cut_it_does_not() {
    for (fate, expected) in [(Fate::Kill, vec!["last words"]), (Fate::PowerCut { draw: 1 }, vec![])] {
        let mut stage = Stage::new(9);
        stage.around.net.arm(7, "client", "server", 1, Which::Any, FrameFault::Delay { ms: 100 });
        stage.client(|env, teller| async move { talk(&env, &teller, &["last words"]).await });
        stage.run(40);
        assert_eq!(stage.bodies(), Vec::<String>::new(), "it is under way");
        stage.client.crash(&mut stage.hosts, fate);
        stage.run(200);
        assert_eq!(stage.bodies(), expected, "{fate:?}");
    }
}

#[test]
fn a_frozen_server_answers_after_the_thaw() {
    let mut stage = Stage::new(10);
    stage.client(|env, teller| async move {
        ask_once(&env, &teller, "connected before", 1_000).await;
        talk(&env, &teller, &["after"]).await;
    });
    stage.run(15);
    stage.server.freeze();
    stage.run(100);
    assert_eq!(stage.bodies(), Vec::<String>::new());
    assert_eq!(stage.told(), Vec::<String>::new());
    stage.server.thaw();
    stage.run(100);
    assert_eq!(stage.told(), ["connected before", "after"]);
}

#[test]
fn a_frozen_client_hears_nothing_and_does_not_even_close() {
    let mut stage = Stage::new(11);
    stage.client(|env, teller| async move {
        let mut stream = env.network().connect(ADDRESS).await.expect("connected");
        teller.tell_result(ask(&mut *stream, PRODUCE, 0, "a").await);
        tokio::time::sleep(Duration::from_millis(50)).await;
        // Frozen by now; the timer still fires, and nothing it leads to may get out.
        teller.tell("awake");
        drop(stream);
        let again = tokio::time::timeout(Duration::from_millis(100), env.network().connect(ADDRESS)).await;
        teller.tell(if again.is_err() { "shut" } else { "open" });
        talk(&env, &teller, &["after"]).await;
    });
    stage.run(30);
    stage.client.freeze();
    stage.run(300);
    assert_eq!(stage.told(), ["a", "awake", "shut"]);
    assert_eq!(streams_at_the_server(&stage), 1, "its connection is still there");
    stage.client.thaw();
    stage.run(100);
    assert_eq!(stage.told(), ["a", "awake", "shut", "after"]);
    assert_eq!(stage.bodies(), ["a", "after"]);
}

/// Connections whose serving task has not ended: it holds the log.
fn streams_at_the_server(stage: &Stage) -> usize {
    // The stage, the server's factory and its accept loop hold the log too.
    Arc::strong_count(&stage.arrived) - 3
}

/// Asks until it is answered, as a client does: with a deadline, and a new connection after every failure.
async fn insist(env: &Env, id: i32, body: &str) {
    let mut stream = None;
    loop {
        let asked = tokio::time::timeout(Duration::from_millis(60), async {
            if stream.is_none() {
                stream = Some(env.network().connect(ADDRESS).await?);
            }
            let stream = stream.as_mut().expect("just connected");
            ask(&mut **stream, PRODUCE, id, body).await
        });
        match asked.await {
            Ok(Ok(_)) => return,
            _ => {
                stream = None;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

#[test]
fn whatever_happened_everybody_is_answered_after_the_healing() {
    let run = |seed| {
        let mut stage = Stage::new(seed);
        let mut draw = crate::draw::Draw::new(seed, "trouble");
        let net = stage.around.net.clone();
        stage.client(|env, teller| async move {
            let mut talkers = Vec::new();
            for talker in 0..4 {
                let env = env.clone();
                talkers.push(tokio::task::spawn_local(async move {
                    for round in 0..30 {
                        insist(&env, talker * 100 + round, &format!("{talker}/{round}")).await;
                    }
                }));
            }
            for talker in talkers {
                talker.await.expect("no panic");
            }
            teller.tell("done");
        });
        for id in 0..12 {
            let (from, to) = if draw.chance(1, 2) { ("client", "server") } else { ("server", "client") };
            match draw.below(9) {
                0 => net.block(id, from, to),
                1 => net.slow(id, from, to, 1 + draw.below(100)),
                2 | 3 => net.arm(id, "client", "server", 1, Which::Any, FrameFault::LoseReply),
                4 => net.arm(id, "client", "server", 1, Which::Any, FrameFault::Delay { ms: draw.below(200) }),
                5 => {
                    net.arm(id, "client", "server", 1, Which::Any, FrameFault::Duplicate { after_ms: draw.below(200) })
                }
                6 => {
                    let cut = draw.chance(1, 2);
                    let fate = if cut { Fate::PowerCut { draw: draw.next_u64() } } else { Fate::Kill };
                    stage.server.crash(&mut stage.hosts, fate);
                    for _ in 0..draw.below(40) {
                        stage.hosts.step().expect("no host fails");
                    }
                    stage.server.bounce(&mut stage.hosts);
                }
                7 => stage.client.freeze(),
                _ => stage.server.freeze(),
            }
            stage.run(draw.below(60));
            if draw.chance(1, 2) {
                net.lift(draw.below(id as u64 + 1) as usize);
            }
            stage.client.thaw();
            stage.server.thaw();
        }
        net.heal();
        for _ in 0..100 {
            stage.run(50);
            if stage.told() == ["done"] {
                // Every parcel is delivered by then, and every wire that lingered is gone.
                stage.run(500);
                return (stage.around.trace.hash(), streams_at_the_server(&stage));
            }
        }
        panic!("seed {seed}: not done {:?}", stage.bodies().len());
    };
    for seed in 0..60 {
        let (hash, streams) = run(seed);
        assert_eq!(streams, 0, "seed {seed}: connections are left open");
        if seed % 6 == 0 {
            assert_eq!(hash, run(seed).0, "seed {seed}");
        }
    }
}

#[test]
fn the_same_seed_leaves_the_same_trace() {
    let trace = |seed| {
        let mut stage = Stage::new(seed);
        stage.around.net.arm(1, "client", "server", 3, Which::Any, FrameFault::Duplicate { after_ms: 7 });
        stage.around.net.arm(2, "client", "server", 5, Which::Any, FrameFault::LoseReply);
        stage.client(|env, teller| async move {
            for _ in 0..3 {
                let (one, two) = (["a", "b", "c"], ["d", "e", "f"]);
                tokio::join!(talk(&env, &teller, &one), talk(&env, &teller, &two));
            }
        });
        stage.run(20);
        stage.around.net.block(3, "server", "client");
        stage.run(50);
        stage.around.net.heal();
        stage.run(30);
        stage.server.crash(&mut stage.hosts, Fate::Kill);
        stage.run(10);
        stage.server.bounce(&mut stage.hosts);
        stage.run(200);
        (stage.around.trace.hash(), stage.around.trace.events())
    };
    let first = trace(1);
    assert!(first.1 > 30, "{} events", first.1);
    assert_eq!(first, trace(1));
    assert_ne!(first, trace(2));
}
