//! The courier: a host of its own that delivers requests whose connection, or whose sender, is gone.
//!
//! In: parcels. Out: their frames at the addressee, over a connection of their own; what is answered is thrown away.
//! Always: it lives through every crash of the others, so that a delayed request arrives in a world that has moved on.

use std::io;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::host_and_port;
use super::rules::{NetRules, Parcel, Reach};
use super::tcp::TcpStream;
use crate::hosts::Hosts;
use crate::trace::Kind;

/// The courier's host name.
pub const COURIER: &str = "courier";

/// How long it waits for the answers that it throws away.
const PATIENCE: Duration = Duration::from_secs(5);

impl NetRules {
    /// Adds the courier to the world. Without it, requests are neither duplicated nor do they outlive their connection.
    pub fn add_courier(&self, hosts: &mut Hosts<'_>) {
        self.set_reach(COURIER, Reach::Up);
        let rules = self.clone();
        hosts.host(COURIER, move || {
            let rules = rules.clone();
            async move {
                loop {
                    while let Some(parcel) = rules.take_parcel() {
                        tokio::task::spawn_local(deliver(rules.clone(), parcel));
                    }
                    rules.0.parcels.notified().await;
                }
            }
        });
    }
}

async fn deliver(rules: NetRules, parcel: Parcel) {
    tokio::time::sleep(Duration::from_millis(parcel.delay_ms)).await;
    loop {
        let changed = rules.0.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        match rules.reach(&parcel.to) {
            Reach::Up if rules.blocks(&parcel.from, &parcel.to).is_empty() => break,
            // Nobody is there to take it.
            Reach::Refusing => return,
            Reach::Up | Reach::Silent => changed.await,
        }
    }
    // Whether the addressee took it, is told by the effects; there is nobody to tell of an error.
    let _ = hand_over(&rules, &parcel).await;
}

async fn hand_over(rules: &NetRules, parcel: &Parcel) -> io::Result<()> {
    let (to, port) = host_and_port(&parcel.address)?;
    let mut stream = rules.0.sockets.connect(&COURIER.into(), &to.into(), port)?;
    for frame in &parcel.frames {
        rules.0.trace.record(&parcel.from, Kind::FrameSent, &format!("{} by the courier", parcel.to), frame);
        stream.send(frame)?;
    }
    if let (Some(id), false) = (parcel.id, parcel.duplicate) {
        // It arrives, and its sender had closed.
        rules.0.effects.effective(id);
        rules.0.effects.visible(id);
    }
    let answered = tokio::time::timeout(PATIENCE, throw_away_answers(&mut stream, parcel.frames.len())).await;
    if let (Some(id), true) = (parcel.id, parcel.duplicate) {
        rules.0.effects.effective(id);
        if matches!(answered, Ok(Ok(()))) {
            rules.0.effects.visible(id);
        }
    }
    Ok(())
}

/// Reads so many answers, so that the addressee could write them.
async fn throw_away_answers(stream: &mut TcpStream, count: usize) -> io::Result<()> {
    for _ in 0..count {
        let length = stream.read_i32().await?;
        let mut left = u64::try_from(length).unwrap_or(0);
        let mut scrap = [0u8; 4096];
        while left > 0 {
            let want = scrap.len().min(left as usize);
            left -= stream.read_exact(&mut scrap[..want]).await? as u64;
        }
    }
    Ok(())
}
