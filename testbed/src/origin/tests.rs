use std::{fs, os::unix::fs::symlink};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;

/// A tree with a file, a directory, and links that stay in it and leave it.
fn tree() -> tempfile::TempDir {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("root");
    fs::create_dir_all(root.join("bash/<b>")).unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    fs::write(root.join("bash/copyright"), "0123456789").unwrap();
    fs::write(root.join("bash/page.html"), "<p>").unwrap();
    symlink("copyright", root.join("bash/inner")).unwrap();
    symlink("../../secret", root.join("bash/outer")).unwrap();
    symlink(outside.path(), root.join("up")).unwrap();
    outside
}

struct Started {
    origin: Origin,
    _tree: tempfile::TempDir,
}

async fn started() -> Started {
    let tree = tree();
    let settings = Settings { root: tree.path().join("root"), ..Settings::default() };
    Started { origin: Origin::start(settings).await.unwrap(), _tree: tree }
}

struct Answer {
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn status(&self) -> u16 {
        self.head[9..12].parse().unwrap()
    }

    fn field(&self, name: &str) -> Option<&str> {
        let lines = self.head.split("\r\n").filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| *key == name).map(|(_, value)| value).next()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Started {
    /// Sends a head as it stands and reads until the origin closes.
    async fn send(&self, method: &str, target: &str, fields: &str) -> Answer {
        let mut stream = TcpStream::connect(self.origin.addr()).await.unwrap();
        let request = format!("{method} {target} HTTP/1.1\r\nHost: o\r\nConnection: close\r\n{fields}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        // A connection that is broken off may end in a reset; what came before it is the answer.
        let _ = stream.read_to_end(&mut all).await;
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        Answer { head: String::from_utf8(all[..end].to_vec()).unwrap(), body: all[end + 4..].to_vec() }
    }

    async fn get(&self, target: &str) -> Answer {
        self.send("GET", target, "").await
    }
}

#[tokio::test]
async fn a_file_has_what_a_cache_needs() {
    let answer = started().await.get("/bash/copyright").await;
    assert_eq!((answer.status(), answer.text()), (200, "0123456789"));
    assert_eq!(answer.field("cache-control"), Some("max-age=60"));
    assert_eq!(answer.field("surrogate-key"), Some("doc doc-bash"));
    assert_eq!(answer.field("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.field("content-length"), Some("10"));
    assert!(answer.field("etag").unwrap().starts_with('"'));
    assert!(answer.field("last-modified").is_some() && answer.field("date").is_some());
}

#[tokio::test]
async fn a_head_is_that_of_the_get_without_a_body() {
    let started = started().await;
    let head = started.send("HEAD", "/bash/copyright", "").await;
    assert_eq!((head.status(), head.field("content-length"), head.text()), (200, Some("10"), ""));
}

#[tokio::test]
async fn nothing_outside_the_root_is_served() {
    let started = started().await;
    for target in [
        "/../secret",
        "/bash/../../secret",
        "/%2e%2e/secret",
        "/bash/%2E%2E/%2e%2e/secret",
        "/..%2fsecret",
        "/bash%2f..%2f..%2fsecret",
        "/bash/outer",
        "/up",
        "/up/secret",
        "/up/",
        "/%00",
    ] {
        let answer = started.get(target).await;
        assert_eq!(answer.status(), 404, "{target}");
        assert!(!answer.text().contains("secret"), "{target}");
    }
    assert_eq!(started.get("/bash/inner").await.text(), "0123456789", "a link that stays inside");
}

#[tokio::test]
async fn directories_are_listed_with_their_names_escaped() {
    let started = started().await;
    let moved = started.get("/bash").await;
    assert_eq!((moved.status(), moved.field("location")), (301, Some("/bash/")));
    let listing = started.get("/bash/").await;
    assert_eq!(listing.field("content-type"), Some("text/html; charset=utf-8"));
    assert!(listing.text().contains("<a href=\"%3Cb%3E/\">&lt;b&gt;/</a>"), "{}", listing.text());
    assert!(started.get("/").await.text().contains("href=\"/demo/\""));
}

#[tokio::test]
async fn conditions_are_judged() {
    let started = started().await;
    let first = started.get("/bash/copyright").await;
    let (etag, modified) = (first.field("etag").unwrap(), first.field("last-modified").unwrap());
    for (condition, status) in [
        (format!("If-None-Match: {etag}"), 304),
        (format!("If-None-Match: \"x\", W/{etag}"), 304),
        ("If-None-Match: \"x\"".to_owned(), 200),
        (format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {modified}"), 200),
        (format!("If-Modified-Since: {modified}"), 304),
        ("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT".to_owned(), 200),
        ("If-Modified-Since: never".to_owned(), 200),
        (format!("If-Match: {etag}"), 200),
        (format!("If-Match: W/{etag}"), 412),
        ("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT".to_owned(), 412),
    ] {
        let answer = started.send("GET", "/bash/copyright", &format!("{condition}\r\n")).await;
        assert_eq!(answer.status(), status, "{condition}");
        assert_eq!(answer.field("etag"), Some(etag), "{condition}");
    }
}

#[tokio::test]
async fn a_range_of_a_file_is_its_part() {
    let started = started().await;
    for (range, status, body) in [
        ("bytes=2-4", 206, "234"),
        ("bytes=8-", 206, "89"),
        ("bytes=-3", 206, "789"),
        ("bytes=8-100", 206, "89"),
        ("bytes=10-", 416, ""),
        ("bytes=-0", 416, ""),
        ("bytes=4-2", 200, "0123456789"),
        ("bytes=1-2,4-5", 200, "0123456789"),
        ("bytes=1-2\r\nIf-Range: \"other\"", 200, "0123456789"),
    ] {
        let answer = started.send("GET", "/bash/copyright", &format!("Range: {range}\r\n")).await;
        assert_eq!((answer.status(), answer.text()), (status, body), "{range}");
    }
    let part = started.send("GET", "/bash/copyright", "Range: bytes=2-4\r\n").await;
    assert_eq!(part.field("content-range"), Some("bytes 2-4/10"));
}

#[tokio::test]
async fn a_large_body_is_known_by_position() {
    let started = started().await;
    let whole = started.get("/demo/large?bytes=200000").await;
    assert_eq!(whole.body, pattern(0, 0, 200_000));
    let part =
        started.send("GET", "/demo/large?bytes=10000000000", "Range: bytes=5000000001-5000000100\r\n").await;
    assert_eq!((part.status(), part.body), (206, pattern(0, 5_000_000_001, 100)));
    let throttled = started.get("/demo/large?bytes=1000&rate=1000000").await;
    assert_eq!(throttled.body, pattern(0, 0, 1000));
}

#[tokio::test]
async fn a_body_that_dies_is_short_and_goes_on_by_range() {
    let started = started().await;
    let first = started.get("/demo/die?bytes=1000&after=600").await;
    assert_eq!((first.field("content-length"), first.body.len()), (Some("1000"), 600));
    let rest = started.send("GET", "/demo/die?bytes=1000&after=600", "Range: bytes=600-\r\n").await;
    assert_eq!([first.body, rest.body].concat(), pattern(0, 0, 1000));
}

#[tokio::test]
async fn a_slow_body_comes_whole() {
    let answer = started().await.get("/demo/slow?ms=1&drip_ms=1").await;
    assert_eq!(answer.field("transfer-encoding"), Some("chunked"));
    assert!(answer.text().contains("piece 1 of 10") && answer.text().contains("piece 10 of 10"));
}

#[tokio::test]
async fn the_demo_set_says_how_it_may_be_kept() {
    let started = started().await;
    for (target, field, value) in [
        ("/demo/", "cache-control", "max-age=60"),
        ("/demo/tagged/red,blue/ball", "surrogate-key", "red blue"),
        ("/demo/uncacheable?bytes=5", "cache-control", "private, no-store"),
        ("/demo/private", "cache-control", "private, max-age=60"),
        ("/demo/cookie", "set-cookie", "id=1; Path=/demo/"),
        ("/demo/vary", "vary", "Accept-Language"),
        ("/demo/swr", "cache-control", "max-age=2, stale-while-revalidate=30"),
        ("/demo/clock", "cache-control", "max-age=30"),
        ("/demo/stats", "cache-control", "no-store"),
        ("/demo/status/301", "location", "/demo/"),
    ] {
        assert_eq!(started.get(target).await.field(field), Some(value), "{target}");
    }
    for code in [200, 204, 404, 500, 599] {
        assert_eq!(started.get(&format!("/demo/status/{code}")).await.status(), code);
    }
    assert_eq!(started.get("/demo/status/101").await.status(), 400);
    assert_eq!(started.get("/demo/nothing").await.status(), 404);
    assert_eq!(started.send("POST", "/demo/clock", "Content-Length: 0\r\n").await.status(), 405);
}

#[tokio::test]
async fn echo_tells_what_arrived() {
    let started = started().await;
    let answer = started.send("M-SEARCH", "/demo/echo?a=%20", "X-A: 1\r\nContent-Length: 3\r\n\r\nabc").await;
    let echoed: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(echoed["method"], "M-SEARCH");
    assert_eq!(echoed["target"], "/demo/echo?a=%20");
    assert_eq!(echoed["body_bytes"], 3);
    assert!(echoed["headers"].as_array().unwrap().contains(&serde_json::json!(["x-a", "1"])));
}

#[tokio::test]
async fn requests_are_counted_by_path() {
    let started = started().await;
    started.get("/bash/copyright?a=1").await;
    started.get("/bash/copyright?a=2").await;
    started.get("/bash/page.html").await;
    let stats = started.origin.stats();
    assert_eq!((stats.requests, stats.of("/bash/copyright"), stats.connections), (3, 2, 3));
    assert_eq!(stats.body_bytes, 23);
    assert_eq!(started.send("POST", "/demo/stats/reset", "Content-Length: 0\r\n").await.status(), 200);
    let told: serde_json::Value = serde_json::from_slice(&started.get("/demo/stats").await.body).unwrap();
    assert_eq!((&told["requests"], &told["paths"]["/demo/stats"]), (&1.into(), &1.into()));
}

#[tokio::test]
async fn a_stopped_origin_has_let_its_requests_end() {
    let started = started().await;
    let addr = started.origin.addr();
    let mut busy = TcpStream::connect(addr).await.unwrap();
    busy.write_all(b"GET /demo/slow?drip_ms=10 HTTP/1.1\r\nHost: o\r\n\r\n").await.unwrap();
    busy.read_exact(&mut [0; 15]).await.unwrap();
    started.origin.stop().await;
    let mut rest = String::new();
    busy.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("\r\n0\r\n\r\n"), "{rest}");
    assert!(TcpStream::connect(addr).await.is_err());
}
