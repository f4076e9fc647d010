//! Reads a configuration key by key, from flags, the environment and a file, in that order of strength.
//!
//! A [`Section`] is asked for each key it may hold; what is in the file and was never asked for is unknown.
//! A value that is wrong is noted as a [`Problem`] and the default is used on, so that one run reports all
//! problems. Nothing here knows what the keys mean.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    ops::Range,
    str::FromStr,
    time::Duration,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    problem::{Place, Problem, did_you_mean, position},
    units,
};

/// The sources of one configuration, and what was found wrong in them.
pub(super) struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    overrides: BTreeMap<String, Override>,
    environment: &'a BTreeMap<String, String>,
    used: RefCell<BTreeSet<String>>,
    known: RefCell<BTreeSet<String>>,
    problems: RefCell<Vec<Problem>>,
}

/// A value given by a flag, which beats environment and file.
#[derive(Clone, Debug)]
pub struct Override {
    /// The flag, as a person would write it.
    pub flag: String,
    /// Its values; several when the flag was repeated.
    pub values: Vec<String>,
}

/// A value and where it was said.
pub(super) struct Found<T> {
    pub value: T,
    pub place: Place,
    /// The full key, with the path to it.
    pub key: String,
}

/// A value as it was written.
enum Raw<'a> {
    Toml(&'a DeValue<'a>, Range<usize>),
    Text(Vec<String>, Place),
}

/// One table of the configuration.
pub(super) struct Section<'r, 'a> {
    reader: &'r Reader<'a>,
    path: String,
    table: Option<&'a DeTable<'a>>,
    place: Place,
    /// Tables in arrays have no flags and no environment.
    overridable: bool,
    asked: RefCell<Vec<&'static str>>,
    closed: Cell<bool>,
}

impl<'a> Reader<'a> {
    pub fn new(
        file: &'a str,
        text: &'a str,
        overrides: BTreeMap<String, Override>,
        environment: &'a BTreeMap<String, String>,
    ) -> Self {
        Self {
            file,
            text,
            overrides,
            environment,
            used: RefCell::default(),
            known: RefCell::default(),
            problems: RefCell::default(),
        }
    }

    pub fn root<'r>(&'r self, table: &'a DeTable<'a>) -> Section<'r, 'a> {
        let place = Place::Named(self.file.to_owned());
        self.section(String::new(), Some(table), place, true)
    }

    fn section<'r>(
        &'r self,
        path: String,
        table: Option<&'a DeTable<'a>>,
        place: Place,
        overridable: bool,
    ) -> Section<'r, 'a> {
        Section {
            reader: self,
            path,
            table,
            place,
            overridable,
            asked: RefCell::default(),
            closed: Cell::new(false),
        }
    }

    pub fn place(&self, span: Range<usize>) -> Place {
        let (line, column) = position(self.text, span.start);
        Place::File { file: self.file.to_owned(), line, column }
    }

    pub fn problem(&self, place: Place, key: &str, message: impl Into<String>) {
        self.problems.borrow_mut().push(Problem { place, key: key.to_owned(), message: message.into() });
    }

    /// Every key that was asked for, as `section.key`, with `[]` for any element of an array.
    #[cfg(test)]
    pub fn known(&self) -> BTreeSet<String> {
        self.known.borrow().clone()
    }

    /// What was found wrong before any key was asked for.
    pub fn finish_syntax(self) -> Vec<Problem> {
        self.problems.into_inner()
    }

    /// What was found wrong, in the order of the file; flags that set nothing are wrong too.
    pub fn finish(self) -> Vec<Problem> {
        let used = self.used.borrow();
        for (key, given) in self.overrides.iter().filter(|(key, _)| !used.contains(*key)) {
            let known = self.known.borrow();
            let hint = match did_you_mean(key, known.iter().map(String::as_str)) {
                Some(meant) => format!("there is no such key; did you mean `{meant}`?"),
                None => "there is no such key, or it can be set in a file only".to_owned(),
            };
            self.problems.borrow_mut().push(Problem {
                place: Place::Named(given.flag.clone()),
                key: key.clone(),
                message: hint,
            });
        }
        drop(used);
        let mut problems = self.problems.into_inner();
        problems.sort_by(|a, b| a.place.cmp(&b.place));
        problems
    }
}

