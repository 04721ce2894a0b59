//! The laws of [`engine::env::Network`]. Each is two parties, the one that binds and the one that connects, which may
//! live on two hosts; the first tells the second its address.
//!
//! Streams of bytes that are no frames begin with [`RAW`] here: the simulated network keeps the first bytes of a frame
//! together, and so may wait for the rest of them.

use std::io::ErrorKind;

use engine::env::{BoxFuture, Duplex, Env};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

/// No frame begins like this.
const RAW: u8 = 0xff;

/// One of the two parties of a law.
pub type Party = BoxFuture<'static, ()>;

/// A law: its name, the one that binds (on its address), and the one that connects.
pub type Law = (&'static str, fn(Env, String, Told) -> Party, fn(Env, Heard) -> Party);

/// Tells where the first party listens.
pub type Told = watch::Sender<Option<String>>;
/// Hears it.
pub type Heard = watch::Receiver<Option<String>>;

/// The way from the first party to the second.
pub fn introduction() -> (Told, Heard) {
    watch::channel(None)
}

macro_rules! laws {
    ($($name:ident { fn bind($env:ident, $address:ident, $told:ident) $bind:block fn connect($cenv:ident, $heard:ident) $connect:block })*) => {
        /// Every law.
        pub const LAWS: &[Law] = &[$((stringify!($name), $name::first, $name::second)),*];
        $(mod $name {
            use super::*;
            pub(super) fn first($env: Env, $address: String, $told: Told) -> Party { Box::pin(async move { $bind }) }
            pub(super) fn second($cenv: Env, $heard: Heard) -> Party { Box::pin(async move { $connect }) }
        })*
    };
}

async fn address(mut heard: Heard) -> String {
    heard.wait_for(Option::is_some).await.expect("the other party lives").clone().expect("it is there")
}

async fn connect(env: &Env, heard: Heard) -> Box<dyn Duplex> {
    let address = address(heard).await;
    env.network().connect(&address).await.unwrap_or_else(|error| panic!("connect to {address}: {error}"))
}

async fn accept_one(env: &Env, address: &str, told: &Told) -> Box<dyn Duplex> {
    let listener = env.network().bind(address).await.expect("bound");
    told.send_replace(Some(listener.local_address()));
    listener.accept().await.expect("accepted")
}

/// `length` bytes behind a length.
fn frame(length: usize, seed: usize) -> Vec<u8> {
    let mut frame = (length as u32).to_be_bytes().to_vec();
    frame.extend((0..length).map(|index| ((index + seed) % 253) as u8));
    frame
}

async fn read_frame(stream: &mut dyn Duplex) -> Vec<u8> {
    let length = stream.read_u32().await.expect("a length");
    let mut frame = length.to_be_bytes().to_vec();
    frame.resize(4 + length as usize, 0);
    stream.read_exact(&mut frame[4..]).await.expect("a body");
    frame
}

async fn read_all(stream: &mut dyn Duplex) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.expect("the stream ends well");
    all
}

