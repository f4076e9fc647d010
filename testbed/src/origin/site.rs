//! A tree of files, served as it is. Nothing outside its root is ever opened, by whatever path or link.

use std::{
    ffi::OsString,
    fmt::Write as _,
    fs::Metadata,
    io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH, LOCATION},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tokio::{
    fs::{self, File},
    io::AsyncSeekExt,
};

use super::{
    body::{self, Body},
    entity::{self, Entity, Plan, respond},
};

/// What of a name need not be escaped in a link.
const IN_LINK: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Longer directories are listed up to here.
const ENTRIES_MAX: usize = 10_000;

/// A tree of files.
pub struct Site {
    root: PathBuf,
}

impl Site {
    /// The tree below `root`, which must be a directory.
    pub fn new(root: &Path) -> io::Result<Self> {
        let root = root.canonicalize()?;
        std::fs::read_dir(&root)?;
        Ok(Self { root })
    }

    /// The answer to a GET or HEAD.
    pub async fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        match self.find(request.uri().path()).await {
            Ok((path, metadata)) => {
                let sent = self.send(request, path, metadata).await;
                sent.unwrap_or_else(|_| entity::message(StatusCode::NOT_FOUND, "not found\n"))
            }
            Err(_) => entity::message(StatusCode::NOT_FOUND, "not found\n"),
        }
    }

    async fn send<B>(
        &self,
        request: &Request<B>,
        path: PathBuf,
        metadata: Metadata,
    ) -> io::Result<Response<Body>> {
        let url = request.uri().path();
        if !metadata.is_dir() {
            return self.send_file(request.headers(), url, path, metadata).await;
        }
        if !url.ends_with('/') {
            let head =
                Response::builder().status(StatusCode::MOVED_PERMANENTLY).header(LOCATION, format!("{url}/"));
            return Ok(respond(
                head.header(CACHE_CONTROL, "max-age=60").header(CONTENT_LENGTH, 0),
                body::empty(),
            ));
        }
        match self.find(&format!("{url}index.html")).await {
            Ok((index, metadata)) if metadata.is_file() => {
                self.send_file(request.headers(), url, index, metadata).await
            }
            _ => self.send_listing(request.headers(), url, &path, metadata).await,
        }
    }

    async fn send_file(
        &self,
        request: &HeaderMap,
        url: &str,
        path: PathBuf,
        metadata: Metadata,
    ) -> io::Result<Response<Body>> {
        let entity = Entity {
            etag: etag(&metadata, metadata.len()),
            modified: metadata.modified().ok(),
            bytes: metadata.len(),
            content_type: content_type(&path),
            fields: fields(url),
        };
        match entity.plan(request) {
            Plan::Done(response) => Ok(response),
            Plan::Send(head, range) => {
                let mut file = File::open(path).await?;
                file.seek(io::SeekFrom::Start(range.start)).await?;
                Ok(respond(head, body::file(file, range.end - range.start)))
            }
        }
    }

    async fn send_listing(
        &self,
        request: &HeaderMap,
        url: &str,
        path: &Path,
        metadata: Metadata,
    ) -> io::Result<Response<Body>> {
        let html = listing(url, path).await?;
        let entity = Entity {
            etag: etag(&metadata, html.len() as u64),
            modified: metadata.modified().ok(),
            bytes: html.len() as u64,
            content_type: "text/html; charset=utf-8",
            fields: fields(url),
        };
        Ok(match entity.plan(request) {
            Plan::Done(response) => response,
            Plan::Send(head, range) => respond(
                head,
                body::full(html.into_bytes()[range.start as usize..range.end as usize].to_vec()),
            ),
        })
    }

    /// The file or directory that a URL names, with its links resolved.
    async fn find(&self, url: &str) -> io::Result<(PathBuf, Metadata)> {
        let mut path = self.root.clone();
        for segment in url.split('/').filter(|segment| !segment.is_empty()) {
            let name: Vec<u8> = percent_decode_str(segment).collect();
            if matches!(name.as_slice(), b"." | b"..") || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
                return Err(io::ErrorKind::NotFound.into());
            }
            path.push(OsString::from_vec(name));
        }
        let path = fs::canonicalize(path).await?;
        if !path.starts_with(&self.root) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let metadata = fs::metadata(&path).await?;
        // A pipe or device would be read for ever.
        if !metadata.is_file() && !metadata.is_dir() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok((path, metadata))
    }
}

async fn listing(url: &str, path: &Path) -> io::Result<String> {
    let mut entries = fs::read_dir(path).await?;
    let mut names = Vec::new();
    while let Some(entry) = entries.next_entry().await?
        && names.len() < ENTRIES_MAX
    {
        let slash = if entry.file_type().await.is_ok_and(|kind| kind.is_dir()) { "/" } else { "" };
        if let Ok(name) = entry.file_name().into_string() {
            names.push((name, slash));
        }
    }
    names.sort_unstable();
    let title = escaped(url);
    let mut html = format!("<!doctype html>\n<title>{title}</title>\n<h1>{title}</h1>\n<ul>\n");
    if url == "/" {
        html.push_str("<li><a href=\"/demo/\">/demo/</a>: large, slow, tagged and broken things</li>\n");
    } else {
        html.push_str("<li><a href=\"../\">../</a></li>\n");
    }
    for (name, slash) in names {
        let (link, text) = (utf8_percent_encode(&name, IN_LINK), escaped(&name));
        writeln!(html, "<li><a href=\"{link}{slash}\">{text}{slash}</a></li>")
            .expect("a string takes all text");
    }
    html.push_str("</ul>\n");
    Ok(html)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn etag(metadata: &Metadata, bytes: u64) -> String {
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let since = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("\"{bytes:x}-{:x}\"", since.as_nanos())
}

/// How long it keeps, and the tags by which it is purged: all documents, and those of one package.
fn fields(url: &str) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
    let package = url.split('/').find(|segment| !segment.is_empty());
    let tags = package.map_or_else(|| "doc".to_owned(), |package| format!("doc doc-{package}"));
    if let Ok(tags) = HeaderValue::try_from(tags) {
        fields.insert(HeaderName::from_static("surrogate-key"), tags);
    }
    fields
}

fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("css") => "text/css",
        Some("js") => "text/javascript",
        Some("json") => "application/json",
        Some("xml") => "application/xml",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("gif") => "image/gif",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("pdf") => "application/pdf",
        Some("gz") => "application/gzip",
        // `copyright`, `README`, `changelog.Debian` and their like.
        None | Some("txt" | "md" | "rst" | "Debian" | "conf" | "sh" | "py" | "pl" | "c" | "h") => {
            "text/plain; charset=utf-8"
        }
        Some(_) => "application/octet-stream",
    }
}
