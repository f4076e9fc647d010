//! Connections that peers make: listeners, greetings, questions, and the end.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use quinn::Connection;
use starling_proto::UnixMs;
use tokio::{
    io::BufReader,
    net::{TcpListener, TcpStream},
    sync::OwnedSemaphorePermit,
    task::{JoinError, JoinSet},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{
    Inner,
    carried::Carried,
    dial,
    events::Greeting,
    frame::{Expect, Frame, FrameError, Framed},
    lobby::Place,
    peers::PeerEntry,
    quic,
    reception::Unwelcome,
    stats::ConnectionIn,
};

/// How often idle connections and forgotten peers are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(1);
/// How long accepting pauses when the system has no more files or memory for connections.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What is read from the socket of the answering side in one go: questions.
const READ_BYTES: usize = 4 << 10;
/// The accepting side closes an idle connection so much later than the dialling side, which thereby seldom finds
/// one closed that it is about to use.
const IDLE_GRACE: Duration = Duration::from_secs(5);

/// A peer that was let in, over one connection.
struct Admitted {
    peer: Arc<PeerEntry>,
    address: SocketAddr,
    expires_ms: UnixMs,
    _counted: ConnectionIn,
}

impl Inner {
    /// Accepts until `stop`; then ends all connections, once what is being asked on them has been answered, or has
    /// taken too long.
    pub(super) async fn accept(self: &Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        let mut prune = interval(PRUNE_EVERY);
        prune.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = connections.join_next() => log_panic(ended),
                _ = prune.tick() => self.peers.prune(self.settings.idle_timeout),
                accepted = listener.accept() => match accepted {
                    Ok((stream, address)) => match self.lobby.enter(address.ip()) {
                        Some(place) => { connections.spawn(self.clone().serve_tcp(stream, address, place)); }
                        None => self.totals.connections_refused.add(1),
                    },
                    Err(error) => pause(&error).await,
                },
                incoming = self.endpoint.accept() => {
                    let Some(incoming) = incoming else { break };
                    if self.lobby.is_crowded() && !incoming.remote_address_validated() && incoming.may_retry() {
                        // Whoever is not at the address it claims takes no place.
                        if incoming.retry().is_err() {
                            self.totals.connections_refused.add(1);
                        }
                        continue;
                    }
                    match self.lobby.enter(incoming.remote_address().ip()) {
                        Some(place) => { connections.spawn(self.clone().serve_quic(incoming, place)); }
                        None => {
                            self.totals.connections_refused.add(1);
                            incoming.refuse();
                        }
                    }
                },
            }
        }
        drop(listener);
        self.stopping.cancel();
        let ended = async {
            while let Some(ended) = connections.join_next().await {
                log_panic(ended);
            }
        };
        // Who is still there after that is cut.
        let _ = timeout(self.settings.silence_timeout, ended).await;
        connections.shutdown().await;
        self.peers.close();
        self.endpoint.close(0u8.into(), b"");
        // Peers that do not hear of it find out by themselves.
        let _ = timeout(self.settings.ack_timeout, self.endpoint.wait_idle()).await;
    }

    /// A seat for a peer that was let in.
    fn seat(&self) -> Option<OwnedSemaphorePermit> {
        let seat = self.seats.clone().try_acquire_owned().ok();
        if seat.is_none() {
            self.totals.connections_refused.add(1);
        }
        seat
    }

    async fn serve_tcp(self: Arc<Self>, stream: TcpStream, address: SocketAddr, place: Place) {
        dial::prepare(&stream);
        let acceptor = TlsAcceptor::from(self.tls.server.clone());
        let within = self.settings.connect_timeout;
        let greeted = timeout(within, async {
            let stream = BufReader::with_capacity(READ_BYTES, stream);
            let tls = match acceptor.accept(stream).await {
                Ok(tls) => TlsStream::Server(tls),
                // Health checks and scans end here.
                Err(error) => return Err((None, Unwelcome::Certificate(error.to_string()))),
            };
            let id = dial::peer_of(&tls).map_err(|why| (None, Unwelcome::Certificate(why)))?;
            let mut framed = Framed::new(Carried::Tcp(Box::new(tls)));
            let first = framed.next(Expect::Hello).await;
            let welcome = self.reception.welcome(first, id, address);
            welcome.map(|(hello, expires_ms)| (framed, id, hello, expires_ms)).map_err(|why| (Some(id), why))
        });
        let (mut framed, id, hello, expires_ms) = match greeted.await.unwrap_or(Err((None, Unwelcome::Late)))
        {
            Ok(greeted) => greeted,
            Err((id, why)) => return self.reception.turned_away(address, id, &why),
        };
        drop(place);
        let Some(_seat) = self.seat() else { return };
        let admitted = self.admit(Greeting { from: id, address, hello: *hello }, expires_ms);
        framed.belongs_to(&admitted.peer);
        self.reception.put_hello(&mut framed);
        // Where the first question came with the greeting, both are answered together.
        if framed.is_clean()
            && let Err(error) = framed.flush(within).await
        {
            return debug!(%address, node = %id, %error, "a peer left at its greeting");
        }
        let idle_timeout = self.settings.idle_timeout + IDLE_GRACE;
        loop {
            let question = tokio::select! {
                biased;
                question = timeout(idle_timeout, framed.next(Expect::Question)) => question,
                () = self.stopping.cancelled() => return,
            };
            let answered = match question {
                Ok(Ok(Some(question))) => self.answer(&mut framed, &admitted, question).await,
                Ok(Ok(None)) | Err(_) => return,
                Ok(Err(error)) => Err(Cut::Frame(error)),
            };
            if let Err(cut) = answered {
                return self.cut(&admitted, &cut);
            }
            if self.stopping.is_cancelled() {
                return;
            }
        }
    }

    async fn serve_quic(self: Arc<Self>, incoming: quinn::Incoming, place: Place) {
        let address = incoming.remote_address();
        let within = self.settings.connect_timeout;
        let connected = timeout(within, async { incoming.accept()?.await }).await;
        let Ok(Ok(connection)) = connected else {
            return self.reception.turned_away(address, None, &Unwelcome::Late);
        };
        let greeted = timeout(within, async {
            let id = quic::peer_of(&connection).map_err(|why| (None, Unwelcome::Certificate(why)))?;
            let (send, recv) = connection.accept_bi().await.map_err(|_| (Some(id), Unwelcome::Closed))?;
            let mut framed = Framed::new(Carried::Quic(send, recv));
            let first = framed.next(Expect::Hello).await;
            match self.reception.welcome(first, id, address) {
                Ok((hello, expires_ms)) => Ok((framed, id, hello, expires_ms)),
                Err(why) => {
                    framed.abort();
                    Err((Some(id), why))
                }
            }
        });
        let (mut framed, id, hello, expires_ms) = match greeted.await.unwrap_or(Err((None, Unwelcome::Late)))
        {
            Ok(greeted) => greeted,
            Err((id, why)) => {
                quic::close(&connection);
                return self.reception.turned_away(address, id, &why);
            }
        };
        drop(place);
        let Some(_seat) = self.seat() else { return };
        let admitted = Arc::new(self.admit(Greeting { from: id, address, hello: *hello }, expires_ms));
        framed.belongs_to(&admitted.peer);
        quic::open_up(&connection, self.settings.questions_max);
        self.reception.put_hello(&mut framed);
        if framed.flush(within).await.is_err() {
            return;
        }
        framed.finish();
        let mut questions = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some(ended) = questions.join_next() => log_panic(ended),
                stream = connection.accept_bi() => match stream {
                    Ok((send, recv)) => {
                        let framed = Framed::new(Carried::Quic(send, recv));
                        let (link, admitted) = (self.clone(), admitted.clone());
                        questions.spawn(link.serve_stream(connection.clone(), framed, admitted));
                    }
                    // Its questions end with it.
                    Err(_) => break,
                },
                () = self.stopping.cancelled() => {
                    while let Some(ended) = questions.join_next().await {
                        log_panic(ended);
                    }
                    return quic::close(&connection);
                }
            }
        }
        while let Some(ended) = questions.join_next().await {
            log_panic(ended);
        }
    }

    async fn serve_stream(
        self: Arc<Self>,
        connection: Connection,
        mut framed: Framed,
        admitted: Arc<Admitted>,
    ) {
        framed.belongs_to(&admitted.peer);
        let question = timeout(self.settings.ack_timeout, framed.next(Expect::Question)).await;
        let answered = match question {
            Ok(Ok(Some(question))) => self.answer(&mut framed, &admitted, question).await,
            // It was given up before it was asked.
            Ok(Ok(None)) | Err(_) => Ok(()),
            Ok(Err(error)) => Err(Cut::Frame(error)),
        };
        match answered {
            Ok(()) => {
                framed.finish();
                // At the end of the link, the connection is closed behind its last question.
                let _ = timeout(self.limits.stall_timeout, framed.delivered()).await;
            }
            // The question is given up, the connection goes on.
            Err(Cut::Frame(FrameError::Broken(_) | FrameError::Stalled)) => framed.abort(),
            Err(cut) => {
                framed.abort();
                self.cut(&admitted, &cut);
                quic::close(&connection);
            }
        }
    }

    /// Takes a peer in whose ticket was checked, and tells of it if it was not heard of lately.
    fn admit(&self, greeting: Greeting, expires_ms: UnixMs) -> Admitted {
        let is_new = self.peers.get(greeting.from).is_none();
        let peer = self.peers.of(greeting.from);
        let address = greeting.address;
        if is_new {
            self.doors.greeted(greeting);
        }
        Admitted { _counted: ConnectionIn::new(&peer), peer, address, expires_ms }
    }

    /// Answers one question. Fails when its connection is to be closed.
    async fn answer(&self, framed: &mut Framed, admitted: &Admitted, question: Frame) -> Result<(), Cut> {
        let Admitted { peer, address, .. } = admitted;
        if self.reception.is_expired(admitted.expires_ms) {
            return Err(Cut::Expired);
        }
        if !peer.pace.lock().allows(Instant::now()) {
            return Err(Cut::TooFast);
        }
        peer.counters.answered.add(1);
        match question {
            Frame::Fetch(fetch) => self.answer_fetch(framed, peer, *fetch).await?,
            Frame::Call(call) => self.answer_call(framed, peer, call).await?,
            Frame::Greet(hello) => {
                let checked = self.reception.check(&hello, peer.id, *address);
                checked.map_err(|why| Cut::Frame(FrameError::Protocol(why.to_string())))?;
                self.doors.greeted(Greeting { from: peer.id, address: *address, hello: *hello });
                self.reception.put_greet(framed);
                framed.flush(self.limits.stall_timeout).await?;
            }
            _ => return Err(Cut::Frame(FrameError::Protocol("no question".to_owned()))),
        }
        Ok(())
    }

    fn cut(&self, admitted: &Admitted, why: &Cut) {
        let Admitted { peer, address, .. } = admitted;
        match why {
            // It has gone, or gave up its question: that is no offence.
            Cut::Frame(FrameError::Broken(_)) => debug!(node = %peer.id, %address, %why, "a peer has gone"),
            Cut::Expired => {
                self.totals.cut_off.add(1);
                info!(node = %peer.id, %address, "a peer's ticket has expired");
            }
            _ => {
                self.totals.cut_off.add(1);
                warn!(node = %peer.id, %address, %why, "a peer was cut off");
            }
        }
    }
}

/// Why a connection is closed by the side that answers.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("it asks too much in too short a time")]
    TooFast,
    #[error("its ticket has expired")]
    Expired,
}

/// A client that left before it was accepted is no trouble; everything else is the system's, and would fail again
/// at once.
async fn pause(error: &io::Error) {
    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        return;
    }
    warn!(%error, "cannot accept peers for a moment");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(%error, "a peer's connection ended by a panic");
    }
}
