//! Nodes that stand alone, in this process.

use std::io::{Read, Write};

use super::*;
use crate::config::{self, Override, Sources};

pub(super) fn config(data: &std::path::Path, more: &[(&str, &str)]) -> Config {
    let flags = [
        ("node.name", "alone-1"),
        ("node.http", "127.0.0.1:0"),
        ("node.admin", "127.0.0.1:0"),
        ("node.data", data.to_str().unwrap()),
    ];
    let flags = flags.iter().chain(more).map(|(key, value)| {
        ((*key).to_owned(), Override { flag: "a test".to_owned(), values: vec![(*value).to_owned()] })
    });
    let origins = vec!["http://127.0.0.1:1".to_owned()];
    config::load(&Sources { flags: flags.collect(), origins, ..Sources::default() }).unwrap()
}

async fn get(address: SocketAddr, path: &'static str) -> String {
    ask(address, "GET", path, "localhost", "").await
}

async fn ask(
    address: SocketAddr,
    method: &'static str,
    path: &'static str,
    host: &'static str,
    body: &'static str,
) -> String {
    let ask = move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n").unwrap();
        write!(stream, "Content-Type: application/toml\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_one_process_share_nothing_and_end_whole() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let one = Running::start(config(dirs[0].path(), &[])).await.unwrap();
    let two = Running::start(config(dirs[1].path(), &[("node.name", "alone-2")])).await.unwrap();
    assert_ne!(one.addresses(), two.addresses());
    assert_eq!(one.addresses().mesh, None);
    let admin = [one.addresses().admin[0], two.addresses().admin[0]];
    assert!(get(admin[0], "/v1/status").await.contains("\"node\":\"alone-1\""));
    assert!(get(admin[1], "/v1/status").await.contains("\"node\":\"alone-2\""));
    one.stop().await;
    assert!(std::net::TcpStream::connect(admin[0]).is_err(), "nobody listens any more");
    assert!(get(admin[1], "/readyz").await.contains("200 OK"), "the other goes on");
    let again = Running::start(config(dirs[0].path(), &[])).await.expect("its data is free again");
    again.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stands_alone_is_its_only_peer_and_owns_all() {
    let dir = tempfile::tempdir().unwrap();
    let node = Running::start(config(dir.path(), &[])).await.unwrap();
    let admin = node.addresses().admin[0];
    let peers = get(admin, "/v1/peers").await;
    let peers: serde_json::Value = serde_json::from_str(peers.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(peers["peers"].as_array().unwrap().len(), 1, "{peers}");
    let me = &peers["peers"][0];
    assert_eq!((&me["node"], &me["self"], &me["in_ring"]), (&"alone-1".into(), &true.into(), &true.into()));
    assert_eq!((&me["address"], &me["health"]["ready"]), (&serde_json::Value::Null, &true.into()), "{me}");
    let ring = get(admin, "/v1/ring?url=example.org/a").await;
    assert!(ring.contains("\"owner\":\"alone-1\"") && ring.contains("\"share_permille\":1000"), "{ring}");
    assert!(get(admin, "/v1/status").await.contains("\"mesh\":null"));
    node.stop().await;
}

/// The listeners were bound before the mesh was joined, and the store was open.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let started = Running::start(config(dir.path(), &[("node.admin", &address)])).await;
    let error = started.err().expect("the address is taken");
    assert!(format!("{error:#}").contains(&address), "{error:#}");
    let node = Running::start(config(dir.path(), &[])).await.expect("the data is free");
    node.stop().await;
}

/// Its host is answered for from the moment that the API has answered, and no longer than that.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_set_and_deleted_while_the_node_runs() {
    let dir = tempfile::tempdir().unwrap();
    let node = Running::start(config(dir.path(), &[])).await.unwrap();
    let (http, admin) = (node.addresses().http[0], node.addresses().admin[0]);
    let definition = "hosts = 'new.example'\norigins = 'http://127.0.0.1:1'\n";
    let set = ask(admin, "PUT", "/v1/services/new", "localhost", definition).await;
    assert!(set.contains("201 Created") && set.contains("\"id\":\"local/"), "{set}");
    let services = get(admin, "/v1/services").await;
    assert!(
        services.contains("\"source\":\"file\"") && services.contains("\"source\":\"mesh\""),
        "{services}"
    );
    let wrong =
        ask(admin, "PUT", "/v1/services/more", "localhost", "hosts = 'new.example'\norigins = 'http://a'\n")
            .await;
    assert!(wrong.contains(" 422 ") && wrong.contains("belongs to the service"), "{wrong}");
    let wrong = ask(admin, "PUT", "/v1/services/more", "localhost", "hosts = 'more.example'\n").await;
    assert!(wrong.contains(" 422 ") && wrong.contains("service more: origins: missing"), "{wrong}");
    let status = get(admin, "/v1/status").await;
    assert!(status.contains("\"service\":\"new\"") && status.contains("\"problems\":[]"), "{status}");
    let deleted = ask(admin, "DELETE", "/v1/services/default", "localhost", "").await;
    assert!(deleted.contains("200 OK"), "{deleted}");
    let gone = ask(http, "GET", "/", "other.example", "").await;
    assert!(gone.contains(" 421 "), "{gone}");
    assert!(ask(http, "GET", "/", "new.example", "").await.contains(" 50"), "its origin is not there");
    node.stop().await;
}
