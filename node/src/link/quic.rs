//! The QUIC carrier: one socket for both directions, one connection to each peer, one stream for each question.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, IdleTimeout, ServerConfig,
    TransportConfig, VarInt,
    crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig},
};
use rustls::pki_types::CertificateDer;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use starling_proto::NodeId;
use tokio::time::timeout;

use super::{
    Inner,
    carried::Carried,
    error::AskErrorKind,
    frame::{Expect, Framed},
    peers::{CALLS_MAX, PeerEntry},
    settings::{LinkError, Settings},
    tls,
};

/// What one answer may have on its way: 100 ms at 80 MB/s.
const STREAM_WINDOW: u32 = 8 << 20;
/// What all answers of a peer together may have on their way.
const CONNECTION_WINDOW: u32 = 32 << 20;
/// What one question may have on its way: the longest call, and then some.
const QUESTION_WINDOW: u32 = 1 << 20;
/// What a peer may send before it was let in: a greeting.
const STRANGER_WINDOW: u32 = 64 << 10;
/// Socket buffers, where the system allows.
const SOCKET_BYTES: usize = 4 << 20;

/// The socket with both configurations.
pub(super) fn bind(settings: &Settings, configs: &tls::Configs) -> Result<Endpoint, LinkError> {
    let text = |error: &dyn std::fmt::Display| LinkError::Tls(error.to_string());
    let client = QuicClientConfig::try_from(configs.client.clone()).map_err(|error| text(&error))?;
    let server = QuicServerConfig::try_from(configs.server.clone()).map_err(|error| text(&error))?;

    // A peer that is frozen or cut off is noticed by its silence long before; this only frees what it held.
    let dead_after = (settings.silence_timeout * 4).min(Duration::from_secs(60));
    let idle = IdleTimeout::try_from(dead_after).expect("at most a minute");
    let mut asking = TransportConfig::default();
    asking
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(dead_after / 4))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW));
    let mut answering = TransportConfig::default();
    answering
        .max_idle_timeout(Some(idle))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(QUESTION_WINDOW))
        .receive_window(VarInt::from_u32(STRANGER_WINDOW))
        .send_window(u64::from(CONNECTION_WINDOW));
    let mut client = ClientConfig::new(Arc::new(client));
    client.transport_config(Arc::new(asking));
    let mut server = ServerConfig::with_crypto(Arc::new(server));
    server.transport_config(Arc::new(answering));

    let socket = udp_socket(settings.listen_quic)
        .map_err(|source| LinkError::Listen { address: settings.listen_quic, source })?;
    let runtime = Arc::new(quinn::TokioRuntime);
    let mut endpoint = Endpoint::new(EndpointConfig::default(), Some(server), socket, runtime)
        .map_err(|source| LinkError::Listen { address: settings.listen_quic, source })?;
    endpoint.set_default_client_config(client);
    Ok(endpoint)
}

fn udp_socket(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    let sized = SockRef::from(&socket);
    // The system may grant less; then it does with less.
    let _ = sized.set_recv_buffer_size(SOCKET_BYTES);
    let _ = sized.set_send_buffer_size(SOCKET_BYTES);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Lets a peer that was admitted ask: so many questions at a time, and a fetch's bytes for each.
pub(super) fn open_up(connection: &Connection, questions_max: usize) {
    let questions_max = u32::try_from(questions_max.saturating_add(CALLS_MAX)).unwrap_or(u32::MAX);
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(questions_max));
    connection.set_receive_window(VarInt::from_u32(8 * QUESTION_WINDOW));
}

