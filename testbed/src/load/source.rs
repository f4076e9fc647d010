//! What is asked for, one request after the other: from a log, from a trace, or made up.

use std::{
    collections::{HashMap, hash_map},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, bail, ensure};
use http::Method;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Zipf};
use serde::Serialize;

use super::{
    access,
    lines::{Line, Lines},
    trace,
    units::Span,
};
use crate::{
    client::Protocol,
    press::{Host, Object},
};

/// Paths of a log whose size is remembered; a log of any length takes no more memory.
const SIZES_MAX: usize = 1 << 20;

/// One request that somebody wants answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// When the log says it came, in seconds since 1970.
    pub logged_s: Option<i64>,
    /// Who wants it, as a number.
    pub client: u64,
    /// GET, nearly always.
    pub method: Method,
    /// What of.
    pub what: What,
    /// Bytes `from..to` of it only.
    pub range: Option<(u64, u64)>,
    /// How it is carried.
    pub protocol: Protocol,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// An object of the press; its bytes are checked.
    Object(Object),
    /// A path of any site.
    Path(String),
}

/// How requests are shaped, wherever they come from.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Everything random is of it.
    pub seed: u64,
    /// The press's host.
    pub host: Host,
    /// Lengths of objects, where nothing tells them.
    pub bytes: Span,
    /// No object is longer.
    pub bytes_max: u64,
    /// The share of requests over HTTP/2.
    pub h2: f64,
    /// The share of requests for a part of an object.
    pub ranges: f64,
    /// How many clients there are, where no log names them.
    pub clients: u64,
}

/// How a log is read.
#[derive(Clone, Debug)]
pub struct LogShape {
    /// The methods that are replayed.
    pub methods: Vec<Method>,
    /// Paths are asked for as they are, and do not become objects of the press.
    pub as_is: bool,
}

/// What has been read of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReadSoFar {
    /// Lines that became requests.
    pub usable: u64,
    /// Lines that are none of such a file.
    pub malformed: u64,
    /// The first of them: its number, what is wrong, and how it begins.
    pub first_malformed: Option<String>,
    /// Good lines about requests that are not replayed: of another method, or not requests at all.
    pub skipped: u64,
    /// Paths whose size was made up: the log did not tell, or there were too many to remember.
    pub sizes_made_up: u64,
}

/// Requests, until there are no more or reading fails.
pub type Source = Box<dyn Iterator<Item = anyhow::Result<Wanted>> + Send>;

/// A log in common or combined format.
///
/// # Errors
///
/// When it cannot be opened.
pub fn log(
    path: &Path,
    shape: &Shape,
    log: &LogShape,
    read: Arc<Mutex<ReadSoFar>>,
) -> anyhow::Result<Source> {
    let lines = Lines::open(path)?;
    let (shape, log) = (shape.clone(), log.clone());
    let mut sizes = Sizes { of: HashMap::new(), max: SIZES_MAX };
    let mut mixer = Mixer::new(&shape);
    let tally = Arc::clone(&read);
    let understand = move |line: &str| {
        let entry = match access::parse(line)? {
            access::Parsed::Request(entry) => entry,
            access::Parsed::Unaskable => return Ok(None),
        };
        let Some(method) = log.methods.iter().find(|method| method.as_str() == entry.method) else {
            return Ok(None);
        };
        let what = if log.as_is {
            What::Path(entry.target)
        } else {
            let hash = trace::hash(&entry.target);
            let told = entry.bytes.filter(|bytes| entry.status == 200 && *bytes > 0);
            let bytes = sizes.of(hash, told, &shape, &tally);
            What::Object(trace::object(shape.host, trace::place_of_text(&entry.target), bytes))
        };
        let client = trace::hash(&entry.client);
        Ok(Some(mixer.wanted(what, method.clone(), entry.bytes, Some((entry.at_s, client)))))
    };
    Ok(Box::new(Read { lines, understand, read, is_over: false }))
}

/// A trace of `id size` or `id` lines.
///
/// # Errors
///
/// When it cannot be opened.
pub fn trace(path: &Path, shape: &Shape, read: Arc<Mutex<ReadSoFar>>) -> anyhow::Result<Source> {
    let lines = Lines::open(path)?;
    let shape = shape.clone();
    let mut mixer = Mixer::new(&shape);
    let understand = move |line: &str| {
        let entry = trace::parse(line)?;
        let bytes = entry.bytes.map_or_else(|| made_up(&shape, place_key(entry.place)), |bytes| bytes.max(1));
        let object = trace::object(shape.host, entry.place, bytes.min(shape.bytes_max));
        Ok(Some(mixer.wanted(What::Object(object), Method::GET, None, None)))
    };
    Ok(Box::new(Read { lines, understand, read, is_over: false }))
}

/// `objects` objects, the `k`th of which is asked for as often as `1 / k^exponent`.
///
/// # Errors
///
/// When there is no such distribution.
pub fn zipf(exponent: f64, objects: u64, shape: &Shape) -> anyhow::Result<Source> {
    ensure!(objects > 0, "there must be at least one object");
    let ranks = Zipf::new(objects as f64, exponent).context("no such Zipf distribution")?;
    let mut random = ChaCha8Rng::seed_from_u64(shape.seed.wrapping_add(2));
    let mut mixer = Mixer::new(shape);
    let shape = shape.clone();
    Ok(Box::new(std::iter::from_fn(move || {
        let place = trace::place_of_number(ranks.sample(&mut random) as u64 - 1);
        let bytes = made_up(&shape, place_key(place)).min(shape.bytes_max);
        let object = trace::object(shape.host, place, bytes);
        Some(Ok(mixer.wanted(What::Object(object), Method::GET, None, None)))
    })))
}

