//! What `Cache-Control` and its kin say, read into one type.
//!
//! | field | syntax | read by |
//! | --- | --- | --- |
//! | `Cache-Control` | tolerant list (RFC 9111 section 5.2) | [`Directives::cache_control`] |
//! | `CDN-Cache-Control` | strict Structured Field (RFC 9213) | [`Directives::targeted`] |
//! | `Surrogate-Control` | list with targets (Edge Architecture) | [`Directives::surrogate_control`] |
//! | `Cache-Control` in requests | tolerant list | [`RequestDirectives::of`] |
//!
//! Where a sender contradicts itself, the more restrictive reading holds: the shorter of two lifetimes, the
//! whole of a field named twice, zero for a lifetime that is not a number (RFC 9111 section 4.2.1).

use http::{
    HeaderMap, HeaderName,
    header::{CACHE_CONTROL, PRAGMA},
};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use super::fields::{self, CDN_CACHE_CONTROL, SURROGATE_CONTROL};

/// The name this cache goes by in `Surrogate-Capability`, and thereby in targets of `Surrogate-Control`.
pub const SURROGATE_DEVICE: &str = "starling";

/// How much of a response a directive covers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Nothing: the directive is absent.
    #[default]
    Nothing,
    /// The fields it lists.
    Fields(Vec<HeaderName>),
    /// The whole response.
    Whole,
}

impl Scope {
    /// Whether the directive stands without a list of fields.
    pub fn is_whole(&self) -> bool {
        *self == Self::Whole
    }

    /// The fields it lists.
    pub fn fields(&self) -> &[HeaderName] {
        match self {
            Self::Fields(names) => names,
            Self::Nothing | Self::Whole => &[],
        }
    }

    /// Adds a directive with this argument. A list that cannot be read, or lists nothing, covers the whole.
    fn widen(&mut self, argument: Option<&[u8]>) {
        let names = argument
            .map(|text| fields::list(text).map(HeaderName::from_bytes).collect::<Result<Vec<_>, _>>());
        match (std::mem::take(self), names) {
            (Self::Nothing, Some(Ok(names))) if !names.is_empty() => *self = Self::Fields(names),
            (Self::Fields(mut old), Some(Ok(names))) if !names.is_empty() => {
                old.extend(names);
                *self = Self::Fields(old);
            }
            _ => *self = Self::Whole,
        }
    }
}

/// The directives of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// RFC 9111 section 5.2.2.5.
    pub no_store: bool,
    /// RFC 9111 section 5.2.2.4.
    pub no_cache: Scope,
    /// RFC 9111 section 5.2.2.7.
    pub private: Scope,
    /// RFC 9111 section 5.2.2.9.
    pub public: bool,
    /// RFC 9111 section 5.2.2.2.
    pub must_revalidate: bool,
    /// RFC 9111 section 5.2.2.8.
    pub proxy_revalidate: bool,
    /// RFC 9111 section 5.2.2.3.
    pub must_understand: bool,
    /// RFC 8246.
    pub immutable: bool,
    /// Seconds; 0 when the value is not a number.
    pub max_age: Option<u64>,
    /// Seconds; 0 when the value is not a number.
    pub s_maxage: Option<u64>,
    /// Seconds (RFC 5861 section 3).
    pub stale_while_revalidate: Option<u64>,
    /// Seconds (RFC 5861 section 4).
    pub stale_if_error: Option<u64>,
}

/// Which field governs a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `CDN-Cache-Control`; `Cache-Control` and `Expires` are not looked at.
    Targeted,
    /// `Surrogate-Control`, likewise.
    Surrogate,
    /// `Cache-Control`, and `Expires` below it.
    CacheControl,
}

impl Directives {
    /// The directives that govern a response, and the field they come from.
    pub fn governing(headers: &HeaderMap, read_surrogate_control: bool) -> (Self, Source) {
        if let Some(directives) = Self::targeted(headers) {
            return (directives, Source::Targeted);
        }
        if read_surrogate_control && let Some(directives) = Self::surrogate_control(headers) {
            return (directives, Source::Surrogate);
        }
        (Self::cache_control(headers), Source::CacheControl)
    }

    /// Reads `Cache-Control`.
    pub fn cache_control(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        for line in headers.get_all(CACHE_CONTROL) {
            for member in fields::list(line.as_bytes()) {
                directives.take(&Member::parse(member));
            }
        }
        directives
    }

