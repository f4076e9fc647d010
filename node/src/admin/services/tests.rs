//! Services over the API, with a mesh behind it that does what it is told.

use std::{collections::BTreeSet, net::SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use parking_lot::Mutex;
use serde_json::{Value, json};
use starling_proto::{
    members::View,
    purge::{EntryId, Region, Version},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    admin::{Admin, AdminState, CommandError, Settings, StatusReport},
    clock::Clock,
    tokens::Token,
};

type Asked = Arc<Mutex<Vec<(String, Option<String>)>>>;

struct Node {
    address: SocketAddr,
    /// The changes that were asked for.
    asked: Asked,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

fn view() -> View {
    panic!("nobody asks who is in the mesh")
}

fn token(name: &str, scope: Scope, services: Option<&str>) -> Token {
    let hash = blake3::hash(name.as_bytes());
    Token { name: name.to_owned(), hash, scopes: vec![scope], services: services.map(|s| vec![s.to_owned()]) }
}

impl Node {
    /// With the service `shop` of the file, and `blog` of the mesh.
    async fn start(tokens: Vec<Token>) -> Self {
        let listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        let admin = Admin::bind(Settings { listen, hosts: vec![], tokens }).unwrap();
        let address = admin.addresses()[0];
        let named = |name: &str| ServiceView {
            name: name.to_owned(),
            hosts: vec![format!("{name}.org")],
            ..ServiceView::default()
        };
        let blog = ServiceView {
            source: ServiceSource::Mesh,
            definition: Some("hosts = 'blog.org'".to_owned()),
            ..named("blog")
        };
        let views = watch::Sender::new(Arc::new(vec![named("shop"), blog]));
        let (commands, mut taken) = mpsc::channel(4);
        let state = AdminState {
            commands,
            status: Arc::new(StatusReport::default),
            services: views.subscribe(),
            check: Arc::new(|name, text| match text.contains("wrong") {
                true => Err(format!("service {name}: it is wrong\nservice {name}: in two ways")),
                false => Ok(()),
            }),
            view: Arc::new(|| Arc::new(view())),
            key_of: Arc::new(|_| None),
            clock: Clock::start(),
            metrics: Arc::default(),
        };
        let (asked, stop, mut tasks) = (Asked::default(), CancellationToken::new(), JoinSet::new());
        tasks.spawn(admin.run(state, stop.clone()));
        let noted = Arc::clone(&asked);
        tasks.spawn(async move {
            while let Some(command) = taken.recv().await {
                let Command::SetService { name, definition, reply } = command else { panic!("{command:?}") };
                let mut list = Vec::clone(&views.borrow());
                list.retain(|view| view.name != name);
                if definition.is_some() {
                    let problem = name.starts_with("late").then(|| "it lost".to_owned());
                    list.push(ServiceView { name: name.clone(), problem, ..ServiceView::default() });
                }
                views.send_replace(Arc::new(list));
                if name == "gone" {
                    // Without an answer, as by a node that goes away.
                    noted.lock().push((name, definition));
                    continue;
                }
                let version = Version { epoch: 0x19a, index: 7 };
                let _ = reply.send(match name.as_str() {
                    "busy" => Err(CommandError::Unavailable("no quorum".to_owned())),
                    "full" => Err(CommandError::Failed("the disk is full".to_owned())),
                    _ => Ok(EntryId { region: Region::new("eu"), version }),
                });
                noted.lock().push((name, definition));
            }
        });
        Self { address, asked, stop, tasks }
    }

    async fn send(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
        let response = Client::builder(TokioExecutor::new()).build_http().request(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn toml(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        self.send(method, path, &[("content-type", "application/toml")], body).await
    }

    async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

#[tokio::test]
async fn services_are_told_with_where_they_come_from() {
    let node = Node::start(vec![]).await;
    let (status, answer) = node.send("GET", "/v1/services", &[], "").await;
    assert_eq!(status, 200);
    let shop =
        json!({"name": "shop", "hosts": ["shop.org"], "origins": [], "source": "file", "problem": null});
    let blog = json!({
        "name": "blog", "hosts": ["blog.org"], "origins": [], "source": "mesh", "problem": null,
        "definition": "hosts = 'blog.org'",
    });
    assert_eq!(answer["services"], json!([shop, blog]));
    assert_eq!(node.send("GET", "/v1/services/blog", &[], "").await, (200, blog));
    let (status, answer) = node.send("GET", "/v1/services/none", &[], "").await;
    assert_eq!((status, &answer["error"]["code"]), (404, &json!("no-service")));
    node.stop().await;
}

#[tokio::test]
async fn a_service_is_created_changed_and_deleted() {
    let node = Node::start(vec![]).await;
    let text = "hosts = 'new.org' # as it is written\n";
    let (status, answer) = node.toml("PUT", "/v1/services/new", text).await;
    assert_eq!(
        (status, answer),
        (201, json!({"name": "new", "id": "eu/000000000000019a/7", "problem": null}))
    );
    assert_eq!(node.toml("PUT", "/v1/services/new", text).await.0, 200);
    assert_eq!(node.toml("PUT", "/v1/services/shop", text).await.0, 200, "also one of the file");
    assert_eq!(node.toml("POST", "/v1/services", "name = 'new'\n").await.0, 409);
    assert_eq!(node.toml("POST", "/v1/services", "name = 'more'\n").await.0, 201);
    assert_eq!(node.send("DELETE", "/v1/services/more", &[], "").await.0, 200);
    assert_eq!(node.send("DELETE", "/v1/services/more", &[], "").await.0, 404);
    let asked = [
        ("new", Some(text)),
        ("new", Some(text)),
        ("shop", Some(text)),
        ("more", Some("name = 'more'\n")),
        ("more", None),
    ];
    let asked = asked.map(|(name, text)| (name.to_owned(), text.map(str::to_owned)));
    assert_eq!(*node.asked.lock(), asked);
    node.stop().await;
}

/// JSON has no order: tables may come before values, which TOML cannot say so.
#[tokio::test]
async fn a_definition_in_json_is_kept_as_toml() {
    let node = Node::start(vec![]).await;
    let body = r#"{"name": "new", "policy": {"default_ttl_ms": "1m"}, "debug": true, "hosts": ["a.org"],
                   "origins": [{"url": "http://a", "weight": 2}]}"#;
    let json = [("content-type", "application/json; charset=utf-8")];
    assert_eq!(node.send("POST", "/v1/services", &json, body).await.0, 201);
    let (name, kept) = node.asked.lock()[0].clone();
    let kept: toml::Table = kept.unwrap().parse().expect("it is TOML");
    assert_eq!((name.as_str(), kept["policy"]["default_ttl_ms"].as_str()), ("new", Some("1m")));
    assert_eq!(serde_json::to_value(&kept).unwrap(), serde_json::from_str::<Value>(body).unwrap());
    assert_eq!(node.send("POST", "/v1/services", &json, r#"{"name": null}"#).await.0, 422);
    assert_eq!(node.send("POST", "/v1/services", &json, "[]").await.0, 422);
    assert_eq!(node.send("POST", "/v1/services", &json, "{").await.0, 400);
    node.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_told_and_nothing_is_set() {
    let node = Node::start(vec![]).await;
    let (status, answer) = node.toml("PUT", "/v1/services/new", "wrong").await;
    assert_eq!(status, 422);
    assert_eq!(answer["error"]["message"], "service new: it is wrong\nservice new: in two ways");
    let (status, answer) = node.toml("POST", "/v1/services", "hosts = '*'").await;
    assert_eq!((status, &answer["error"]["field"]), (422, &json!("name")));
    assert_eq!(node.toml("POST", "/v1/services", "= =").await.0, 422);
    for fields in [&[][..], &[("content-type", "text/plain")]] {
        assert_eq!(node.send("PUT", "/v1/services/new", fields, "hosts = '*'").await.0, 415);
    }
    assert_eq!(node.toml("PUT", "/v1/services/new", &"#".repeat(2 << 20)).await.0, 413);
    assert!(node.asked.lock().is_empty());
    node.stop().await;
}

#[tokio::test]
async fn what_cannot_be_committed_is_told_and_what_is_not_served_too() {
    let node = Node::start(vec![]).await;
    let code = |answer: &Value| answer["error"]["code"].as_str().map(str::to_owned);
    let (status, answer) = node.toml("PUT", "/v1/services/busy", "").await;
    assert_eq!((status, code(&answer).as_deref()), (503, Some("unavailable")));
    let (status, answer) = node.toml("PUT", "/v1/services/full", "").await;
    assert_eq!((status, code(&answer).as_deref()), (500, Some("failed")));
    // The node had taken it on: that it said no more does not mean that nothing was set.
    let (status, answer) = node.toml("PUT", "/v1/services/gone", "").await;
    assert_eq!((status, code(&answer).as_deref()), (503, Some("unknown")));
    let (status, answer) = node.send("DELETE", "/v1/services/gone", &[], "").await;
    assert_eq!((status, code(&answer).as_deref()), (503, Some("unknown")));
    let (status, answer) = node.toml("PUT", "/v1/services/late", "").await;
    assert_eq!((status, &answer["problem"]), (201, &json!("it lost")));
    node.stop().await;
}

/// A limited token could else claim the hosts of others, or read what their origins know them by.
#[tokio::test]
async fn only_who_may_do_all_sets_services_and_reads_definitions() {
    let tokens = vec![
        token("root-token-000000", Scope::Admin, None),
        token("blog-token-000000", Scope::Admin, Some("blog")),
        token("read-token-000000", Scope::Read, None),
    ];
    let node = Node::start(tokens).await;
    let bearer = |name: &str| format!("Bearer {name}");
    let holders = [("blog-token-000000", false), ("read-token-000000", false), ("root-token-000000", true)];
    for (name, may) in holders {
        let bearer = bearer(name);
        let fields = [("authorization", bearer.as_str()), ("content-type", "application/toml")];
        let (status, blog) = node.send("GET", "/v1/services/blog", &fields, "").await;
        assert_eq!((status, blog.get("definition").is_some()), (200, may), "{name}");
        let changes =
            [("PUT", "/v1/services/blog"), ("POST", "/v1/services"), ("DELETE", "/v1/services/blog")];
        for (method, path) in changes {
            let (status, _) = node.send(method, path, &fields, "name = 'other'").await;
            assert_eq!(status != 403, may, "{name} {method}: {status}");
        }
    }
    assert_eq!(node.toml("PUT", "/v1/services/blog", "").await.0, 401);
    assert_eq!(node.asked.lock().len(), 3);
    let bearer = bearer("blog-token-000000");
    assert_eq!(node.send("GET", "/v1/services/shop", &[("authorization", &bearer)], "").await.0, 403);
    node.stop().await;
}

#[test]
fn the_document_holds_the_fields_of_a_service() {
    let document: Value = serde_json::from_str(crate::admin::routes::OPENAPI).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let properties = |name: &str| &document["components"]["schemas"][name]["properties"];
    let service = ServiceView { definition: Some(String::new()), ..ServiceView::default() };
    assert_eq!(keys(properties("Service")), keys(&json!(status(&service, true))));
    let set = json!(ServiceSet { name: String::new(), id: String::new(), problem: None });
    assert_eq!(keys(properties("ServiceSet")), keys(&set));
}
