//! One client's connection: frames in, answers out, in the order of the requests.
//!
//! Requests are taken in one after another. A Produce is answered once it is durable, and meanwhile the next request is
//! taken in: its batches follow in the log, and its answer waits for its turn.
//!
//! Invariant: a malformed frame ends this connection, with a reason in the log, and nothing else.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::produce::{self, Staged};
use super::shared::Shared;
use super::{BrokerError, cluster, dispatch};
use crate::env::Duplex;
use crate::wire::frame::{self, FrameError};

/// An answer that waits for its turn.
enum Answer {
    Ready(Bytes),
    Produce { correlation_id: i32, version: i16, staged: Staged },
}

/// Why a connection ends, other than by its client.
enum End {
    Frame(FrameError),
    /// The broker has ended, and has said why.
    Broker,
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> End {
        End::Frame(error)
    }
}

impl From<BrokerError> for End {
    fn from(_: BrokerError) -> End {
        End::Broker
    }
}

/// Serves the connection until either side ends it.
pub async fn serve(shared: Arc<Shared>, stream: Box<dyn Duplex>, number: u64) {
    let (reader, writer) = tokio::io::split(stream);
    let (answers, turn) = mpsc::channel(shared.config.pipeline_max.max(1));
    let mut writing = std::pin::pin!(write(&shared, writer, turn));
    let both = async {
        tokio::select! {
            biased;
            // Before the reader it ends only with an error: the reader holds the queue open.
            ended = &mut writing => return ended,
            ended = read(&shared, reader, answers) => ended?,
        }
        // The client has sent all it will; what it asked for is still to be answered.
        writing.await
    };
    let ended = tokio::select! {
        biased;
        _ = shared.life.ended() => Err(End::Broker),
        ended = both => ended,
    };
    match ended {
        // The broker's end is told once, elsewhere. A connection that breaks is nothing of ours.
        Ok(()) | Err(End::Broker | End::Frame(FrameError::Io(_) | FrameError::CutShort { .. })) => {}
        Err(End::Frame(error)) => shared.env.log(format_args!("connection {number} closed: {error}")),
    }
}

async fn read<R: AsyncRead + Unpin>(
    shared: &Arc<Shared>,
    mut reader: R,
    answers: mpsc::Sender<Answer>,
) -> Result<(), End> {
    while let Some(frame) = frame::read_frame(&mut reader, shared.config.max_frame_bytes).await? {
        let request = match frame::decode_request(frame) {
            Ok(request) => request,
            Err(FrameError::UnsupportedVersion { key: ApiKey::ApiVersions, correlation_id, .. }) => {
                let answer = ResponseKind::from(cluster::api_versions_unsupported());
                let frame = frame::encode_response(correlation_id, 0, &answer)?;
                if answers.send(Answer::Ready(frame)).await.is_err() {
                    break;
                }
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let (correlation_id, version) = (request.correlation_id, request.api_version);
        let answer = match request.body {
            RequestKind::Produce(produce) => {
                let staged = produce::stage(shared, version, produce).await?;
                Answer::Produce { correlation_id, version, staged }
            }
            body => {
                let response = dispatch::answer(shared, version, body).await?;
                Answer::Ready(frame::encode_response(correlation_id, version, &response)?)
            }
        };
        if answers.send(answer).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn write<W: AsyncWrite + Unpin>(
    shared: &Shared,
    mut writer: W,
    mut turn: mpsc::Receiver<Answer>,
) -> Result<(), End> {
    while let Some(answer) = turn.recv().await {
        let frame = match answer {
            Answer::Ready(frame) => frame,
            Answer::Produce { correlation_id, version, staged } => {
                let silent = staged.silent;
                let response = ResponseKind::from(staged.finish(shared).await?);
                if silent {
                    continue;
                }
                frame::encode_response(correlation_id, version, &response)?
            }
        };
        writer.write_all(&frame).await.map_err(FrameError::Io)?;
        writer.flush().await.map_err(FrameError::Io)?;
    }
    Ok(())
}
