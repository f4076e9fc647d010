//! Connecting over TCP.

use std::{io, net::SocketAddr};

use rustls_pki_types::ServerName;
use socket2::SockRef;
use starling_proto::NodeId;
use tokio::{io::BufReader, net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, TlsStream};

use super::{
    Inner,
    carried::{Carried, Tls},
    error::AskErrorKind,
    frame::Framed,
    tls,
};

/// What is read from the socket of the asking side in one go.
const READ_BYTES: usize = 64 << 10;
/// The kernel asks for more to send when less than half of this is unsent: it bounds what a slow reader holds.
const UNSENT_BYTES_MAX: u32 = 512 << 10;

/// Small frames leave at once, and little waits in the kernel.
pub(super) fn prepare(stream: &TcpStream) {
    // Failing means that the peer is gone, which shows at once.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
}

/// Who is behind a connection.
pub(super) fn peer_of(tls: &Tls) -> Result<NodeId, String> {
    let (_, session) = tls.get_ref();
    tls::shown_by(session.peer_certificates(), session.alpn_protocol())
}

impl Inner {
    /// Connects to whoever is at the address, or fails if it is somebody else than expected. Nothing is said yet.
    pub(super) async fn dial_tcp(
        &self,
        address: SocketAddr,
        expected: Option<NodeId>,
    ) -> Result<(Framed, NodeId), AskErrorKind> {
        let dialled = timeout(self.settings.connect_timeout, async {
            let stream = TcpStream::connect(address).await.map_err(|_| AskErrorKind::Connect)?;
            prepare(&stream);
            let stream = BufReader::with_capacity(READ_BYTES, stream);
            let name = ServerName::IpAddress(address.ip().into());
            let connector = TlsConnector::from(self.tls.client.clone());
            let tls = connector.connect(name, stream).await.map_err(|error| why_no_tls(&error))?;
            let tls = TlsStream::Client(tls);
            let shown = peer_of(&tls).map_err(AskErrorKind::NotAdmitted)?;
            self.must_be(shown, expected)?;
            Ok((Framed::new(Carried::Tcp(Box::new(tls))), shown))
        });
        dialled.await.unwrap_or(Err(AskErrorKind::Connect))
    }

    /// Fails if `shown` is somebody else than expected, or this node itself.
    pub(super) fn must_be(&self, shown: NodeId, expected: Option<NodeId>) -> Result<(), AskErrorKind> {
        if shown == self.reception.identity.id {
            return Err(AskErrorKind::NotAdmitted("it is this node itself".to_owned()));
        }
        match expected {
            Some(expected) if shown != expected => {
                Err(AskErrorKind::NotAdmitted(format!("it is {shown}, not {expected}")))
            }
            _ => Ok(()),
        }
    }
}

/// A handshake that the other side broke off is no admission; a connection that ended is none.
fn why_no_tls(error: &io::Error) -> AskErrorKind {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => AskErrorKind::NotAdmitted(error.to_string()),
        None => AskErrorKind::Connect,
    }
}
