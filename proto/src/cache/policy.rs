//! What a service's operator may set about caching, beyond what the origin says.

/// The caching policy of one service.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Lifetime for a response that says nothing and has no `Last-Modified`, in milliseconds; 0: not stored for reuse.
    pub default_ttl_ms: u64,
    /// Replaces the origin's lifetime for cacheable responses of these statuses; empty: the origin decides.
    /// Never applies to `private`, `no-store` or responses with `Set-Cookie`; `no-cache` stays in force beside it.
    pub ttl_override: Vec<TtlOverride>,
    /// Fraction of `Date - Last-Modified` used as heuristic lifetime (RFC 9111 section 4.2.2), in percent.
    pub heuristic_percent: u64,
    /// Upper bound of a heuristic lifetime, in milliseconds.
    pub heuristic_max_ms: u64,
    /// `stale-while-revalidate` used when the origin gave none, in milliseconds.
    pub stale_while_revalidate_ms: u64,
    /// `stale-if-error` used when the origin gave none, in milliseconds.
    pub stale_if_error_ms: u64,
    /// Longest time a stale response may stand in for an origin that cannot be reached (RFC 9111 section 4.2.4).
    pub stale_when_disconnected_ms: u64,
    /// Nothing older than this is ever used, not even to revalidate.
    pub object_lifetime_max_ms: u64,
    /// Whether `Cache-Control` in requests (`no-cache`, `max-age`, ...) is obeyed. `only-if-cached` always is.
    pub honour_request_directives: bool,
    /// Whether `Surrogate-Control` is read; `CDN-Cache-Control` (RFC 9213) always is, and wins.
    pub read_surrogate_control: bool,
    /// Whether responses with `Set-Cookie` may be stored when the origin says so explicitly: `public`, or a
    /// lifetime of its own saying.
    pub store_set_cookie: SetCookie,
}

/// What to do with a cacheable response that sets a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetCookie {
    /// Store it, as RFC 9111 section 7.3 allows, when it carries explicit freshness.
    StoreIfExplicit,
    /// Never store it.
    Never,
}

/// One line of `ttl_override`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TtlOverride {
    /// Paths that start with this; `/` means all.
    pub path_prefix: String,
    /// Statuses it applies to; empty means 200, 203, 206, 300, 301, 308, 404, 410.
    pub statuses: Vec<u16>,
    /// The lifetime, in milliseconds.
    pub ttl_ms: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            default_ttl_ms: 0,
            ttl_override: Vec::new(),
            heuristic_percent: 10,
            heuristic_max_ms: 24 * 3_600_000,
            stale_while_revalidate_ms: 0,
            stale_if_error_ms: 0,
            stale_when_disconnected_ms: 24 * 3_600_000,
            object_lifetime_max_ms: 30 * 24 * 3_600_000,
            honour_request_directives: true,
            read_surrogate_control: true,
            store_set_cookie: SetCookie::StoreIfExplicit,
        }
    }
}
