//! The access log: one JSON object per line and request.
//!
//! Requests never wait for it: a record goes into a bounded queue that one thread writes out, and is dropped
//! and counted when the queue is full. What clients and origins chose (paths, fields) is cut to a bounded
//! length here and escaped by `serde_json`, so that no request can forge a line or fill the disk alone.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread::JoinHandle,
    time::SystemTime,
};

use parking_lot::Mutex;
use serde::Serialize;

/// What an operator may set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which requests are logged.
    pub access: Access,
    /// The share that is logged when `access` is sampled, in percent.
    pub sample_percent: u32,
    /// Where lines go; standard output when absent.
    pub file: Option<PathBuf>,
    /// Records that may wait to be written; more are dropped and counted.
    pub queue_max: usize,
}

/// Which requests are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// None.
    Off,
    /// A share of them, and all that failed on our side (5xx) or were cut off.
    Sampled,
    /// All.
    Full,
}

impl Default for Settings {
    fn default() -> Self {
        Self { access: Access::Off, sample_percent: 1, file: None, queue_max: 16 << 10 }
    }
}

/// What is written of one request.
#[derive(Clone, Debug, Serialize)]
pub struct AccessRecord {
    /// When it was over; RFC 3339, UTC.
    #[serde(serialize_with = "rfc3339")]
    pub time: SystemTime,
    /// Its id, which `Starling-Debug` shows too.
    pub request_id: u64,
    /// Whose request it was.
    pub peer: SocketAddr,
    /// The method.
    pub method: String,
    /// The host it was for.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub protocol: &'static str,
    /// The status.
    pub status: u16,
    /// Body bytes handed to the transport.
    pub sent_bytes: u64,
    /// From the request's head to the end of the response.
    pub duration_ms: f64,
    /// From the request's head to the response's head.
    pub first_byte_ms: f64,
    /// `hit`, `miss`, ...
    pub cache: &'static str,
    /// Why: the reason of the decision, as in `Cache-Status`.
    pub reason: &'static str,
    /// The service, when one was found.
    pub service: Option<Arc<str>>,
    /// The object's key, in hexadecimal.
    pub key: Option<String>,
    /// The origin that was asked.
    pub origin: Option<Arc<str>>,
    /// Whether the whole response was handed to the transport.
    pub whole: bool,
    /// `User-Agent`.
    pub user_agent: Option<String>,
    /// `Referer`.
    pub referer: Option<String>,
}

/// The longest path or field that is written, in bytes.
const VALUE_BYTES_MAX: usize = 2048;

/// A cheap handle to the log. The thread ends, and what is queued is written, when [`AccessLog::close`] is called.
#[derive(Clone)]
pub struct AccessLog(Arc<Shared>);

struct Shared {
    access: Access,
    sample_percent: u64,
    seen: AtomicU64,
    written: Arc<AtomicU64>,
    dropped: AtomicU64,
    queue: Option<SyncSender<Message>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    Record(Box<AccessRecord>),
    Reopen,
    Close,
}

/// The log could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("the access log {file:?} cannot be opened: {source}")]
pub struct OpenError {
    file: PathBuf,
    source: io::Error,
}

impl AccessLog {
    /// Opens the log and starts its thread; nothing is opened when it is off.
    pub fn open(settings: &Settings) -> Result<Self, OpenError> {
        let written = Arc::new(AtomicU64::new(0));
        let (queue, writer) = if settings.access == Access::Off {
            (None, None)
        } else {
            let sink = Sink::open(settings.file.clone())
                .map_err(|source| OpenError { file: settings.file.clone().unwrap_or_default(), source })?;
            let (queue, messages) = mpsc::sync_channel(settings.queue_max);
            let counter = Arc::clone(&written);
            let writer = std::thread::Builder::new()
                .name("access-log".to_owned())
                .spawn(move || write_out(sink, &messages, &counter))
                .map_err(|source| OpenError { file: settings.file.clone().unwrap_or_default(), source })?;
            (Some(queue), Some(writer))
        };
        Ok(Self(Arc::new(Shared {
            access: settings.access,
            sample_percent: u64::from(settings.sample_percent),
            seen: AtomicU64::new(0),
            written,
            dropped: AtomicU64::new(0),
            queue,
            writer: Mutex::new(writer),
        })))
    }

