//! The API over a real socket, with a node behind it that notes what it is asked.

mod purge;

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use parking_lot::Mutex;
use serde_json::{Value, json};

use starling_proto::{
    NodeId,
    members::{Addresses, Health, Load, Member, Profile, Status},
    purge::{Region, Version, Versions},
    ring::Ring,
    ticket::{Claim, Ticket},
};

use super::{
    routes::{OPENAPI, ROUTES},
    *,
};
use crate::tokens::Scope;

struct Node {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    purges: Arc<Mutex<Vec<PurgeRequest>>>,
    /// What it was asked to wait for with a receipt.
    waits: Arc<Mutex<Vec<(String, Wait, Duration)>>>,
}

/// The one purge that the node knows.
const KNOWN: &str = "eu/000000000000000a/42";

fn receipt(id: Option<&str>) -> PurgeReceipt {
    PurgeReceipt {
        id: id.map(str::to_owned),
        committed_at: None,
        complete: id.is_some(),
        fenced: false,
        applied: vec![Applied { node: "lon-1".to_owned(), after_ms: 3 }],
        missing: vec!["ams-1".to_owned()],
    }
}

fn service(name: &str, hosts: &[&str]) -> ServiceView {
    ServiceView {
        name: name.to_owned(),
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        origins: vec!["http://127.0.0.1:1".to_owned()],
        ..ServiceView::default()
    }
}

fn token(name: &str, scope: Scope, services: Option<&str>) -> Token {
    let hash = blake3::hash(name.as_bytes());
    Token { name: name.to_owned(), hash, scopes: vec![scope], services: services.map(|s| vec![s.to_owned()]) }
}

/// Two nodes in London, this one and a suspect, and a node elsewhere that said good-bye.
fn view() -> View {
    let id = |number| NodeId::from_bytes([number; 32]);
    let member = |number, name: &str, (region, pop): (&str, &str), status| {
        let claim = Claim {
            node: id(number),
            name: name.to_owned(),
            region: region.to_owned(),
            pop: pop.to_owned(),
            may_shield: true,
            expires_ms: u64::MAX,
        };
        let at = |port| SocketAddr::from(([127, 0, 0, number], port));
        let mut versions = Versions::default();
        versions.set(Region::new("eu:lon-1"), Version { epoch: 10, index: 3 });
        let member = Member {
            profile: Profile {
                ticket: Ticket::open(claim).unwrap(),
                incarnation: 1,
                addresses: Addresses { mesh: at(7000), link_quic: at(7001) },
                weight: 100,
            },
            status,
            passed_over: status != Status::Alive,
            heard_ms: 0,
            load: Load { requests_per_s: 7, ..Load::default() },
            health: Health::default(),
            versions,
            rtt_us: Some(150),
        };
        (id(number), member)
    };
    View {
        me: id(1),
        members: [
            member(1, "lon-1", ("eu", "lon"), Status::Alive),
            member(2, "ams-1", ("eu", "ams"), Status::Left),
            member(3, "lon-2", ("eu", "lon"), Status::Suspect),
        ]
        .into(),
        ring: Arc::new(Ring::new(&[(id(1), 100), (id(3), 100)])),
        previous: None,
        hot: Arc::default(),
    }
}