    /// Reads `CDN-Cache-Control`; `None` when it is absent, empty, no valid Dictionary, or gives a known
    /// directive a value of the wrong type (RFC 9213 section 2.1).
    pub fn targeted(headers: &HeaderMap) -> Option<Self> {
        let value = fields::joined(headers, &CDN_CACHE_CONTROL)?;
        let dictionary: Dictionary = Parser::new(&value).parse().ok()?;
        if dictionary.is_empty() {
            return None;
        }
        let mut directives = Self::default();
        for (name, entry) in &dictionary {
            directives.take_typed(name.as_str(), entry)?;
        }
        Some(directives)
    }

    /// Reads `Surrogate-Control`; `None` when nothing in it is for this cache and about caching.
    ///
    /// A directive with a target (`max-age=60;device`) is for that device alone and outdoes the same
    /// directive without one.
    pub fn surrogate_control(headers: &HeaderMap) -> Option<Self> {
        let value = fields::joined(headers, &SURROGATE_CONTROL)?;
        let (mut general, mut own) = (Self::default(), Self::default());
        for member in fields::list(&value) {
            let end = fields::unquoted_position(member, b';');
            let directive = Member::parse(fields::trim(&member[..end.unwrap_or(member.len())]));
            match end.map(|at| fields::trim(&member[at + 1..])) {
                None => general.take_surrogate(&directive),
                Some(target) if target.eq_ignore_ascii_case(SURROGATE_DEVICE.as_bytes()) => {
                    own.take_surrogate(&directive);
                }
                Some(_) => {}
            }
        }
        let governing = if own == Self::default() { general } else { own };
        (governing != Self::default()).then_some(governing)
    }

    fn take(&mut self, member: &Member) {
        match member.name.as_str() {
            "no-store" => self.no_store = true,
            "no-cache" => self.no_cache.widen(member.text()),
            "private" => self.private.widen(member.text()),
            "public" => self.public = true,
            "must-revalidate" => self.must_revalidate = true,
            "proxy-revalidate" => self.proxy_revalidate = true,
            "must-understand" => self.must_understand = true,
            "immutable" => self.immutable = true,
            "max-age" => shorten(&mut self.max_age, member.seconds()),
            "s-maxage" => shorten(&mut self.s_maxage, member.seconds()),
            "stale-while-revalidate" => shorten(&mut self.stale_while_revalidate, member.seconds()),
            "stale-if-error" => shorten(&mut self.stale_if_error, member.seconds()),
            _ => {}
        }
    }

    /// Takes a directive of `Surrogate-Control`, whose `max-age=60+30` grants 30 seconds of staleness.
    fn take_surrogate(&mut self, member: &Member) {
        let Argument::Text(text) = &member.argument else { return self.take(member) };
        let Some(plus) = text.iter().position(|byte| *byte == b'+').filter(|_| member.name == "max-age")
        else {
            return self.take(member);
        };
        let extension = fields::delta_seconds(&text[plus + 1..]).unwrap_or(0);
        shorten(&mut self.max_age, fields::delta_seconds(&text[..plus]).unwrap_or(0));
        shorten(&mut self.stale_while_revalidate, extension);
        shorten(&mut self.stale_if_error, extension);
    }

    /// Takes a directive of a Structured Field; `None` when its type is wrong.
    fn take_typed(&mut self, name: &str, entry: &ListEntry) -> Option<()> {
        let item = match entry {
            ListEntry::Item(item) => Some(&item.bare_item),
            ListEntry::InnerList(_) => None,
        };
        let flag = || item?.as_boolean();
        let seconds = || {
            Some(u64::try_from(i64::from(item?.as_integer()?)).unwrap_or(0).min(fields::DELTA_SECONDS_MAX))
        };
        match name {
            "no-store" => self.no_store = flag()?,
            "public" => self.public = flag()?,
            "must-revalidate" => self.must_revalidate = flag()?,
            "proxy-revalidate" => self.proxy_revalidate = flag()?,
            "must-understand" => self.must_understand = flag()?,
            "immutable" => self.immutable = flag()?,
            "no-cache" => typed_scope(&mut self.no_cache, item?)?,
            "private" => typed_scope(&mut self.private, item?)?,
            "max-age" => self.max_age = Some(seconds()?),
            "s-maxage" => self.s_maxage = Some(seconds()?),
            "stale-while-revalidate" => self.stale_while_revalidate = Some(seconds()?),
            "stale-if-error" => self.stale_if_error = Some(seconds()?),
            _ => {}
        }
        Some(())
    }
}

fn typed_scope(scope: &mut Scope, item: &BareItem) -> Option<()> {
    match item {
        BareItem::Boolean(true) => scope.widen(None),
        BareItem::Boolean(false) => {}
        BareItem::String(names) => scope.widen(Some(names.as_str().as_bytes())),
        _ => return None,
    }
    Some(())
}