impl<'r, 'a> Section<'r, 'a> {
    /// Where the section begins.
    pub fn place(&self) -> Place {
        self.place.clone()
    }

    /// The full name of one of its keys.
    pub fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Notes a problem with one of its keys, at the section's place.
    pub fn problem(&self, key: &str, message: impl Into<String>) {
        self.reader.problem(self.place(), &self.path(key), message);
    }

    /// Notes a problem with a value that was found.
    pub fn wrong<T>(&self, found: &Found<T>, message: impl Into<String>) {
        self.reader.problem(found.place.clone(), &found.key, message);
    }

    /// Any one-word value that parses; `wanted` completes "but this is ...".
    pub fn parsed<T: FromStr>(&self, key: &'static str, wanted: &str) -> Option<Found<T>> {
        self.found(key, wanted, |text| text.parse().ok())
    }

    pub fn string(&self, key: &'static str) -> Option<Found<String>> {
        self.found(key, "text in quotes", |text| Some(text.to_owned()))
    }

    /// A whole number within `range`; `default` when absent.
    pub fn number<T>(&self, key: &'static str, range: Range<u64>, default: T) -> T
    where
        T: TryFrom<u64>,
    {
        let wanted = match range.end {
            u64::MAX => format!("a whole number, at least {}", range.start),
            end => format!("a whole number from {} to {}", range.start, end - 1),
        };
        self.found(key, &wanted, |text| {
            text.parse().ok().filter(|n| range.contains(n)).and_then(|n| T::try_from(n).ok())
        })
        .map_or(default, |found| found.value)
    }

    pub fn percent<T: TryFrom<u64>>(&self, key: &'static str, default: T) -> T {
        self.number(key, 0..101, default)
    }

    /// A size: a whole number of bytes or text such as "64MiB".
    pub fn bytes<T: TryFrom<u64>>(&self, key: &'static str, range: Range<u64>, default: T) -> T {
        let wanted = match range.start {
            0 => "a size: bytes, or text such as \"64MiB\"".to_owned(),
            least => format!("a size of at least {least} bytes: bytes, or text such as \"64MiB\""),
        };
        self.found(key, &wanted, |text| {
            units::bytes(text).filter(|n| range.contains(n)).and_then(|n| T::try_from(n).ok())
        })
        .map_or(default, |found| found.value)
    }

    /// A time in milliseconds, or text such as "5s".
    pub fn millis(&self, key: &'static str, default: u64) -> u64 {
        self.found(key, "a time: milliseconds, or text such as \"5s\"", units::millis)
            .map_or(default, |found| found.value)
    }

    /// As [`Self::millis`]; zero is refused, since it would fail every request.
    pub fn duration(&self, key: &'static str, default: Duration) -> Duration {
        self.found(key, "a time above zero: milliseconds, or text such as \"5s\"", |text| {
            units::millis(text).filter(|ms| *ms > 0)
        })
        .map_or(default, |found| Duration::from_millis(found.value))
    }

    pub fn flag(&self, key: &'static str, default: bool) -> bool {
        self.found(key, "true or false", |text| text.parse().ok()).map_or(default, |found| found.value)
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, key: &'static str, choices: &[(&str, T)], default: T) -> T {
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let wanted = format!("one of {}", words.join(", "));
        self.found(key, &wanted, |text| {
            choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice)
        })
        .map_or(default, |found| found.value)
    }