laws! {
    a_port_without_a_listener_refuses {
        fn bind(env, address, told) {
            let listener = env.network().bind(&address).await.expect("bound");
            let local = listener.local_address();
            drop(listener);
            told.send_replace(Some(local));
            told.closed().await;
        }
        fn connect(env, heard) {
            let address = address(heard.clone()).await;
            let error = env.network().connect(&address).await.err().expect("nobody listens");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        }
    }

    frames_are_answered_in_order {
        fn bind(env, address, told) {
            let mut stream = accept_one(&env, &address, &told).await;
            for _ in 0..100 {
                let frame = read_frame(&mut *stream).await;
                stream.write_all(&frame).await.expect("written");
            }
        }
        fn connect(env, heard) {
            let mut stream = connect(&env, heard).await;
            for round in 0..50 {
                stream.write_all(&frame(round * 37, round)).await.expect("written");
                assert_eq!(read_frame(&mut *stream).await, frame(round * 37, round));
            }
            // And many at once.
            for round in 0..50 {
                stream.write_all(&frame(round, round)).await.expect("written");
            }
            for round in 0..50 {
                assert_eq!(read_frame(&mut *stream).await, frame(round, round));
            }
        }
    }

    bytes_that_are_no_frames_pass_too {
        fn bind(env, address, told) {
            let mut stream = accept_one(&env, &address, &told).await;
            let mut bytes = [0; 9];
            stream.read_exact(&mut bytes).await.expect("read");
            assert_eq!(&bytes, b"\xffGET / HT");
            stream.write_all(b"\xff").await.expect("written");
            stream.write_all(b"no").await.expect("written");
        }
        fn connect(env, heard) {
            let mut stream = connect(&env, heard).await;
            for byte in [RAW].iter().chain(b"GET / HT") {
                stream.write_all(&[*byte]).await.expect("written");
            }
            assert_eq!(read_all(&mut *stream).await, b"\xffno");
        }
    }

    megabytes_flow_both_ways_at_once {
        fn bind(env, address, told) {
            let mut stream = accept_one(&env, &address, &told).await;
            exchange(&mut stream, 2).await;
        }
        fn connect(env, heard) {
            let mut stream = connect(&env, heard).await;
            exchange(&mut stream, 1).await;
        }
    }

    one_side_may_finish_and_read_on {
        fn bind(env, address, told) {
            let mut stream = accept_one(&env, &address, &told).await;
            let got = read_all(&mut *stream).await;
            assert_eq!(got, frame(1_000, 1));
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            stream.write_all(&frame(2_000, 2)).await.expect("the other direction is open");
            stream.shutdown().await.expect("finished");
        }
        fn connect(env, heard) {
            let mut stream = connect(&env, heard).await;
            stream.write_all(&frame(1_000, 1)).await.expect("written");
            stream.shutdown().await.expect("finished");
            assert!(stream.write_all(b"more").await.is_err(), "it has finished");
            assert_eq!(read_all(&mut *stream).await, frame(2_000, 2));
        }
    }

    what_was_written_before_a_close_arrives {
        fn bind(env, address, told) {
            let mut stream = accept_one(&env, &address, &told).await;
            assert_eq!(read_all(&mut *stream).await, frame(5_000, 3));
        }
        fn connect(env, heard) {
            let mut stream = connect(&env, heard).await;
            stream.write_all(&frame(5_000, 3)).await.expect("written");
            stream.shutdown().await.expect("finished");
            drop(stream);
        }
    }

    a_peer_that_is_gone_is_noticed {
        fn bind(env, address, told) {
            let stream = accept_one(&env, &address, &told).await;
            drop(stream);
            told.closed().await;
        }
        fn connect(env, heard) {
            let mut stream = connect(&env, heard.clone()).await;
            let mut byte = [0];
            // The end of the stream, or a reset: both say that nothing will come.
            assert!(!matches!(stream.read(&mut byte).await, Ok(1..)), "nothing was written");
            let mut failed = false;
            for _ in 0..100 {
                failed = stream.write_all(&frame(10, 0)).await.is_err();
                if failed {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            assert!(failed, "writing to nobody fails in the end");
        }
    }

    connections_are_apart {
        fn bind(env, address, told) {
            let listener = env.network().bind(&address).await.expect("bound");
            told.send_replace(Some(listener.local_address()));
            let mut tasks = Vec::new();
            for _ in 0..60 {
                let mut stream = listener.accept().await.expect("accepted");
                tasks.push(env.tasks().spawn(Box::pin(async move {
                    for _ in 0..5 {
                        let frame = read_frame(&mut *stream).await;
                        stream.write_all(&frame).await.expect("written");
                    }
                })));
            }
            for task in tasks {
                task.await.expect("no panic");
            }
        }
        fn connect(env, heard) {
            let mut tasks = Vec::new();
            for index in 0..60 {
                let (env, heard) = (env.clone(), heard.clone());
                tasks.push(env.tasks().spawn(Box::pin(async move {
                    let mut stream = connect(&env, heard).await;
                    for round in 0..5 {
                        stream.write_all(&frame(100 + index, round)).await.expect("written");
                        assert_eq!(read_frame(&mut *stream).await, frame(100 + index, round));
                    }
                })));
            }
            for task in tasks {
                task.await.expect("no panic");
            }
        }
    }

    a_port_belongs_to_one_and_port_0_is_a_free_one {
        fn bind(env, address, told) {
            let (host, _) = address.rsplit_once(':').expect("host:port");
            let anywhere = format!("{host}:0");
            let first = env.network().bind(&anywhere).await.expect("bound");
            let second = env.network().bind(&anywhere).await.expect("bound");
            assert_ne!(first.local_address(), second.local_address());
            let taken = env.network().bind(&first.local_address()).await.err().expect("it is taken");
            assert_eq!(taken.kind(), ErrorKind::AddrInUse);
            let local = first.local_address();
            drop(first);
            let again = env.network().bind(&local).await.expect("free again");
            told.send_replace(Some(again.local_address()));
            again.accept().await.expect("accepted").write_all(&frame(3, 3)).await.expect("written");
        }
        fn connect(env, heard) {
            assert_eq!(read_frame(&mut *connect(&env, heard).await).await, frame(3, 3));
        }
    }

    nonsense_is_no_address {
        fn bind(env, address, told) {
            drop((address, told));
            assert!(env.network().bind("nonsense").await.is_err());
        }
        fn connect(env, heard) {
            drop(heard);
            assert!(env.network().connect("nonsense").await.is_err());
            assert!(env.network().connect("no.such.host.invalid:1").await.is_err());
        }
    }
}

/// Sends 40 frames of 100 kB while reading as many; each side its own.
async fn exchange(stream: &mut Box<dyn Duplex>, own: usize) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let write = async {
        for _ in 0..40 {
            writer.write_all(&frame(100_000, own)).await.expect("written");
        }
        writer.shutdown().await.expect("finished");
    };
    let read = async {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).await.expect("read");
        let expected = frame(100_000, 3 - own).repeat(40);
        assert!(all == expected, "{} bytes differ from the {} that were sent", all.len(), expected.len());
    };
    tokio::join!(read, write);
}