    /// Whether any request is recorded.
    pub fn is_on(&self) -> bool {
        self.0.access != Access::Off
    }

    /// Whether a request is to be recorded. Asked first, so that a record is built only for what is written.
    pub fn wants(&self, status: u16, whole: bool) -> bool {
        match self.0.access {
            Access::Off => false,
            Access::Full => true,
            Access::Sampled => {
                // Evenly spread: of every hundred, those at which the whole part of n * percent / 100 steps.
                let n = self.0.seen.fetch_add(1, Ordering::Relaxed) % 100;
                let share = |n: u64| n * self.0.sample_percent / 100;
                status >= 500 || !whole || share(n) != share(n + 1)
            }
        }
    }

    /// Queues a record; drops and counts it when the writer is behind.
    pub fn record(&self, record: AccessRecord) {
        if let Some(queue) = &self.0.queue
            && let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
                queue.try_send(Message::Record(Box::new(record)))
        {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Opens the file anew, after it was rotated. A full queue is waited for, so call it from a blocking task.
    pub fn reopen(&self) {
        self.tell(Message::Reopen);
    }

    /// Writes what is queued and ends the thread. Records that come later are dropped. Blocks.
    pub fn close(&self) {
        self.tell(Message::Close);
        if let Some(writer) = self.0.writer.lock().take() {
            // A writer that panicked has nothing left to flush.
            let _ = writer.join();
        }
    }

    /// Lines written, and records dropped because the writer was behind or gone.
    pub fn counts(&self) -> (u64, u64) {
        (self.0.written.load(Ordering::Relaxed), self.0.dropped.load(Ordering::Relaxed))
    }

    fn tell(&self, message: Message) {
        if let Some(queue) = &self.0.queue {
            // The thread is gone only after `close`: there is nothing to reopen or to close then.
            let _ = queue.send(message);
        }
    }
}

fn write_out(mut sink: Sink, messages: &Receiver<Message>, written: &AtomicU64) {
    let mut line = Vec::with_capacity(1024);
    while let Ok(first) = messages.recv() {
        // Everything that waits is written before one flush: under load lines leave in large writes.
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Record(record) => {
                    line.clear();
                    if serde_json::to_writer(&mut line, &bounded(*record)).is_ok() {
                        line.push(b'\n');
                        if sink.write(&line) {
                            written.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
                Message::Reopen => sink.reopen(),
                Message::Close => {
                    sink.flush();
                    return;
                }
            }
            next = messages.try_recv().ok();
        }
        sink.flush();
    }
    sink.flush();
}

fn bounded(mut record: AccessRecord) -> AccessRecord {
    for text in [&mut record.method, &mut record.host, &mut record.path] {
        cut(text);
    }
    for text in [&mut record.user_agent, &mut record.referer, &mut record.key].into_iter().flatten() {
        cut(text);
    }
    record
}

fn cut(text: &mut String) {
    if text.len() > VALUE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(VALUE_BYTES_MAX));
        text.push_str("...");
    }
}

fn rfc3339<S: serde::Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let ms = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    serializer.collect_str(&format_args!("{}", timestamp(ms)))
}

/// Milliseconds since the Unix epoch as RFC 3339 in UTC.
pub fn timestamp(ms: u64) -> String {
    let (days, in_day) = (ms / 86_400_000, ms % 86_400_000);
    let (year, month, day) = civil(days as i64);
    let (hours, minutes, seconds) = (in_day / 3_600_000, in_day / 60_000 % 60, in_day / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", ms % 1000)
}

/// The date of a day since 1970-01-01, in the proleptic Gregorian calendar: eras of 400 years that begin in
/// March, so that the leap day is the last of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Where lines go. A sink that fails says so once and goes on trying: the disk may have room again.
struct Sink {
    file: Option<PathBuf>,
    out: BufWriter<Box<dyn Write + Send>>,
    failing: bool,
}

impl Sink {
    fn open(file: Option<PathBuf>) -> io::Result<Self> {
        let out = BufWriter::with_capacity(64 << 10, target(file.as_deref())?);
        Ok(Self { file, out, failing: false })
    }

    fn reopen(&mut self) {
        self.flush();
        match target(self.file.as_deref()) {
            Ok(out) => self.out = BufWriter::with_capacity(64 << 10, out),
            Err(error) => {
                tracing::error!(%error, file = ?self.file, "the access log cannot be opened anew; the old file is kept")
            }
        }
    }

    fn write(&mut self, line: &[u8]) -> bool {
        let result = self.out.write_all(line);
        self.noted(result)
    }

    fn flush(&mut self) {
        let result = self.out.flush();
        self.noted(result);
    }

    fn noted(&mut self, result: io::Result<()>) -> bool {
        match result {
            Ok(()) => self.failing = false,
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::error!(%error, file = ?self.file, "the access log cannot be written");
            }
            Err(_) => {}
        }
        !self.failing
    }
}

