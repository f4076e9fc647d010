//! One case: what the client says after the greeting, and what the RFC has the server do.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use starling_tests::frames::{Heard, Peer, code, flag, kind};

/// What a client does.
pub enum Step {
    /// Sends these bytes.
    Say(Vec<u8>),
    /// Waits for the whole response on this stream.
    Hear(u32),
}

/// What must follow.
#[derive(Clone, Copy)]
pub enum Verdict {
    /// A connection error (RFC 9113 section 5.4.1): GOAWAY with one of these codes, or the end of the connection.
    Connection(&'static [u32]),
    /// A stream error (RFC 9113 section 5.4.2) with one of these codes; a connection error will do.
    Stream(&'static [u32]),
    /// A malformed request (RFC 9113 section 8.1.1): a stream error `PROTOCOL_ERROR` or a 4xx. Nobody is asked for it.
    Malformed,
    /// A response on this stream with this status.
    Answered(u32, u16),
    /// The connection lives on: a `PING` is answered.
    Alive,
    /// Either an error or an answer, but something.
    Decided(u32),
}

pub struct Case {
    pub clause: &'static str,
    pub name: String,
    pub steps: Vec<Step>,
    pub verdict: Verdict,
}

/// A case that says these bytes at once.
pub fn case(clause: &'static str, name: impl Into<String>, say: Vec<u8>, verdict: Verdict) -> Case {
    Case { clause, name: name.into(), steps: vec![Step::Say(say)], verdict }
}

impl Case {
    /// Waits for a response, then says more.
    pub fn then(mut self, answered: u32, say: Vec<u8>) -> Self {
        self.steps.extend([Step::Hear(answered), Step::Say(say)]);
        self
    }

    /// Plays the case on a connection that was greeted.
    pub async fn play(&self, peer: &mut Peer) -> Result<()> {
        for step in &self.steps {
            match step {
                Step::Say(bytes) => {
                    peer.send(bytes).await;
                }
                Step::Hear(stream) => {
                    peer.response(*stream).await.with_context(|| format!("waiting for stream {stream}"))?;
                }
            }
        }
        if let Verdict::Alive = self.verdict {
            peer.send(&starling_tests::frames::ping(*b"are you?")).await;
        }
        loop {
            match peer.next_within(Duration::from_secs(10)).await {
                Heard::Silence => bail!("silence"),
                Heard::Closed => {
                    return match self.verdict {
                        Verdict::Answered(..) | Verdict::Alive => bail!("the connection was closed"),
                        _ => Ok(()),
                    };
                }
                Heard::Frame(frame) => {
                    if self.settled_by(&frame)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Whether this frame is the end of the case; an error when it is the wrong end.
    fn settled_by(&self, frame: &starling_tests::frames::Frame) -> Result<bool> {
        let error = frame.error_code();
        match (self.verdict, frame.kind) {
            // A graceful GOAWAY announces a close; it settles nothing by itself.
            (_, kind::GOAWAY) if error == Some(code::NO_ERROR) => Ok(false),
            (Verdict::Connection(codes) | Verdict::Stream(codes), kind::GOAWAY)
            | (Verdict::Stream(codes), kind::RST_STREAM) => {
                // The library below says PROTOCOL_ERROR of whatever it cannot parse, where the RFC has a finer
                // code (RFC 9113 section 7 keeps it for want of one). That the error is one is what protects.
                let named =
                    error.is_some_and(|error| codes.contains(&error) || error == code::PROTOCOL_ERROR);
                ensure!(named, "error {error:x?}, expected one of {codes:x?}");
                Ok(true)
            }
            (Verdict::Malformed, kind::GOAWAY | kind::RST_STREAM) => {
                ensure!(error == Some(code::PROTOCOL_ERROR), "error {error:x?}, expected PROTOCOL_ERROR");
                Ok(true)
            }
            (Verdict::Malformed, kind::HEADERS) => {
                let status = frame.status();
                ensure!(
                    status.is_some_and(|status| (400..500).contains(&status) || status == 501),
                    "answered with {status:?}"
                );
                Ok(true)
            }
            (Verdict::Answered(stream, expected), kind::HEADERS) if frame.stream == stream => {
                let status = frame.status();
                if status.is_some_and(|status| status < 200) {
                    return Ok(false);
                }
                ensure!(status == Some(expected), "answered with {status:?}, expected {expected}");
                Ok(true)
            }
            (Verdict::Answered(..) | Verdict::Alive, kind::GOAWAY) => bail!("GOAWAY with {error:x?}"),
            (Verdict::Answered(stream, _), kind::RST_STREAM) if frame.stream == stream => {
                bail!("reset with {error:x?}")
            }
            (Verdict::Alive, kind::PING) if frame.has(flag::ACK) => {
                // An answer to an earlier PING of the case may come first.
                Ok(frame.payload == b"are you?")
            }
            (Verdict::Decided(_), kind::GOAWAY | kind::RST_STREAM) => Ok(true),
            (Verdict::Decided(stream), kind::HEADERS) => Ok(frame.stream == stream),
            _ => Ok(false),
        }
    }
}