/// Reads lines until one becomes a request.
struct Read<F> {
    lines: Lines,
    understand: F,
    read: Arc<Mutex<ReadSoFar>>,
    is_over: bool,
}

impl<F: FnMut(&str) -> Result<Option<Wanted>, &'static str>> Read<F> {
    fn read_on(&mut self) -> anyhow::Result<Option<Wanted>> {
        loop {
            let (number, understood, begin) = match self.lines.next_line()? {
                None => break,
                Some(Line::TooLong(number)) => (number, Err("a line that is too long"), String::new()),
                Some(Line::Text(_, text)) if text.trim().is_empty() => continue,
                Some(Line::Text(number, text)) => {
                    let understood = (self.understand)(&text);
                    let is_bad = understood.is_err();
                    (
                        number,
                        understood,
                        if is_bad { text.chars().take(120).collect() } else { String::new() },
                    )
                }
            };
            let mut read = self.read.lock();
            match understood {
                Ok(Some(wanted)) => {
                    read.usable += 1;
                    return Ok(Some(wanted));
                }
                Ok(None) => read.skipped += 1,
                Err(why) => {
                    read.malformed += 1;
                    let name = self.lines.name();
                    read.first_malformed
                        .get_or_insert_with(|| format!("{name}, line {number}: {why}: {begin:?}"));
                }
            }
        }
        let read = self.read.lock();
        if read.usable == 0 {
            let first = read.first_malformed.as_ref().map(|first| format!("; {first}")).unwrap_or_default();
            bail!(
                "{} has no usable line: {} malformed, {} of other requests{first}",
                self.lines.name(),
                read.malformed,
                read.skipped
            );
        }
        Ok(None)
    }
}

impl<F: FnMut(&str) -> Result<Option<Wanted>, &'static str>> Iterator for Read<F> {
    type Item = anyhow::Result<Wanted>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = self.read_on().transpose();
        self.is_over = !matches!(next, Some(Ok(_)));
        next
    }
}

/// The first size that a log told of each path: a path is one object, though its answers had many lengths.
struct Sizes {
    of: HashMap<u64, u64>,
    max: usize,
}

impl Sizes {
    fn of(&mut self, path: u64, told: Option<u64>, shape: &Shape, read: &Mutex<ReadSoFar>) -> u64 {
        let is_full = self.of.len() >= self.max;
        match self.of.entry(path) {
            hash_map::Entry::Occupied(known) => *known.get(),
            hash_map::Entry::Vacant(_) if is_full => {
                read.lock().sizes_made_up += 1;
                made_up(shape, path)
            }
            hash_map::Entry::Vacant(unknown) => {
                if told.is_none() {
                    read.lock().sizes_made_up += 1;
                }
                let bytes = told.unwrap_or_else(|| made_up(shape, path)).min(shape.bytes_max);
                *unknown.insert(bytes)
            }
        }
    }
}

fn place_key(place: (u32, u32)) -> u64 {
    u64::from(place.0) << 32 | u64::from(place.1)
}

/// A length for this key, always the same; its logarithm is spread evenly over the span.
fn made_up(shape: &Shape, key: u64) -> u64 {
    let Span { min, max } = shape.bytes;
    let drawn = if min == max {
        min
    } else {
        let unit: f64 = ChaCha8Rng::seed_from_u64(shape.seed ^ key).random();
        let (low, high) = ((min as f64).ln(), (max as f64 + 1.0).ln());
        ((low + unit * (high - low)).exp() as u64).clamp(min, max)
    };
    drawn.min(shape.bytes_max)
}

/// Gives requests what no line of them tells.
struct Mixer {
    random: ChaCha8Rng,
    h2: f64,
    ranges: f64,
    clients: u64,
}

impl Mixer {
    fn new(shape: &Shape) -> Self {
        let random = ChaCha8Rng::seed_from_u64(shape.seed.wrapping_add(1));
        Self { random, h2: shape.h2, ranges: shape.ranges, clients: shape.clients.max(1) }
    }

    fn wanted(
        &mut self,
        what: What,
        method: Method,
        hint: Option<u64>,
        logged: Option<(i64, u64)>,
    ) -> Wanted {
        // Drawn for every request, so that one share does not change what another one falls on.
        let (h2, ranges) = (self.random.random::<f64>(), self.random.random::<f64>());
        let (from, length) = (self.random.random::<f64>(), self.random.random::<f64>());
        let drawn = self.random.random_range(0..self.clients);
        let bytes = match &what {
            What::Object(object) => object.bytes,
            What::Path(_) => hint.unwrap_or(0),
        };
        let range = (ranges < self.ranges && bytes > 1 && method == Method::GET).then(|| {
            let from = ((bytes as f64 * from) as u64).min(bytes - 1);
            let length = 1 + ((bytes - from) as f64 * length) as u64;
            (from, (from + length).min(bytes))
        });
        let protocol = if h2 < self.h2 { Protocol::H2 } else { Protocol::H1 };
        let client = logged.map_or(drawn, |(_, client)| client);
        Wanted { logged_s: logged.map(|(at_s, _)| at_s), client, method, what, range, protocol }
    }
}

#[cfg(test)]
mod tests;
