//! A small language of origins: a listener, and what it says on each connection.

use super::super::{
    error::{BoxError, FetchError},
    pool::Pool,
    request::{Request, RequestBody, empty},
    response::Response,
    settings::{OriginSettings, PoolSettings},
};
use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, Full};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};

/// What an origin does after it has read a request head.
#[derive(Clone, Debug)]
pub(super) enum Say {
    /// Sends these bytes and reads on.
    Bytes(String),
    /// Sends these bytes and closes.
    Last(String),
    /// Says nothing more, and keeps the connection.
    Silence,
}

/// Bytes, then the connection stays open.
pub(super) fn say(bytes: impl Into<String>) -> Say {
    Say::Bytes(bytes.into())
}

/// Bytes, then the end.
pub(super) fn last(bytes: impl Into<String>) -> Say {
    Say::Last(bytes.into())
}

/// A whole small response.
pub(super) fn ok(body: &str) -> Say {
    say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

/// An origin that answers the n-th request head with the n-th line of its script; the last is repeated.
pub(super) struct Scripted {
    pub(super) url: String,
    pub(super) requests: Arc<AtomicUsize>,
    pub(super) heads: mpsc::Receiver<String>,
    /// One message for each connection that the client has ended.
    pub(super) ended: mpsc::Receiver<()>,
    _tasks: JoinSet<()>,
}

impl Scripted {
    pub(super) async fn start(script: Vec<Say>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let requests = Arc::new(AtomicUsize::new(0));
        let (head_to, heads) = mpsc::channel(1024);
        let (end_to, ended) = mpsc::channel(1024);
        let mut tasks = JoinSet::new();
        let count = requests.clone();
        tasks.spawn(async move {
            let mut talks = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("accepted");
                let (script, count) = (script.clone(), count.clone());
                let (head_to, end_to) = (head_to.clone(), end_to.clone());
                talks.spawn(async move { talk(stream, &script, &count, &head_to, &end_to).await });
            }
        });
        Self { url, requests, heads, ended, _tasks: tasks }
    }

    pub(super) fn count(&self) -> usize {
        self.requests.load(SeqCst)
    }
}

async fn talk(
    mut stream: TcpStream,
    script: &[Say],
    count: &AtomicUsize,
    head_to: &mpsc::Sender<String>,
    end_to: &mpsc::Sender<()>,
) {
    while let Some(head) = read_head(&mut stream).await {
        let nth = count.fetch_add(1, SeqCst);
        drop(head_to.try_send(head));
        match &script[nth.min(script.len() - 1)] {
            Say::Bytes(bytes) => stream.write_all(bytes.as_bytes()).await.expect("written"),
            Say::Last(bytes) => {
                stream.write_all(bytes.as_bytes()).await.expect("written");
                return;
            }
            Say::Silence => {}
        }
    }
    end_to.try_send(()).unwrap_or_default();
}

/// The bytes to the end of a head; none when the connection ends.
pub(super) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

/// A pool of these origins, in this order of priority.
pub(super) fn pool_of(urls: &[&str], change: impl FnOnce(&mut PoolSettings)) -> Pool {
    let origins = urls.iter().zip(0..);
    let origins =
        origins.map(|(url, priority)| OriginSettings { url: (*url).to_owned(), priority, weight: 1 });
    let mut settings = PoolSettings { origins: origins.collect(), ..PoolSettings::default() };
    change(&mut settings);
    Pool::new(settings).expect("settings are good")
}

pub(super) fn request(method: Method, path: &str) -> Request {
    Request {
        method,
        path_and_query: path.to_owned(),
        host: "client.example".to_owned(),
        headers: HeaderMap::new(),
        body: empty(),
        body_bytes: Some(0),
        interim: None,
    }
}

pub(super) fn get(path: &str) -> Request {
    request(Method::GET, path)
}

pub(super) fn post(body: &'static str, bytes: Option<u64>) -> Request {
    Request { body: whole(body), body_bytes: bytes, ..request(Method::POST, "/form") }
}

fn whole(body: &'static str) -> RequestBody {
    Full::new(Bytes::from_static(body.as_bytes()))
        .map_err(|never| -> BoxError { match never {} })
        .boxed_unsync()
}

/// The whole body as text.
pub(super) async fn text(mut response: Response) -> Result<String, FetchError> {
    let mut all = Vec::new();
    while let Some(chunk) = response.body.next().await {
        all.extend_from_slice(&chunk?);
    }
    Ok(String::from_utf8(all).expect("text"))
}
