//! TCP through tokio.
//!
//! In: `host:port`. Out: connections with Nagle's algorithm off, since a request waits for its answer and not for
//! company.

use std::io;

use crate::env::{BoxFuture, Duplex, Listener, Network};

pub(super) struct Tcp;

#[expect(clippy::disallowed_types, reason = "this is the network behind Env::network")]
impl Network for Tcp {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Duplex>>> {
        Box::pin(async move {
            let stream = tokio::net::TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Duplex>)
        })
    }

    fn bind<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = tokio::net::TcpListener::bind(address).await?;
            let port = listener.local_addr()?.port();
            // The host as it was written: it is what others are told to connect to.
            let local = match address.rsplit_once(':') {
                Some((host, _)) => format!("{host}:{port}"),
                None => listener.local_addr()?.to_string(),
            };
            Ok(Box::new(Port { listener, local }) as Box<dyn Listener>)
        })
    }
}

#[expect(clippy::disallowed_types, reason = "this is the network behind Env::network")]
struct Port {
    listener: tokio::net::TcpListener,
    local: String,
}

impl Listener for Port {
    fn accept(&self) -> BoxFuture<'_, io::Result<Box<dyn Duplex>>> {
        Box::pin(async move {
            let (stream, _) = self.listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Duplex>)
        })
    }

    fn local_address(&self) -> String {
        self.local.clone()
    }
}
