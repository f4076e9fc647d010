//! TLS: certificates by name, their reload, and hosts they are not for.

use std::{fs, path::Path, sync::Arc};

use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Running, limits, run_with};
use crate::front::{
    BindError, Front, Settings,
    settings::CertificateSettings,
    tls::{TlsError, certificates::CertificateError},
};

/// Writes a new certificate for `names` to `directory` and gives its settings and itself.
fn certificate(
    directory: &Path,
    file: &str,
    names: &[&str],
) -> (CertificateSettings, CertificateDer<'static>) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let settings = CertificateSettings {
        cert_file: directory.join(format!("{file}.crt")),
        key_file: directory.join(format!("{file}.key")),
    };
    fs::write(&settings.cert_file, certificate.pem()).unwrap();
    fs::write(&settings.key_file, key.serialize_pem()).unwrap();
    (settings, certificate.der().clone())
}

fn settings(certificates: Vec<CertificateSettings>) -> Settings {
    let https = vec![([127, 0, 0, 1], 0).into()];
    Settings { http: Vec::new(), https, certificates, limits: limits() }
}

/// Connects, asking for `name`; `Err` when the certificate shown is not one of `trusted`.
async fn connect(
    front: &Running,
    name: &str,
    trusted: &[&CertificateDer<'static>],
    alpn: &[u8],
) -> Result<TlsStream<TcpStream>, std::io::Error> {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add((*certificate).clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, front.connect().await).await
}

async fn get(mut stream: TlsStream<TcpStream>, host: &str) -> String {
    let request = format!("GET /x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_client_is_shown_the_certificate_of_the_name_it_asks_for() {
    let directory = TempDir::new().unwrap();
    let (first, first_der) = certificate(directory.path(), "first", &["a.example"]);
    let (second, second_der) = certificate(directory.path(), "second", &["b.example", "*.b.example"]);
    let (front, _) = run_with(settings(vec![first, second])).await;
    for (name, der) in [("a.example", &first_der), ("b.example", &second_der), ("x.b.example", &second_der)] {
        let stream = connect(&front, name, &[der], b"http/1.1").await.unwrap();
        let answer = get(stream, name).await;
        assert!(answer.contains(&format!("GET {name} /x\n")), "{answer:?}");
    }
    assert!(connect(&front, "x.y.b.example", &[&second_der], b"http/1.1").await.is_err());
}

#[tokio::test]
async fn a_host_that_the_certificate_is_not_for_is_misdirected() {
    let directory = TempDir::new().unwrap();
    let (first, first_der) = certificate(directory.path(), "first", &["a.example", "c.example"]);
    let (second, _) = certificate(directory.path(), "second", &["b.example"]);
    let (front, _) = run_with(settings(vec![first, second])).await;
    for (host, status) in [("c.example", 200), ("a.example:443", 200), ("b.example", 421), ("d.example", 421)]
    {
        let stream = connect(&front, "a.example", &[&first_der], b"http/1.1").await.unwrap();
        let answer = get(stream, host).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host} was answered {answer:?}");
    }
}

#[tokio::test]
async fn http2_is_spoken_when_it_is_agreed_on() {
    let directory = TempDir::new().unwrap();
    let (first, der) = certificate(directory.path(), "first", &["a.example"]);
    let (front, _) = run_with(settings(vec![first])).await;
    let stream = connect(&front, "a.example", &[&der], b"h2").await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::task::spawn(connection);
    let mut client: h2::client::SendRequest<bytes::Bytes> = client.ready().await.unwrap();
    for (uri, status) in
        [("https://a.example/", 200), ("https://b.example/", 421), ("http://a.example/", 400)]
    {
        let request = http::Request::builder().uri(uri).body(()).unwrap();
        let (response, _) = client.send_request(request, true).unwrap();
        assert_eq!(response.await.unwrap().status().as_u16(), status, "{uri}");
    }
}

#[tokio::test]
async fn certificates_are_replaced_whole_or_not_at_all() {
    let directory = TempDir::new().unwrap();
    let (first, old) = certificate(directory.path(), "first", &["a.example"]);
    let (front, certificates) = run_with(settings(vec![first.clone()])).await;
    connect(&front, "a.example", &[&old], b"http/1.1").await.unwrap();

    let (_, new) = certificate(directory.path(), "first", &["a.example"]);
    certificates.reload().unwrap();
    connect(&front, "a.example", &[&new], b"http/1.1").await.unwrap();
    assert!(connect(&front, "a.example", &[&old], b"http/1.1").await.is_err());

    let (other, _) = certificate(directory.path(), "other", &["a.example"]);
    fs::copy(&other.key_file, &first.key_file).unwrap();
    let error = certificates.reload().unwrap_err();
    assert!(matches!(error, CertificateError::Key { .. }), "{error}");
    assert!(error.to_string().contains("first.key"), "{error}");
    connect(&front, "a.example", &[&new], b"http/1.1").await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_named() {
    let directory = TempDir::new().unwrap();
    let (good, _) = certificate(directory.path(), "good", &["a.example"]);
    let missing = CertificateSettings { cert_file: directory.path().join("none.crt"), ..good.clone() };
    fs::write(directory.path().join("empty.crt"), "").unwrap();
    let empty = CertificateSettings { cert_file: directory.path().join("empty.crt"), ..good.clone() };
    for (settings_of, named) in
        [(vec![good.clone(), missing], "none.crt"), (vec![empty], "empty.crt"), (vec![], "HTTPS")]
    {
        let error = Front::bind(settings(settings_of)).err().unwrap();
        assert!(matches!(error, BindError::Tls(TlsError::Certificate(_))));
        assert!(error.to_string().contains(named), "{error}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = Front::bind(Settings { http: vec![address], ..Settings::default() }).err().unwrap();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}