fn target(file: Option<&Path>) -> io::Result<Box<dyn Write + Send>> {
    match file {
        Some(file) => {
            let file: File = OpenOptions::new().create(true).append(true).open(file)?;
            Ok(Box::new(file))
        }
        None => Ok(Box::new(io::stdout())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(path: &str) -> AccessRecord {
        AccessRecord {
            time: SystemTime::UNIX_EPOCH,
            request_id: 7,
            peer: SocketAddr::from(([127, 0, 0, 1], 5000)),
            method: "GET".to_owned(),
            host: "example.org".to_owned(),
            path: path.to_owned(),
            protocol: "HTTP/1.1",
            status: 200,
            sent_bytes: 12,
            duration_ms: 1.5,
            first_byte_ms: 0.5,
            cache: "hit",
            reason: "fresh",
            service: Some("shop".into()),
            key: None,
            origin: None,
            whole: true,
            user_agent: Some("evil\n{\"status\":200}".to_owned()),
            referer: None,
        }
    }

    fn log(file: &Path, access: Access) -> AccessLog {
        AccessLog::open(&Settings { access, sample_percent: 10, file: Some(file.to_owned()), queue_max: 8 })
            .unwrap()
    }

    #[test]
    fn a_request_cannot_forge_a_line_or_write_a_long_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("access.log");
        let log = log(&file, Access::Full);
        log.record(record(&"ä".repeat(5000)));
        log.close();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["user_agent"], "evil\n{\"status\":200}");
        assert_eq!(line["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!(line["path"].as_str().unwrap().len(), VALUE_BYTES_MAX + "...".len());
        assert_eq!(log.counts(), (1, 0));
    }

    #[test]
    fn a_rotated_file_is_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("access.log");
        let log = log(&file, Access::Full);
        log.record(record("/one"));
        log.reopen();
        log.close();
        assert!(std::fs::read_to_string(&file).unwrap().contains("/one"));

        let log = self::log(&file, Access::Full);
        std::fs::rename(&file, dir.path().join("access.log.1")).unwrap();
        log.reopen();
        log.record(record("/two"));
        log.close();
        assert!(std::fs::read_to_string(&file).unwrap().contains("/two"));
        assert!(!std::fs::read_to_string(dir.path().join("access.log.1")).unwrap().contains("/two"));
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (queue, waiting) = mpsc::sync_channel(1);
        let log = AccessLog(Arc::new(Shared {
            access: Access::Full,
            sample_percent: 0,
            seen: AtomicU64::new(0),
            written: Arc::default(),
            dropped: AtomicU64::new(0),
            queue: Some(queue),
            writer: Mutex::new(None),
        }));
        log.record(record("/"));
        log.record(record("/"));
        assert_eq!(log.counts(), (0, 1));
        drop(waiting);
    }

    #[test]
    fn a_sample_is_its_share_and_every_failure() {
        let dir = tempfile::tempdir().unwrap();
        for (percent, expected) in [(0, 0), (1, 10), (10, 100), (33, 330), (100, 1000)] {
            let settings = Settings {
                access: Access::Sampled,
                sample_percent: percent,
                file: Some(dir.path().join("sampled.log")),
                queue_max: 8,
            };
            let log = AccessLog::open(&settings).unwrap();
            assert_eq!((0..1000).filter(|_| log.wants(200, true)).count(), expected, "{percent} %");
            assert!(log.wants(502, true) && log.wants(200, false));
            log.close();
        }
        assert!(!log(&dir.path().join("off.log"), Access::Off).wants(502, false));
    }

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(timestamp(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(timestamp(1_767_225_599_999), "2025-12-31T23:59:59.999Z");
    }
}