    /// A list; a single value counts as a list of one, and in flags and environment commas separate.
    pub fn list<T>(
        &self,
        key: &'static str,
        wanted: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Found<Vec<Found<T>>>> {
        let path = self.path(key);
        let mut items = Vec::new();
        let before = self.reader.problems.borrow().len();
        let place = match self.raw(key)? {
            Raw::Text(values, place) => {
                for text in
                    values.iter().flat_map(|value| value.split(',')).map(str::trim).filter(|t| !t.is_empty())
                {
                    self.item(&mut items, parse(text), place.clone(), path.clone(), text, wanted);
                }
                place
            }
            Raw::Toml(DeValue::Array(array), span) => {
                for (number, item) in array.iter().enumerate() {
                    let place = self.reader.place(item.span());
                    let key = format!("{path}[{number}]");
                    let value = text_of(item.get_ref()).and_then(|text| parse(&text));
                    self.item(&mut items, value, place, key, &shown(item.get_ref()), wanted);
                }
                self.reader.place(span)
            }
            Raw::Toml(single, span) => {
                let place = self.reader.place(span);
                let value = text_of(single).and_then(|text| parse(&text));
                self.item(&mut items, value, place.clone(), path.clone(), &shown(single), wanted);
                place
            }
        };
        // All items were wrong, which has been told: the list counts as absent, not as empty.
        let all_wrong = items.is_empty() && self.reader.problems.borrow().len() > before;
        (!all_wrong).then_some(Found { value: items, place, key: path })
    }

    fn item<T>(
        &self,
        items: &mut Vec<Found<T>>,
        value: Option<T>,
        place: Place,
        key: String,
        found: &str,
        wanted: &str,
    ) {
        match value {
            Some(value) => items.push(Found { value, place, key }),
            None => self.reader.problem(place, &key, mismatch(found, wanted)),
        }
    }

    pub fn strings(&self, key: &'static str) -> Option<Found<Vec<Found<String>>>> {
        self.list(key, "text in quotes, or a list of such", |text| Some(text.to_owned()))
    }

    /// A table inside this one; an empty one when it is not there.
    pub fn table(&self, key: &'static str) -> Section<'r, 'a> {
        self.table_if_present(key)
            .unwrap_or_else(|| self.reader.section(self.path(key), None, self.place(), self.overridable))
    }

    /// A table inside this one, when it is there.
    pub fn table_if_present(&self, key: &'static str) -> Option<Section<'r, 'a>> {
        let value = self.entry(key)?;
        let place = self.reader.place(value.span());
        match value.get_ref() {
            DeValue::Table(table) => {
                Some(self.reader.section(self.path(key), Some(table), place, self.overridable))
            }
            other => {
                let wanted = format!("a table: write [{}]", self.path(key));
                self.reader.problem(place, &self.path(key), mismatch(&shown(other), &wanted));
                None
            }
        }
    }

    /// An array of tables. Elements of another kind are given to `other` as text, if they are text.
    pub fn tables(
        &self,
        key: &'static str,
        mut other: impl FnMut(Found<String>) -> bool,
    ) -> Vec<Section<'r, 'a>> {
        let Some(value) = self.entry(key) else { return Vec::new() };
        let path = self.path(key);
        let array: Vec<&Spanned<DeValue<'a>>> = match value.get_ref() {
            DeValue::Array(array) => array.iter().collect(),
            _ => vec![value],
        };
        let mut sections = Vec::new();
        for (number, item) in array.into_iter().enumerate() {
            let place = self.reader.place(item.span());
            let key = format!("{path}[{number}]");
            match item.get_ref() {
                DeValue::Table(table) => {
                    sections.push(self.reader.section(key, Some(table), place, false));
                }
                item => {
                    let found = Found { value: text_of(item).unwrap_or_default(), place, key: key.clone() };
                    let place = found.place.clone();
                    if !item.is_str() || !other(found) {
                        let wanted = format!("a table: write [[{path}]]");
                        self.reader.problem(place, &key, mismatch(&shown(item), &wanted));
                    }
                }
            }
        }
        sections
    }

    /// Whether the key is set anywhere.
    pub fn is_set(&self, key: &'static str) -> bool {
        self.raw(key).is_some()
    }