/// Who is behind a connection.
pub(super) fn peer_of(connection: &Connection) -> Result<NodeId, String> {
    let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    let shown = connection.peer_identity();
    let shown = shown.and_then(|shown| shown.downcast::<Vec<CertificateDer<'static>>>().ok());
    let shown = shown.as_deref().map(Vec::as_slice);
    tls::shown_by(shown, data.and_then(|data| data.protocol).as_deref())
}

/// Says nothing, not even why.
pub(super) fn close(connection: &Connection) {
    connection.close(VarInt::from_u32(0), b"");
}

/// The connection to a peer that all questions share.
#[derive(Default)]
pub(super) struct Shared {
    open: Mutex<Option<Open>>,
    /// Held by the one who dials; holds how the last attempt failed, for those who waited meanwhile.
    dialling: tokio::sync::Mutex<Option<(Instant, AskErrorKind)>>,
}

struct Open {
    connection: Connection,
    address: SocketAddr,
    used: Instant,
}

impl Shared {
    fn get(&self, address: SocketAddr) -> Option<Connection> {
        let mut open = self.open.lock();
        let found = open.as_mut().filter(|open| open.address == address)?;
        if found.connection.close_reason().is_some() {
            *open = None;
            return None;
        }
        found.used = Instant::now();
        Some(found.connection.clone())
    }

    fn set(&self, connection: Connection, address: SocketAddr) {
        let open = Open { connection, address, used: Instant::now() };
        if let Some(before) = self.open.lock().replace(open) {
            close(&before.connection);
        }
    }

    /// To be called while no question is under way.
    pub(super) fn close_if_idle(&self, idle_timeout: Duration) {
        let mut open = self.open.lock();
        let is_old =
            |open: &mut Open| open.used.elapsed() >= idle_timeout || open.connection.close_reason().is_some();
        if let Some(old) = open.take_if(is_old) {
            close(&old.connection);
        }
    }

    pub(super) fn rtt(&self) -> Option<Duration> {
        self.open.lock().as_ref().map(|open| open.connection.rtt())
    }
}

impl Inner {
    /// A stream for one question to this peer; whether its connection was made for it.
    pub(super) async fn quic_stream(
        &self,
        peer: &Arc<PeerEntry>,
        address: SocketAddr,
    ) -> Result<(Framed, bool), AskErrorKind> {
        let within = self.settings.connect_timeout;
        let opened = timeout(within, async {
            let (connection, is_fresh) = self.quic_connection(peer, address).await?;
            match connection.open_bi().await {
                Ok((send, recv)) => Ok((Framed::new(Carried::Quic(send, recv)), is_fresh)),
                // It ended just now; it is replaced once.
                Err(_) if !is_fresh => {
                    let (connection, _) = self.quic_connection(peer, address).await?;
                    let (send, recv) = connection.open_bi().await.map_err(|_| AskErrorKind::Broken)?;
                    Ok((Framed::new(Carried::Quic(send, recv)), true))
                }
                Err(_) => Err(AskErrorKind::Broken),
            }
        });
        opened.await.unwrap_or(Err(AskErrorKind::Connect))
    }

    async fn quic_connection(
        &self,
        peer: &Arc<PeerEntry>,
        address: SocketAddr,
    ) -> Result<(Connection, bool), AskErrorKind> {
        if let Some(connection) = peer.quic.get(address) {
            return Ok((connection, false));
        }
        let since = Instant::now();
        let mut failure = peer.quic.dialling.lock().await;
        if let Some(connection) = peer.quic.get(address) {
            return Ok((connection, false));
        }
        if let Some((at, kind)) = &*failure
            && *at >= since
        {
            return Err(kind.clone());
        }
        match self.dial_quic(peer, address).await {
            Ok(connection) => {
                peer.counters.connects.add(1);
                peer.quic.set(connection.clone(), address);
                Ok((connection, true))
            }
            Err(kind) => {
                *failure = Some((Instant::now(), kind.clone()));
                Err(kind)
            }
        }
    }

    /// Connects and greets. What is not admitted is closed.
    async fn dial_quic(
        &self,
        peer: &Arc<PeerEntry>,
        address: SocketAddr,
    ) -> Result<Connection, AskErrorKind> {
        let refused = |error: ConnectionError| match error {
            ConnectionError::TransportError(error) => AskErrorKind::NotAdmitted(error.to_string()),
            ConnectionError::ApplicationClosed(_) => {
                AskErrorKind::NotAdmitted("it closed the connection: its log may say why".to_owned())
            }
            _ => AskErrorKind::Connect,
        };
        let connecting = self.endpoint.connect(address, "node").map_err(|_| AskErrorKind::Connect)?;
        let connection = connecting.await.map_err(refused)?;
        let dialled = Dialled(Some(connection.clone()));
        let shown = peer_of(&connection).map_err(AskErrorKind::NotAdmitted)?;
        self.must_be(shown, Some(peer.id))?;
        let (send, recv) = connection.open_bi().await.map_err(refused)?;
        let mut framed = Framed::new(Carried::Quic(send, recv));
        framed.belongs_to(peer);
        self.reception.put_hello(&mut framed);
        framed.flush(self.settings.connect_timeout).await?;
        framed.finish();
        let first = framed.next(Expect::Hello).await;
        let welcome = self.reception.welcome(first, peer.id, address);
        welcome.map_err(|why| AskErrorKind::NotAdmitted(why.to_string()))?;
        Ok(dialled.keep())
    }
}

/// Closes a connection whose greeting fails or is given up.
struct Dialled(Option<Connection>);

impl Dialled {
    fn keep(mut self) -> Connection {
        self.0.take().expect("it is kept once")
    }
}

impl Drop for Dialled {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            close(&connection);
        }
    }
}
