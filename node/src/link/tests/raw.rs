//! Peers that are played byte by byte.

use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::*;
use crate::link::{
    carried::{Carried, Tls},
    dial,
    frame::{Expect, Frame, Framed, Kind},
    tls::Configs,
};

/// A node's own TLS configurations, for who speaks as it without its link.
pub(super) fn configs(keypair: &Keypair) -> Configs {
    Configs::new(keypair).expect("an ed25519 key")
}

/// TLS to an address, as the holder of these configurations.
pub(super) async fn dial(address: SocketAddr, client: Arc<rustls::ClientConfig>) -> std::io::Result<Tls> {
    let stream = BufReader::new(TcpStream::connect(address).await?);
    let name = ServerName::IpAddress(address.ip().into());
    Ok(TlsStream::Client(TlsConnector::from(client).connect(name, stream).await?))
}

/// What comes until the connection ends, however it ends.
pub(super) async fn all_of(tls: &mut Tls) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = soon(tls.read_to_end(&mut bytes)).await;
    bytes
}

pub(super) async fn send(tls: &mut Tls, bytes: &[u8]) {
    // It may be refused already, which is what the caller wants to see.
    let _ = tls.write_all(bytes).await;
    let _ = tls.flush().await;
}

/// A QUIC client with these configurations.
pub(super) fn endpoint(configs: &Configs) -> quinn::Endpoint {
    super::super::quic::bind(&settings(), configs).expect("bound")
}

/// A node whose TCP side is played by the test.
pub(super) struct Acted {
    pub(super) identity: Identity,
    listener: tokio::net::TcpListener,
    acceptor: TlsAcceptor,
}

impl Acted {
    pub(super) async fn new() -> Self {
        let identity = identity(Keypair::generate_ed25519());
        let acceptor = TlsAcceptor::from(configs(&identity.keypair).server);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        Self { identity, listener, acceptor }
    }

    pub(super) fn peer(&self) -> Peer {
        let address = self.listener.local_addr().expect("bound");
        Peer { id: self.identity.id, address, carrier: Carrier::Tcp }
    }

    /// The next connection, with its greeting read.
    pub(super) async fn accept(&self) -> Framed {
        let (stream, _) = soon(self.listener.accept()).await.expect("accepted");
        let tls = soon(self.acceptor.accept(BufReader::new(stream))).await.expect("a node");
        let tls = TlsStream::Server(tls);
        dial::peer_of(&tls).expect("it has an id");
        let mut framed = Framed::new(Carried::Tcp(Box::new(tls)));
        let first = soon(framed.next(Expect::Hello)).await.expect("a frame");
        assert!(matches!(first, Some(Frame::Hello(_))));
        framed
    }

    /// The next connection, with greetings exchanged and the first question read.
    pub(super) async fn accept_question(&self) -> Framed {
        let mut framed = self.accept().await;
        framed.put(Kind::Hello, &hello(self.identity.ticket.clone(), 0)).expect("short");
        framed.flush(SOON).await.expect("sent");
        let question = soon(framed.next(Expect::Question)).await.expect("a frame");
        assert!(matches!(question, Some(Frame::Fetch(_) | Frame::Call(_))));
        framed
    }
}
