//! Twelve nodes in one process: two regions, four PoPs. Nothing of a node is global, so that many can live side
//! by side; and a mesh is a mesh wherever its nodes run.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use starling::{
    app::Running,
    config::{self, Override, Sources},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

const POPS: [(&str, &str); 4] = [("eu", "lon"), ("eu", "fra"), ("us", "nyc"), ("us", "sfo")];
const REGIONS: [&str; 2] = ["eu", "us"];
const NODES_PER_POP: usize = 3;

/// An origin that counts what it is asked.
struct Origin {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    _connections: JoinSet<()>,
}

impl Origin {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let asked: Arc<AtomicUsize> = Arc::default();
        let counter = Arc::clone(&asked);
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut clients = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                clients.spawn(answer(client, Arc::clone(&counter)));
            }
        });
        Self { address, asked, _connections: connections }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// Answers one request after another until the client goes.
async fn answer(mut client: TcpStream, asked: Arc<AtomicUsize>) {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = client.read(&mut buffer).await {
        head.extend_from_slice(&buffer[..read]);
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            asked.fetch_add(1, Ordering::SeqCst);
            let response = "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nETag: \"1\"\r\nContent-Length: 5\r\n\r\nhello";
            if client.write_all(response.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

async fn start(
    name: &str,
    region: &str,
    pop: &str,
    peer: Option<SocketAddr>,
    origin: SocketAddr,
    dir: &TempDir,
) -> Running {
    let peer = peer.map(|peer| peer.to_string());
    let data = dir.path().join(name).display().to_string();
    let set = [
        ("node.name", name),
        ("node.region", region),
        ("node.pop", pop),
        ("node.data", &data),
        ("node.http", "127.0.0.1:0"),
        ("node.admin", "127.0.0.1:0"),
        ("node.mesh", "127.0.0.1:0"),
        ("node.region_expect", "6"),
        ("store.memory_bytes_max", "16MiB"),
        ("store.disk_bytes_max", "0"),
    ];
    let mut flags: BTreeMap<String, Override> = BTreeMap::new();
    for (key, value) in set.into_iter().chain(peer.as_deref().map(|peer| ("node.peers", peer))) {
        flags.insert(key.to_owned(), Override { flag: key.to_owned(), values: vec![value.to_owned()] });
    }
    let sources = Sources { flags, origins: vec![format!("http://{origin}")], ..Sources::default() };
    let config = config::load(&sources).expect("the settings are good");
    Running::start(config).await.expect("the node starts")
}

/// One request on a connection of its own; answers head and body.
async fn ask(address: SocketAddr, target: &str) -> String {
    let mut connection = TcpStream::connect(address).await.expect("the node listens");
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.expect("the node reads");
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.expect("the node answers");
    String::from_utf8(answer).expect("it is text")
}

/// Waits until what `admin` tells of its peers has `alive` living nodes in `pops` PoPs.
async fn sees(admin: SocketAddr, alive: usize) {
    let mut seen = String::new();
    let looking = async {
        while seen.matches("\"status\":\"alive\"").count() != alive {
            // A look at what another task changes; how long that takes is not what is tested.
            sleep(Duration::from_millis(20)).await;
            seen = ask(admin, "/v1/peers").await;
        }
    };
    let found = timeout(PATIENCE, looking).await;
    assert!(found.is_ok(), "{alive} nodes should be alive in {seen}");
}

/// Waits until the node knows how far every region's log is committed, and has applied it: then it knows who shields.
async fn trusts(admin: SocketAddr) {
    let mut status = String::new();
    let looking = async {
        while !(status.contains("\"fence_valid\":true")
            && REGIONS.iter().all(|region| status.contains(&format!("\"{region}\":\""))))
        {
            sleep(Duration::from_millis(20)).await;
            status = ask(admin, "/v1/status").await;
        }
    };
    let found = timeout(PATIENCE, looking).await;
    assert!(found.is_ok(), "the node should trust its cache: {status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twelve_nodes_of_one_process_are_a_mesh() {
    let dir = tempfile::tempdir().expect("a directory");
    let origin = Origin::start().await;
    let mut nodes = Vec::new();
    for (region, pop) in POPS {
        for number in 1..=NODES_PER_POP {
            let name = format!("{pop}-{number}");
            // Each knows the one before it, and nobody else.
            let peer = nodes.last().and_then(|node: &Running| node.addresses().mesh);
            nodes.push(start(&name, region, pop, peer, origin.address, &dir).await);
        }
    }
    for node in &nodes {
        sees(node.addresses().admin[0], nodes.len()).await;
        trusts(node.addresses().admin[0]).await;
    }

    let mut crowd = JoinSet::new();
    for node in &nodes {
        let http = node.addresses().http[0];
        (0..10).for_each(|_| drop(crowd.spawn(async move { ask(http, "/a").await })));
    }
    while let Some(answer) = crowd.join_next().await {
        let answer = answer.expect("no panic");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nhello"), "{answer}");
    }
    assert_eq!(origin.asked(), REGIONS.len(), "one request for each region");

    // The first one, which all others may have found the mesh by, goes; the rest stay together.
    nodes.remove(0).stop().await;
    for node in &nodes {
        sees(node.addresses().admin[0], nodes.len()).await;
        assert!(ask(node.addresses().http[0], "/b").await.ends_with("hello"));
    }
    for node in nodes {
        timeout(PATIENCE, node.stop()).await.expect("a node that is stopped ends");
    }
}
