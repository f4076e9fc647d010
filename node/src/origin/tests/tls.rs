//! Origins behind TLS, and HTTP/2.

use super::{
    super::{error::FetchErrorKind, pool::Pool},
    script::{get, pool_of, post, read_head, text},
};
use bytes::Bytes;
use rustls_pki_types::PrivateKeyDer;
use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};
use tempfile::NamedTempFile;
use tokio::{io::AsyncWriteExt, net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;

/// An origin with a certificate for `localhost` of its own making.
struct Secure {
    url: String,
    ca_file: NamedTempFile,
    requests: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Secure {
    /// Speaks HTTP/2 when `alpn` says so. Over HTTP/2 it refuses the first `refuses` streams.
    async fn start(alpn: &[u8], refuses: usize) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let mut ca_file = NamedTempFile::new().expect("a file");
        ca_file.write_all(made.cert.pem().as_bytes()).expect("written");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a chain");
        config.alpn_protocols = vec![alpn.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let url = format!("https://localhost:{}", listener.local_addr().expect("bound").port());
        let requests = Arc::new(AtomicUsize::new(0));
        let (count, is_http2) = (requests.clone(), alpn == b"h2");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut talks = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("accepted");
                let (acceptor, count) = (acceptor.clone(), count.clone());
                talks.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    if is_http2 { http2(stream, &count, refuses).await } else { http1(stream, &count).await }
                });
            }
        });
        Self { url, ca_file, requests, _tasks: tasks }
    }

    fn trusted(&self) -> Pool {
        pool_of(&[&self.url], |s| s.ca_file = Some(self.ca_file.path().to_owned()))
    }
}

type TlsStream = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;

async fn http1(mut stream: TlsStream, count: &AtomicUsize) {
    while read_head(&mut stream).await.is_some() {
        count.fetch_add(1, SeqCst);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecure").await.expect("written");
        stream.flush().await.expect("flushed");
    }
}

async fn http2(stream: TlsStream, count: &AtomicUsize, refuses: usize) {
    let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        if count.fetch_add(1, SeqCst) < refuses {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
            continue;
        }
        let (parts, _) = request.into_parts();
        let mut body = respond.send_response(http::Response::new(()), false).expect("a head");
        let host = parts.headers.contains_key("host");
        let told = format!("{} {} host={host}", parts.method, parts.uri);
        body.send_data(Bytes::from(told), true).expect("a body");
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_an_error() {
    let origin = Secure::start(b"http/1.1", 0).await;
    let error = pool_of(&[&origin.url], |_| ()).fetch(get("/")).await.expect_err("not trusted");
    assert_eq!(error.kind, FetchErrorKind::Tls);
    let other_name = pool_of(&[&origin.url], |s| {
        s.ca_file = Some(origin.ca_file.path().to_owned());
        s.host_header = Some("other.example".to_owned());
    });
    let error = other_name.fetch(get("/")).await.expect_err("not its name");
    assert_eq!(error.kind, FetchErrorKind::Tls);
    assert_eq!(origin.requests.load(SeqCst), 0);
}

#[tokio::test]
async fn a_certificate_is_trusted_by_file_or_by_not_asking() {
    let origin = Secure::start(b"http/1.1", 0).await;
    let unverified = pool_of(&[&origin.url], |s| s.tls_verify = false);
    for pool in [origin.trusted(), unverified] {
        assert_eq!(text(pool.fetch(get("/")).await.expect("answered")).await.expect("whole"), "secure");
    }
}

#[tokio::test]
async fn requests_share_a_connection_over_http2() {
    let origin = Secure::start(b"h2", 0).await;
    let pool = origin.trusted();
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let pool = pool.clone();
        tasks.spawn(async move { text(pool.fetch(get("/a//b?x=%2f")).await.expect("answered")).await });
    }
    while let Some(body) = tasks.join_next().await {
        let body = body.expect("joined").expect("whole");
        assert_eq!(body, "GET https://client.example/a//b?x=%2f host=false");
    }
    let (_, stats) = pool.stats().remove(0);
    assert_eq!((stats.requests, stats.connects), (8, 1));
    assert_eq!(pool.health()[0].in_flight, 0);
}

#[tokio::test]
async fn a_refused_stream_is_sent_again_once_if_it_had_no_body() {
    let origin = Secure::start(b"h2", 1).await;
    text(origin.trusted().fetch(get("/")).await.expect("answered")).await.expect("whole");
    assert_eq!(origin.requests.load(SeqCst), 2);
    let origin = Secure::start(b"h2", 1).await;
    let error = origin.trusted().fetch(post("abc", Some(3))).await.expect_err("refused");
    assert_eq!((error.kind, origin.requests.load(SeqCst)), (FetchErrorKind::Reset, 1));
    let origin = Secure::start(b"h2", 9).await;
    origin.trusted().fetch(get("/")).await.expect_err("refused again");
    assert_eq!(origin.requests.load(SeqCst), 2);
}