impl Node {
    async fn start(tokens: Vec<Token>) -> Self {
        let listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        let admin = Admin::bind(Settings { listen, hosts: vec!["ops.example".to_owned()], tokens }).unwrap();
        let address = admin.addresses()[0];
        let (commands, mut asked) = mpsc::channel(4);
        let draining = Arc::new(Mutex::new(false));
        let (_, services) = watch::channel(Arc::new(vec![
            service("shop", &["shop.example", "*.shop.example"]),
            service("blog", &["*"]),
        ]));
        let shown = Arc::clone(&draining);
        let status = move || StatusReport {
            node: "n1".to_owned(),
            ready: true,
            draining: *shown.lock(),
            ..StatusReport::default()
        };
        let view = Arc::new(view());
        let state = AdminState {
            commands,
            status: Arc::new(status),
            services,
            check: Arc::new(|_, _| Ok(())),
            view: Arc::new(move || Arc::clone(&view)),
            key_of: Arc::new(|url| (url.authority == "shop.example").then(|| Key::of(&url.path_and_query))),
            clock: Clock::start(),
            metrics: Arc::default(),
        };
        let stop = CancellationToken::new();
        let purges = Arc::new(Mutex::new(Vec::new()));
        let waits = Arc::new(Mutex::new(Vec::new()));
        let (noted, waited) = (Arc::clone(&purges), Arc::clone(&waits));
        let mut tasks = JoinSet::new();
        tasks.spawn(admin.run(state, stop.clone()));
        tasks.spawn(async move {
            while let Some(command) = asked.recv().await {
                match command {
                    Command::Purge { request, reply } => {
                        let answer = purge::answer(&request);
                        noted.lock().push(request);
                        // Without an answer the reply is dropped, as by a node that goes away.
                        if let Some(answer) = answer {
                            let _ = reply.send(answer);
                        }
                    }
                    Command::Receipt { id, wait, timeout, reply } => {
                        let id = id.to_string();
                        let known = (id == KNOWN).then(|| receipt(Some(KNOWN)));
                        waited.lock().push((id, wait, timeout));
                        let _ = reply.send(Ok(known));
                    }
                    Command::Receipts { reply } => {
                        let _ = reply.send(Ok(vec![receipt(Some(KNOWN))]));
                    }
                    Command::SetDraining { draining: to, reply } => {
                        *draining.lock() = to;
                        let _ = reply.send(Ok(()));
                    }
                    Command::Warm { reply, .. } => drop(reply),
                    Command::SetService { reply, .. } => drop(reply),
                }
            }
        });
        Self { address, stop, tasks, purges, waits }
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
        let client = Client::builder(TokioExecutor::new()).build_http();
        let response: Response<_> = client.request(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.send("POST", path, &[("content-type", "application/json")], &body.to_string()).await
    }

    async fn get(&self, path: &str, fields: &[(&str, &str)]) -> StatusCode {
        self.send("GET", path, fields, "").await.0
    }

    async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

#[tokio::test]
async fn a_purge_reaches_the_service_of_its_host_in_the_form_of_keys() {
    let node = Node::start(vec![]).await;
    let body = json!({"urls": ["https://IMG.shop.example/a?b=1#part"], "soft": true, "wait": "committed", "timeout_ms": 100});
    let (status, answer) = node.post("/v1/purge", body).await;
    assert_eq!((status, &answer["id"]), (StatusCode::OK, &json!(KNOWN)), "{answer}");
    let expected = PurgeRequest {
        service: "shop".to_owned(),
        selectors: vec![Selector::Url("img.shop.example/a?b=1".to_owned())],
        mode: Mode::Soft,
        wait: Wait::Committed,
        timeout: Duration::from_millis(100),
        key: None,
    };
    assert_eq!(*node.purges.lock(), [expected]);
    node.stop().await;
}

#[tokio::test]
async fn a_wrong_purge_says_which_field_and_does_nothing() {
    let node = Node::start(vec![]).await;
    for (body, field) in [
        (json!({}), Value::Null),
        (json!({"tags": ["a"]}), json!("service")),
        (json!({"service": "none", "all": true}), json!("service")),
        (json!({"urls": ["shop.example/a", "/no-host"]}), json!("urls[1]")),
        (json!({"urls": ["ftp://shop.example/"]}), json!("urls[0]")),
        (json!({"urls": ["shop.example/", "other.example/"]}), json!("service")),
        (json!({"service": "shop", "tags": ["a b"]}), json!("tags[0]")),
        (json!({"service": "shop", "hosts": ["a/b"]}), json!("hosts[0]")),
        (json!({"service": "shop", "all": true, "timeout_ms": 600_000}), json!("timeout_ms")),
        (json!({"service": "shop", "al": true}), Value::Null),
    ] {
        let (status, answer) = node.post("/v1/purge", body.clone()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {answer}");
        assert_eq!(answer["error"]["field"], field, "{body}: {answer}");
    }
    let json = [("content-type", "application/json")];
    assert_eq!(node.send("POST", "/v1/purge", &json, "{").await.0, StatusCode::BAD_REQUEST);
    let large = format!("{{\"tags\": [\"{}\"]}}", "x".repeat(2 << 20));
    assert_eq!(node.send("POST", "/v1/purge", &json, &large).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(node.purges.lock().is_empty());
    node.stop().await;
}

#[tokio::test]
async fn a_web_page_cannot_use_an_open_api() {
    let node = Node::start(vec![]).await;
    let status = "/v1/status";
    assert_eq!(node.get(status, &[("host", "127.0.0.1:9000")]).await, StatusCode::OK);
    assert_eq!(node.get(status, &[("host", "[::1]:9000")]).await, StatusCode::OK);
    assert_eq!(node.get(status, &[("host", "ops.example")]).await, StatusCode::OK);
    assert_eq!(node.get(status, &[("host", "rebound.example:9000")]).await, StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(node.get(status, &[("origin", "https://evil.example")]).await, StatusCode::FORBIDDEN);
    let same = [("host", "localhost:9000"), ("origin", "http://localhost:9000")];
    assert_eq!(node.get(status, &same).await, StatusCode::OK);
    let (refused, _) =
        node.send("POST", "/v1/purge", &[("content-type", "text/plain")], r#"{"all":true}"#).await;
    assert_eq!(refused, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(node.send("POST", "/v1/drain", &[], "").await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(node.purges.lock().is_empty());
    node.stop().await;
}

#[tokio::test]
async fn tokens_open_what_their_scopes_and_services_say() {
    let tokens = vec![
        token("reader", Scope::Read, None),
        token("ci", Scope::Purge, Some("shop")),
        token("root", Scope::Admin, None),
    ];
    let node = Node::start(tokens).await;
    assert_eq!(node.get("/healthz", &[]).await, StatusCode::OK);
    assert_eq!(node.get("/v1/status", &[]).await, StatusCode::UNAUTHORIZED);
    assert_eq!(node.get("/metrics", &[("authorization", "Bearer nobody")]).await, StatusCode::UNAUTHORIZED);
    assert_eq!(node.get("/metrics", &[("authorization", "Bearer reader")]).await, StatusCode::OK);
    let purge = async |holder: &str, service: &str| {
        let bearer = format!("Bearer {holder}");
        let fields = [("content-type", "application/json"), ("authorization", bearer.as_str())];
        node.send("POST", "/v1/purge", &fields, &json!({"service": service, "all": true}).to_string()).await.0
    };
    assert_eq!(purge("reader", "shop").await, StatusCode::FORBIDDEN);
    assert_eq!(purge("ci", "blog").await, StatusCode::FORBIDDEN);
    assert!(node.purges.lock().is_empty());
    assert_eq!(purge("ci", "shop").await, StatusCode::OK);
    assert_eq!(purge("root", "blog").await, StatusCode::OK);
    node.stop().await;
}

/// With the node go the services of others.
#[tokio::test]
async fn a_token_that_is_limited_to_some_services_drains_no_node() {
    let node =
        Node::start(vec![token("shop", Scope::Admin, Some("shop")), token("root", Scope::Admin, None)]).await;
    for (path, draining) in [("/v1/drain", true), ("/v1/undrain", false)] {
        for (bearer, expected) in [("Bearer shop", StatusCode::FORBIDDEN), ("Bearer root", StatusCode::OK)] {
            let fields = [("content-type", "application/json"), ("authorization", bearer)];
            let (status, answer) = node.send("POST", path, &fields, "{}").await;
            assert_eq!(status, expected, "{path} {bearer}: {answer}");
            assert_eq!(answer["draining"] == json!(draining), status.is_success(), "{answer}");
        }
    }
    node.stop().await;
}

#[tokio::test]
async fn a_draining_node_is_alive_and_not_ready() {
    let node = Node::start(vec![]).await;
    assert_eq!(node.get("/readyz", &[]).await, StatusCode::OK);
    assert_eq!(node.post("/v1/drain", json!({})).await, (StatusCode::OK, json!({"draining": true})));
    assert_eq!(node.get("/readyz", &[]).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(node.get("/healthz", &[]).await, StatusCode::OK);
    assert_eq!(node.post("/v1/undrain", json!({})).await.0, StatusCode::OK);
    assert_eq!(node.get("/readyz", &[]).await, StatusCode::OK);
    assert_eq!(
        node.post("/v1/warm", json!({"urls": ["a.example/"]})).await.0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    node.stop().await;
}

#[tokio::test]
async fn the_document_describes_every_route_and_no_other() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(move |method| (method.clone(), path.clone()))
        })
        .collect();
    let routed = ROUTES
        .iter()
        .chain(&super::services::ROUTES)
        .map(|(method, path)| ((*method).to_owned(), path.replace("{*", "{")))
        .collect();
    assert_eq!(described, routed);
    let node = Node::start(vec![]).await;
    for (method, path) in ROUTES {
        let path = path.replace("{*id}", KNOWN);
        let (status, _) = node.send(&method.to_uppercase(), &path, &[], "").await;
        assert!(
            status != StatusCode::NOT_FOUND && status != StatusCode::METHOD_NOT_ALLOWED,
            "{method} {path}: {status}"
        );
    }
    assert_eq!(node.get("/v1/nothing", &[]).await, StatusCode::NOT_FOUND);
    assert_eq!(node.get("/v1/purge", &[]).await, StatusCode::METHOD_NOT_ALLOWED);
    node.stop().await;
}

#[tokio::test]
async fn peers_are_told_as_the_view_has_them_the_own_pop_first() {
    let node = Node::start(vec![]).await;
    let (status, answer) = node.send("GET", "/v1/peers", &[], "").await;
    assert_eq!((status, &answer["node"]), (StatusCode::OK, &json!("lon-1")), "{answer}");
    let names: Vec<_> = answer["peers"].as_array().unwrap().iter().map(|peer| &peer["node"]).collect();
    assert_eq!(names, ["lon-1", "lon-2", "ams-1"]);
    let [me, suspect, left] = [0, 1, 2].map(|at| &answer["peers"][at]);
    assert_eq!((&me["self"], &me["heard_ms_ago"], &me["in_ring"]), (&json!(true), &json!(0), &json!(true)));
    assert_eq!((&suspect["status"], &suspect["passed_over"]), (&json!("suspect"), &json!(true)));
    assert_eq!((&suspect["address"], &suspect["in_ring"]), (&json!("127.0.0.3:7000"), &json!(true)));
    assert_eq!(suspect["load"]["requests_per_s"], 7);
    assert_eq!(suspect["versions"], json!({"eu:lon-1": "000000000000000a/3"}));
    assert!(suspect["heard_ms_ago"].as_u64().unwrap() > 0, "{suspect}");
    assert_eq!((&left["status"], &left["in_ring"]), (&json!("left"), &json!(false)));
    assert_eq!(left["load"], Value::Null, "the load of other PoPs is not known");
    node.stop().await;
}

#[tokio::test]
async fn the_ring_names_who_owns_a_key_and_the_same_for_its_url() {
    let node = Node::start(vec![]).await;
    let (status, answer) = node.send("GET", "/v1/ring", &[], "").await;
    assert_eq!((status, &answer["pop"], &answer["previous"]), (StatusCode::OK, &json!("lon"), &json!(false)));
    let share: u64 =
        answer["nodes"].as_array().unwrap().iter().map(|n| n["share_permille"].as_u64().unwrap()).sum();
    assert!((998..=1002).contains(&share), "{answer}");
    assert!(answer.get("owner").is_none(), "nothing was asked about: {answer}");

    let key = Key::of("/a?b=1");
    let (_, by_key) = node.send("GET", &format!("/v1/ring?key={key}"), &[], "").await;
    let (_, by_url) = node.send("GET", "/v1/ring?url=https%3A%2F%2Fshop.example%2Fa%3Fb%3D1", &[], "").await;
    assert_eq!(by_key, by_url);
    let owner = view().ring.replicas(&key, 1)[0];
    assert_eq!(by_key["owner"], if owner == view().me { "lon-1" } else { "lon-2" });
    assert_eq!(by_key["key"], key.to_string());
    assert_eq!(by_key["replicas"].as_array().unwrap().len(), 2, "{by_key}");
    node.stop().await;
}

#[tokio::test]
async fn a_wrong_question_about_the_ring_says_what_is_wrong() {
    let node = Node::start(vec![]).await;
    for (query, field) in [
        ("key=0123", json!("key")),
        ("key=%2B1234567890123456789012345678901", json!("key")),
        ("url=ftp%3A%2F%2Fshop.example%2F", json!("url")),
        ("url=other.example%2F", json!("url")),
        ("key=00112233445566778899aabbccddeeff&url=shop.example%2F", json!("url")),
        ("kye=00112233445566778899aabbccddeeff", Value::Null),
    ] {
        let (status, answer) = node.send("GET", &format!("/v1/ring?{query}"), &[], "").await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{query}: {answer}");
        assert_eq!(answer["error"]["field"], field, "{query}: {answer}");
    }
    node.stop().await;
}

#[test]
fn the_document_holds_the_fields_that_are_written() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let report = json!(StatusReport {
        origins: vec![OriginStatus::default()],
        mesh: Some(MeshStatus::default()),
        group: Some(RegionStatus::default()),
        ..StatusReport::default()
    });
    let schema = &document["components"]["schemas"]["Status"]["properties"];
    assert_eq!(keys(schema), keys(&report));
    assert_eq!(keys(&schema["store"]["properties"]), keys(&report["store"]));
    assert_eq!(keys(&schema["cache"]["properties"]), keys(&report["cache"]));
    assert_eq!(keys(&schema["origins"]["items"]["properties"]), keys(&report["origins"][0]));
    assert_eq!(keys(&schema["mesh"]["properties"]), keys(&report["mesh"]));
    assert_eq!(keys(&schema["group"]["properties"]), keys(&report["group"]));
    let properties = |name: &str| &document["components"]["schemas"][name]["properties"];
    let body = json!(PurgeBody {
        service: Some(String::new()),
        timeout_ms: Some(0),
        idempotency_key: Some(String::new()),
        ..PurgeBody::default()
    });
    assert_eq!(keys(properties("Purge")), keys(&body));
    let waits = [Wait::Accepted, Wait::Committed, Wait::Applied, Wait::Fenced];
    assert_eq!(properties("Purge")["wait"]["enum"], json!(waits.map(Wait::as_str)));
    assert_eq!(properties("Purge")["wait"]["default"], json!(Wait::default()));
    let receipt = json!(receipt(Some(KNOWN)));
    assert_eq!(keys(properties("Receipt")), keys(&receipt));
    assert_eq!(keys(&properties("Receipt")["applied"]["items"]["properties"]), keys(&receipt["applied"][0]));
    assert_eq!(keys(properties("Receipts")), keys(&json!(PurgesReport { purges: vec![] })));
    let peers = json!(super::mesh::peers(&view(), 0));
    assert_eq!(keys(properties("Peers")), keys(&peers));
    assert_eq!(keys(properties("Peer")), keys(&peers["peers"][0]));
    for part in ["load", "health"] {
        assert_eq!(keys(&properties("Peer")[part]["properties"]), keys(&peers["peers"][0][part]));
    }
    let ring = json!(super::mesh::ring(&view(), Some(Key::of("a"))));
    assert_eq!(keys(properties("Ring")), keys(&ring));
    assert_eq!(keys(&properties("Ring")["nodes"]["items"]["properties"]), keys(&ring["nodes"][0]));
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let taken = StdListener::bind("127.0.0.1:0").unwrap();
    let listen = vec![taken.local_addr().unwrap()];
    let error =
        Admin::bind(Settings { listen: listen.clone(), hosts: vec![], tokens: vec![] }).err().unwrap();
    assert!(error.to_string().contains(&listen[0].to_string()), "{error}");
}
