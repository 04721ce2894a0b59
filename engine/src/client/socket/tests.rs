//! The socket against a server that does what servers and networks do: answer late, out of turn, or not at all.

#![expect(clippy::disallowed_methods, reason = "a test runs on a runtime of its own")]

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::{
    FetchRequest, FetchResponse, InitProducerIdRequest, InitProducerIdResponse, MetadataRequest, RequestKind,
    ResponseKind,
};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::*;
use crate::env::Duplex;
use crate::env::real::{EnvOptions, env};
use crate::wire::{api, frame};

/// A request and the connection that it came on, counted from 0.
type Got = (usize, frame::Request);

struct Server {
    requests: mpsc::UnboundedReceiver<Got>,
    replies: mpsc::UnboundedSender<(usize, Option<bytes::Bytes>)>,
}

impl Server {
    /// A server whose every answer is given by the test; `None` closes a connection.
    async fn start(config: SocketConfig) -> (Arc<SocketTransport>, Server) {
        let env = env(EnvOptions { log: false, ..EnvOptions::default() });
        let listener = env.network().bind("127.0.0.1:0").await.expect("bind");
        let transport = Arc::new(SocketTransport::new(env, listener.local_address(), config));
        let (got, requests) = mpsc::unbounded_channel();
        let (replies, mut to_send) = mpsc::unbounded_channel::<(usize, Option<bytes::Bytes>)>();
        tokio::spawn(async move {
            let mut writers: Vec<Option<tokio::io::WriteHalf<Box<dyn Duplex>>>> = Vec::new();
            loop {
                tokio::select! {
                    biased;
                    stream = listener.accept() => {
                        let (mut read, write) = tokio::io::split(stream.expect("accept"));
                        let (got, connection) = (got.clone(), writers.len());
                        writers.push(Some(write));
                        tokio::spawn(async move {
                            while let Ok(Some(body)) = frame::read_frame(&mut read, 1 << 20).await {
                                let request = frame::decode_request(body).expect("a request");
                                drop(got.send((connection, request)));
                            }
                        });
                    }
                    reply = to_send.recv() => match reply {
                        None => return,
                        Some((connection, Some(bytes))) => {
                            if let Some(write) = &mut writers[connection] {
                                drop(write.write_all(&bytes).await);
                            }
                        }
                        Some((connection, None)) => {
                            if let Some(mut write) = writers[connection].take() {
                                drop(write.shutdown().await);
                            }
                        }
                    },
                }
            }
        });
        (transport, Server { requests, replies })
    }

    async fn next(&mut self) -> Got {
        tokio::time::timeout(Duration::from_secs(5), self.requests.recv()).await.expect("in time").expect("a request")
    }

    fn answer(&self, (connection, request): &Got, response: ResponseKind) {
        let bytes = frame::encode_response(request.correlation_id, request.api_version, &response).expect("encodes");
        drop(self.replies.send((*connection, Some(bytes))));
    }

    fn close(&self, connection: usize) {
        drop(self.replies.send((connection, None)));
    }
}

fn ask(tag: i32) -> RequestKind {
    InitProducerIdRequest::default().with_transaction_timeout_ms(tag).into()
}

fn tag_of(got: &Got) -> i64 {
    let RequestKind::InitProducerId(request) = &got.1.body else { panic!("{got:?}") };
    i64::from(request.transaction_timeout_ms)
}

fn reply(tag: i64) -> ResponseKind {
    InitProducerIdResponse::default().with_producer_id(kafka_protocol::messages::ProducerId(tag)).into()
}

async fn call(transport: &SocketTransport, tag: i32) -> Result<i64, TransportError> {
    match transport.call(api::latest(ApiKey::InitProducerId), ask(tag)).await? {
        ResponseKind::InitProducerId(response) => Ok(response.producer_id.0),
        other => panic!("{other:?}"),
    }
}

fn one_connection() -> SocketConfig {
    SocketConfig { connections: 1, ..SocketConfig::default() }
}

#[tokio::test]
async fn calls_share_a_connection_and_each_gets_its_own_answer() {
    let (transport, mut server) = Server::start(one_connection()).await;
    let calls: Vec<_> = (0..3)
        .map(|tag| {
            let transport = Arc::clone(&transport);
            tokio::spawn(async move { call(&transport, tag).await })
        })
        .collect();
    let mut got = Vec::new();
    for _ in 0..3 {
        got.push(server.next().await);
    }
    assert!(got.iter().all(|got| got.0 == 0), "all on one connection");
    for request in &got {
        server.answer(request, reply(tag_of(request) + 100));
    }
    for (tag, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.expect("no panic"), Ok(tag as i64 + 100));
    }
}