    /// Ends the section: what is in it and was not asked for is unknown.
    pub fn close(&self) {
        self.closed.set(true);
        let asked = self.asked.borrow();
        let here = if self.path.is_empty() { "at the top".to_owned() } else { format!("in `{}`", self.path) };
        for key in self.table.into_iter().flat_map(|table| table.keys()) {
            let name: &str = key.get_ref();
            if asked.contains(&name) {
                continue;
            }
            let message = match did_you_mean(name, asked.iter().copied()) {
                Some(meant) => format!("there is no such key {here}; did you mean `{meant}`?"),
                None => format!("there is no such key {here}; it takes {}", asked.join(", ")),
            };
            self.reader.problem(self.reader.place(key.span()), &self.path(name), message);
        }
    }

    fn found<T>(
        &self,
        key: &'static str,
        wanted: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Found<T>> {
        let path = self.path(key);
        let (text, found, place) = match self.raw(key)? {
            Raw::Text(values, place) => {
                let text = values.last().cloned().unwrap_or_default();
                (Some(text.clone()), format!("\"{text}\""), place)
            }
            Raw::Toml(value, span) => (text_of(value), shown(value), self.reader.place(span)),
        };
        match text.and_then(|text| parse(&text)) {
            Some(value) => Some(Found { value, place, key: path }),
            None => {
                self.reader.problem(place, &path, mismatch(&found, wanted));
                None
            }
        }
    }

    fn entry(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.ask(key);
        self.table?.get(key)
    }

    fn raw(&self, key: &'static str) -> Option<Raw<'a>> {
        self.ask(key);
        let path = self.path(key);
        if self.overridable {
            if let Some(given) = self.reader.overrides.get(&path) {
                self.reader.used.borrow_mut().insert(path);
                return Some(Raw::Text(given.values.clone(), Place::Named(given.flag.clone())));
            }
            let variable = variable(&path);
            if let Some(value) = self.reader.environment.get(&variable) {
                return Some(Raw::Text(vec![value.clone()], Place::Named(variable)));
            }
        }
        self.table?.get(key).map(|value| Raw::Toml(value.get_ref(), value.span()))
    }

    fn ask(&self, key: &'static str) {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            debug_assert!(!self.closed.get(), "`{key}` is asked for before its section is closed");
            asked.push(key);
            let name = self.path(key).split('.').map(without_number).collect::<Vec<_>>().join(".");
            self.reader.known.borrow_mut().insert(name);
        }
    }
}

/// The environment variable that sets a key: `store.disk_bytes_max` is `STARLING_STORE_DISK_BYTES_MAX`, and
/// keys of `[node]` go without the section's name.
pub(super) fn variable(path: &str) -> String {
    let name = path.strip_prefix("node.").unwrap_or(path);
    format!("STARLING_{}", name.replace('.', "_").to_ascii_uppercase())
}

fn without_number(part: &str) -> String {
    part.split_once('[').map_or_else(|| part.to_owned(), |(name, _)| format!("{name}[]"))
}

fn mismatch(found: &str, wanted: &str) -> String {
    format!("found {found}, but this is {wanted}")
}

/// A value of one word as text; `None` for arrays, tables and dates.
fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => i128::from_str_radix(&number.as_str().replace('_', ""), number.radix())
            .ok()
            .map(|number| number.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(value) => Some(value.to_string()),
        _ => None,
    }
}

/// A value as an error shows it, cut to a readable length.
fn shown(value: &DeValue<'_>) -> String {
    fn quoted(text: impl Display) -> String {
        let text = text.to_string();
        let cut: String = text.chars().take(60).collect();
        if cut.len() < text.len() { format!("{cut:?}...") } else { format!("{cut:?}") }
    }
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
        DeValue::Datetime(_) => "a date".to_owned(),
        word => text_of(word).unwrap_or_else(|| "a number".to_owned()),
    }
}
