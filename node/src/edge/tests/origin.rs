//! An origin that tells what it was asked, and can be held.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

/// What is at a path.
#[derive(Clone)]
pub struct Page {
    pub status: &'static str,
    pub fields: Vec<(&'static str, String)>,
    pub body: Bytes,
    /// A permit is taken before the head is sent.
    pub before_head: Option<Arc<Semaphore>>,
    /// A permit is taken after so many bytes of the body.
    pub within_body: Option<(usize, Arc<Semaphore>)>,
}

impl Page {
    /// A page with a validator, fresh for a minute.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self {
            status: "200 OK",
            fields: vec![
                ("etag", "\"v1\"".to_owned()),
                ("cache-control", "max-age=60".to_owned()),
                ("accept-ranges", "bytes".to_owned()),
            ],
            body: body.into(),
            before_head: None,
            within_body: None,
        }
    }

    /// The same with this field in place of those of the same name; an empty value leaves them out.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.fields.retain(|(other, _)| *other != name);
        if !value.is_empty() {
            self.fields.push((name, value.to_owned()));
        }
        self
    }

    /// The origin breaks the connection instead.
    pub fn broken() -> Self {
        Self { status: "", ..Self::new("") }
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub fields: HashMap<String, String>,
}

#[derive(Default)]
struct Site {
    pages: Mutex<HashMap<String, Page>>,
    asked: Mutex<Vec<Asked>>,
}

/// The origin.
pub struct Origin {
    pub url: String,
    site: Arc<Site>,
    _tasks: JoinSet<()>,
}

impl Origin {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let site = Arc::new(Site::default());
        let mut tasks = JoinSet::new();
        let served = Arc::clone(&site);
        tasks.spawn(async move {
            let mut talks = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                talks.spawn(talk(stream, Arc::clone(&served)));
            }
        });
        Self { url, site, _tasks: tasks }
    }

    /// Puts a page at a path.
    pub fn put(&self, path: &str, page: Page) {
        self.site.pages.lock().insert(path.to_owned(), page);
    }

    /// What was asked for this path so far.
    pub fn asked(&self, path: &str) -> Vec<Asked> {
        self.site.asked.lock().iter().filter(|asked| asked.path == path).cloned().collect()
    }

    /// How often this path was asked for.
    pub fn count(&self, path: &str) -> usize {
        self.asked(path).len()
    }
}

async fn talk(mut stream: TcpStream, site: Arc<Site>) {
    while let Some(asked) = read(&mut stream).await {
        site.asked.lock().push(asked.clone());
        let page = site.pages.lock().get(&asked.path).cloned();
        let page = page.unwrap_or_else(|| Page { status: "404 Not Found", ..Page::new("none") });
        if let Some(gate) = &page.before_head {
            gate.acquire().await.expect("open").forget();
        }
        if page.status.is_empty() || answer(&mut stream, &asked, page).await.is_none() {
            return;
        }
    }
}

async fn answer(stream: &mut TcpStream, asked: &Asked, page: Page) -> Option<()> {
    let mut fields = page.fields.clone();
    let (mut status, mut body) = (page.status, page.body.clone());
    let total = body.len();
    let etag = page.field("etag");
    if etag.is_some() && asked.fields.get("if-none-match").map(String::as_str) == etag {
        (status, body) = ("304 Not Modified", Bytes::new());
    } else if let Some((first, last)) = range_of(asked, &page, total) {
        status = "206 Partial Content";
        fields.push(("content-range", format!("bytes {first}-{last}/{total}")));
        body = body.slice(first..=last);
    }
    let mut head = format!("HTTP/1.1 {status}\r\n");
    if status != "304 Not Modified" {
        head += &format!("content-length: {}\r\n", body.len());
    }
    for (name, value) in fields {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await.ok()?;
    if asked.method == "HEAD" {
        return Some(());
    }
    if let Some((at, gate)) = &page.within_body
        && body.len() > *at
    {
        stream.write_all(&body[..*at]).await.ok()?;
        gate.acquire().await.expect("open").forget();
        body = body.slice(*at..);
    }
    stream.write_all(&body).await.ok()
}

fn range_of(asked: &Asked, page: &Page, total: usize) -> Option<(usize, usize)> {
    page.field("accept-ranges")?;
    if asked.fields.get("if-range").is_some_and(|tag| Some(tag.as_str()) != page.field("etag")) {
        return None;
    }
    let (first, last) = asked.fields.get("range")?.strip_prefix("bytes=")?.split_once('-')?;
    let first: usize = first.parse().ok()?;
    Some((first, last.parse().unwrap_or(usize::MAX).min(total - 1)))
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let mut fields: HashMap<String, String> = HashMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let joined = fields.entry(name.to_ascii_lowercase()).or_default();
        if !joined.is_empty() {
            joined.push_str(", ");
        }
        joined.push_str(value.trim());
    }
    let bytes = fields.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; bytes];
    stream.read_exact(&mut body).await.ok()?;
    Some(Asked { method, path, fields })
}