#[tokio::test]
async fn a_late_answer_of_a_dead_call_is_nobody_elses() {
    let config = SocketConfig { call_timeout: Duration::from_millis(50), ..one_connection() };
    let (transport, mut server) = Server::start(config).await;
    let first = call(&transport, 1).await;
    assert!(matches!(first, Err(TransportError::Deadline { ms: 50, .. })), "{first:?}");
    let late = server.next().await;
    let (second, ()) = tokio::join!(call(&transport, 2), async {
        let got = server.next().await;
        assert_ne!(got.0, late.0, "the stuck connection is not used again");
        server.answer(&late, reply(1));
        server.answer(&got, reply(2));
    });
    assert_eq!(second, Ok(2));
}

#[tokio::test]
async fn a_cancelled_call_leaves_the_connection_in_order() {
    let (transport, mut server) = Server::start(one_connection()).await;
    let cancelled = tokio::time::timeout(Duration::from_millis(30), call(&transport, 1)).await;
    assert!(cancelled.is_err(), "nobody answered");
    let first = server.next().await;
    let (second, ()) = tokio::join!(call(&transport, 2), async {
        let got = server.next().await;
        assert_eq!(got.0, first.0, "the same connection");
        server.answer(&first, reply(1));
        server.answer(&got, reply(2));
    });
    assert_eq!(second, Ok(2));
}

#[tokio::test]
async fn after_a_break_the_next_call_connects_again() {
    let (transport, mut server) = Server::start(one_connection()).await;
    let (first, ()) = tokio::join!(call(&transport, 1), async {
        let got = server.next().await;
        server.close(got.0);
    });
    assert!(matches!(first, Err(TransportError::Broken { .. })), "{first:?}");
    let (second, ()) = tokio::join!(call(&transport, 2), async {
        let got = server.next().await;
        assert_eq!(got.0, 1);
        server.answer(&got, reply(2));
    });
    assert_eq!(second, Ok(2));
}

#[tokio::test]
async fn an_answer_out_of_turn_ends_the_connection() {
    let (transport, mut server) = Server::start(one_connection()).await;
    let (first, ()) = tokio::join!(call(&transport, 1), async {
        let mut got = server.next().await;
        got.1.correlation_id += 1;
        server.answer(&got, reply(1));
    });
    assert!(matches!(first, Err(TransportError::Malformed { .. })), "{first:?}");
}

#[tokio::test]
async fn a_long_poll_keeps_nobody_waiting() {
    let (transport, mut server) = Server::start(one_connection()).await;
    let poll = FetchRequest::default().with_max_wait_ms(5_000);
    let polling = {
        let transport = Arc::clone(&transport);
        tokio::spawn(async move { transport.call(api::latest(ApiKey::Fetch), poll.into()).await })
    };
    let held = server.next().await;
    let (answered, ()) = tokio::join!(call(&transport, 7), async {
        let got = server.next().await;
        assert_ne!(got.0, held.0);
        server.answer(&got, reply(7));
    });
    assert_eq!(answered, Ok(7));
    server.answer(&held, FetchResponse::default().into());
    assert!(polling.await.expect("no panic").is_ok());
}

#[tokio::test]
async fn nobody_there_is_refused_and_nothing_was_sent() {
    let env = env(EnvOptions { log: false, ..EnvOptions::default() });
    let listener = env.network().bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_address();
    drop(listener);
    let transport = SocketTransport::new(env, address, SocketConfig::default());
    let request = MetadataRequest::default().into();
    let refused = transport.call(api::latest(ApiKey::Metadata), request).await;
    assert!(matches!(refused, Err(TransportError::Refused { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_call_that_is_given_up_while_it_connects_is_never_sent() {
    let (transport, mut server) = Server::start(one_connection()).await;
    let mut given_up = Box::pin(call(&transport, 1));
    std::future::poll_fn(|context| {
        assert!(given_up.as_mut().poll(context).is_pending(), "nobody is connected yet");
        std::task::Poll::Ready(())
    })
    .await;
    drop(given_up);
    let next = tokio::spawn(async move { call(&transport, 2).await });
    let got = server.next().await;
    assert_eq!(tag_of(&got), 2, "the first frame is of the call that somebody waits for");
    server.answer(&got, reply(2));
    assert_eq!(next.await.expect("no panic"), Ok(2));
}