fn shorten(slot: &mut Option<u64>, seconds: u64) {
    *slot = Some(slot.map_or(seconds, |old| old.min(seconds)));
}

/// The directives of a request (RFC 9111 section 5.2.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// A stored response must not be used without asking the origin.
    pub no_cache: bool,
    /// The answer must not be stored.
    pub no_store: bool,
    /// Only a stored response may answer.
    pub only_if_cached: bool,
    /// Seconds of age the client accepts.
    pub max_age: Option<u64>,
    /// Seconds of freshness that must be left.
    pub min_fresh: Option<u64>,
    /// Seconds of staleness the client accepts; `u64::MAX` when it accepts any.
    pub max_stale: Option<u64>,
    /// Seconds of staleness the client accepts when the origin fails (RFC 5861 section 4).
    pub stale_if_error: Option<u64>,
}

impl RequestDirectives {
    /// Reads `Cache-Control`, or `Pragma` where there is none (RFC 9111 section 5.4).
    pub fn of(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        if !headers.contains_key(CACHE_CONTROL) {
            directives.no_cache = pragma_no_cache(headers);
            return directives;
        }
        for line in headers.get_all(CACHE_CONTROL) {
            for member in fields::list(line.as_bytes()) {
                directives.take(&Member::parse(member));
            }
        }
        directives
    }

    fn take(&mut self, member: &Member) {
        match member.name.as_str() {
            "no-cache" => self.no_cache = true,
            "no-store" => self.no_store = true,
            "only-if-cached" => self.only_if_cached = true,
            "max-age" => shorten(&mut self.max_age, member.seconds()),
            "min-fresh" => {
                let seconds = member.seconds();
                self.min_fresh = Some(self.min_fresh.map_or(seconds, |old| old.max(seconds)));
            }
            "max-stale" if member.argument == Argument::None => shorten(&mut self.max_stale, u64::MAX),
            "max-stale" => shorten(&mut self.max_stale, member.seconds()),
            "stale-if-error" => shorten(&mut self.stale_if_error, member.seconds()),
            _ => {}
        }
    }
}

/// Whether `Pragma` says `no-cache`.
pub(super) fn pragma_no_cache(headers: &HeaderMap) -> bool {
    headers
        .get_all(PRAGMA)
        .iter()
        .any(|line| fields::list(line.as_bytes()).any(|member| member.eq_ignore_ascii_case(b"no-cache")))
}

/// One member of a directive list.
#[derive(Debug, PartialEq, Eq)]
struct Member {
    /// In lower case.
    name: String,
    argument: Argument,
}

#[derive(Debug, PartialEq, Eq)]
enum Argument {
    /// There is no `=`.
    None,
    /// A token, or the inside of a quoted string.
    Text(Vec<u8>),
    /// Not of the grammar: whitespace beside the `=`, or an open quote.
    Malformed,
}

impl Member {
    fn parse(member: &[u8]) -> Self {
        let Some(equals) = member.iter().position(|byte| *byte == b'=') else {
            return Self { name: lower(member), argument: Argument::None };
        };
        let (name, value) = (&member[..equals], &member[equals + 1..]);
        let spaced = fields::trim(name) != name || fields::trim(value) != value;
        let argument = match unquote(value) {
            Some(text) if !spaced => Argument::Text(text),
            _ => Argument::Malformed,
        };
        Self { name: lower(fields::trim(name)), argument }
    }

    /// The argument as a list of names.
    fn text(&self) -> Option<&[u8]> {
        match &self.argument {
            Argument::Text(text) => Some(text),
            Argument::None | Argument::Malformed => None,
        }
    }

    /// The argument as seconds: 0 when it is none (RFC 9111 section 4.2.1).
    fn seconds(&self) -> u64 {
        self.text().and_then(fields::delta_seconds).unwrap_or(0)
    }
}

fn lower(name: &[u8]) -> String {
    name.iter().map(|byte| char::from(byte.to_ascii_lowercase())).collect()
}

/// A token as it is, or a quoted string without quotes and escapes.
fn unquote(value: &[u8]) -> Option<Vec<u8>> {
    if !value.contains(&b'"') {
        return Some(value.to_vec());
    }
    if value.first() != Some(&b'"') || fields::quoted_end(value, 0) != Some(value.len()) {
        return None;
    }
    let mut text = Vec::with_capacity(value.len());
    let mut bytes = value[1..value.len() - 1].iter();
    while let Some(byte) = bytes.next() {
        let byte = if *byte == b'\\' { bytes.next()? } else { byte };
        text.push(*byte);
    }
    Some(text)
}

#[cfg(test)]
#[path = "directives_tests.rs"]
mod tests;
