//! What is printed: objects, the hosts they belong to, the scopes that name them, and how their bytes are checked.

use serde::{Deserialize, Serialize};

use crate::origin::pattern;

/// Bytes are compared in pieces of this length.
const PIECE_BYTES: usize = 64 << 10;

/// So many bytes must agree before it is said what damaged bytes are instead.
const TELLING_BYTES: usize = 8;

/// So many editions before the one expected are tried to tell what damaged bytes are.
const EDITIONS_TRIED: u64 = 512;

/// Offsets up to here are tried to tell where damaged bytes belong.
const OFFSETS_TRIED: u64 = 64;

/// One object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Object {
    /// The host it is asked of.
    pub host: Host,
    /// Its group; prefix purges and `g-GROUP` name all of it.
    pub group: u32,
    /// Its name in the group.
    pub name: u32,
    /// How long it is.
    pub bytes: u64,
}

/// The hosts, each a service with another policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Host {
    /// `available.test`: `max-age=3600`, `freshness = "available"`.
    Available,
    /// `strict.test`: `max-age=3600`, `freshness = "strict"`.
    Strict,
    /// `stale.test`: `max-age=2, stale-while-revalidate=30, stale-if-error=600`, `freshness = "available"`.
    Stale,
}

/// What gets a new edition, and what a purge names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One object, of any length.
    Object(Host, u32, u32),
    /// All of a group.
    Group(Host, u32),
    /// All of a host.
    All(Host),
}

/// What a body should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is that part of that edition.
    Good,
    /// It is not; what is wrong, in words.
    Damaged(String),
}

impl Object {
    /// The path and query.
    pub fn target(&self) -> String {
        format!("/o/{}/{}?bytes={}", self.group, self.name, self.bytes)
    }

    /// The whole URL, as purges name it.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.host.name(), self.target())
    }

    /// Whether a scope names it.
    pub fn is_in(&self, scope: &Scope) -> bool {
        match scope {
            Scope::Object(host, group, name) => (*host, *group, *name) == (self.host, self.group, self.name),
            Scope::Group(host, group) => (*host, *group) == (self.host, self.group),
            Scope::All(host) => *host == self.host,
        }
    }

    /// The scopes that name it.
    pub fn scopes(&self) -> [Scope; 3] {
        [
            Scope::Object(self.host, self.group, self.name),
            Scope::Group(self.host, self.group),
            Scope::All(self.host),
        ]
    }

    /// Whether these bytes are this object's in this edition, from `at` on.
    pub fn check(&self, edition: u64, at: u64, bytes: &[u8]) -> Verdict {
        let end = at.saturating_add(bytes.len() as u64);
        if end > self.bytes {
            return Verdict::Damaged(format!("bytes {at}..{end} of an object of {} bytes", self.bytes));
        }
        let seed = self.seed(edition);
        for (number, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
            let begin = number * PIECE_BYTES;
            let good = pattern(seed, at + begin as u64, piece.len());
            if let Some(first) = piece.iter().zip(&good).position(|(is, should)| is != should) {
                let first = begin + first;
                let position = at + first as u64;
                let instead = self.instead(edition, position, &bytes[first..]);
                return Verdict::Damaged(format!(
                    "byte {position} of {} is not that of edition {edition}: {instead}",
                    self.bytes
                ));
            }
        }
        Verdict::Good
    }

    /// What its pattern is made of in this edition.
    pub(super) fn seed(&self, edition: u64) -> u64 {
        let what = format!("{}{} {edition}", self.host.name(), self.target());
        let hash = blake3::hash(what.as_bytes());
        let (first, _) = hash.as_bytes().split_first_chunk().expect("a hash is longer than 8 bytes");
        u64::from_le_bytes(*first)
    }

    /// What the bytes at this position are, if they are anything of this object.
    fn instead(&self, edition: u64, position: u64, bytes: &[u8]) -> String {
        let bytes = &bytes[..bytes.len().min(TELLING_BYTES)];
        if bytes.len() < TELLING_BYTES {
            return format!("too few bytes from there on to tell what they are: {bytes:02x?}");
        }
        let is = |edition, position| pattern(self.seed(edition), position, bytes.len()) == bytes;
        let near = edition.saturating_sub(EDITIONS_TRIED).max(1)..=edition.saturating_add(EDITIONS_TRIED);
        if let Some(other) = near.into_iter().find(|other| is(*other, position)) {
            return format!("from there on it is edition {other}");
        }
        let places =
            position.saturating_sub(OFFSETS_TRIED)..=position.saturating_add(OFFSETS_TRIED).min(self.bytes);
        if let Some(place) = places.into_iter().find(|place| is(edition, *place)) {
            return format!("there stands what belongs at byte {place}");
        }
        format!("there stands {bytes:02x?}")
    }
}

impl Host {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Available, Self::Strict, Self::Stale];

    /// As it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Self::Available => "available.test",
            Self::Strict => "strict.test",
            Self::Stale => "stale.test",
        }
    }

    /// The service that serves it, as topologies configure it.
    pub fn service(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Strict => "strict",
            Self::Stale => "stale",
        }
    }

    /// The host of a request, with or without a port; one that is not known gets the policy of `available.test`.
    pub(super) fn named(authority: &str) -> Self {
        let name = authority.rsplit_once(':').map_or(authority, |(name, _)| name);
        Self::ALL.into_iter().find(|host| host.name().eq_ignore_ascii_case(name)).unwrap_or(Self::Available)
    }

    /// How long its objects may be kept.
    pub(super) fn cache_control(self) -> &'static str {
        match self {
            Self::Available | Self::Strict => "max-age=3600",
            Self::Stale => "max-age=2, stale-while-revalidate=30, stale-if-error=600",
        }
    }
}
