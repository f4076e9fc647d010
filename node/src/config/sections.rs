//! All sections but the services: who the node is, its listeners, limits, store, admin and log.

use std::{net::SocketAddr, path::PathBuf};

use toml::de::DeTable;

use super::{
    Config, LogFormat, LogSettings, NodeSettings, is_name, mesh,
    reader::{Found, Reader, Section},
    services,
};
use crate::{
    access_log::{self, Access},
    admin,
    front::{self, CertificateSettings, Limits},
    store,
    tokens::{Scope, Token},
};

pub(super) const ADDRESS: &str = "an address with a port, such as \"127.0.0.1:8080\" or \"[::]:443\"";
const ANY: std::ops::Range<u64> = 0..u64::MAX;
const POSITIVE: std::ops::Range<u64> = 1..u64::MAX;

/// Reads everything; problems are left with the reader.
pub(super) fn config<'a>(reader: &Reader<'a>, table: &'a DeTable<'a>, origins: &[String]) -> Config {
    let root = reader.root(table);
    let section = root.table("node");
    let node = node(&section);
    let mut front = listeners(&section, &root);
    front.limits = limits(&root.table("limits"));
    front.limits.drain_timeout = section.duration("drain_timeout_ms", front.limits.drain_timeout);
    let listen = admin_address(&section);
    let store = store(&root.table("store"), &node);
    let mesh = mesh::mesh(&section, &root.table("mesh"), &root.table("region"), &node, store.slice_bytes);
    section.close();
    let admin = admin(&root.table("admin"), listen, &front, reader);
    let log = log(&root.table("log"));
    let lifetime_max_ms = store.object_lifetime_max_ms;
    let services = services::services(&root, reader, origins, lifetime_max_ms, mesh.is_some());
    if mesh.is_none() {
        check_token_services(&root, &admin, &services);
    }
    root.close();
    Config { node, front, store, admin, log, mesh, services }
}

fn node(section: &Section<'_, '_>) -> NodeSettings {
    NodeSettings {
        name: name(section, "name").unwrap_or_else(hostname),
        region: name(section, "region").unwrap_or_else(|| "local".to_owned()),
        pop: name(section, "pop").unwrap_or_else(|| "local".to_owned()),
        data: section
            .string("data")
            .map_or_else(|| PathBuf::from("starling-data"), |found| PathBuf::from(found.value)),
    }
}

/// A name as [`is_name`] allows it.
pub(super) fn name(section: &Section<'_, '_>, key: &'static str) -> Option<String> {
    let found = section.string(key)?;
    if !is_name(&found.value) {
        let message =
            format!("found {:?}, but a name has 1 to 64 letters, digits, `-`, `_` and `.`", found.value);
        section.wrong(&found, message);
        return None;
    }
    Some(found.value)
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "node".to_owned(),
        name => name
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
            .take(64)
            .collect(),
    }
}

fn addresses(section: &Section<'_, '_>, key: &'static str) -> Option<Found<Vec<Found<SocketAddr>>>> {
    section.list(key, ADDRESS, |text| text.parse().ok())
}

fn values<T>(found: Vec<Found<T>>) -> Vec<T> {
    found.into_iter().map(|found| found.value).collect()
}

fn listeners(node: &Section<'_, '_>, root: &Section<'_, '_>) -> front::Settings {
    let mut settings = front::Settings::default();
    let https = addresses(node, "https");
    // Who sets `https` alone still gets cleartext on the default address: it is loopback.
    if let Some(http) = addresses(node, "http") {
        settings.http = values(http.value);
    }
    settings.certificates = certificates(root, node);
    if let Some(https) = https {
        if settings.certificates.is_empty() && !https.value.is_empty() {
            node.wrong(
                &https,
                "there is no certificate for it: add [[certificates]] or --cert FILE --key FILE",
            );
        }
        settings.https = values(https.value);
    }
    if settings.http.is_empty() && settings.https.is_empty() {
        node.problem("http", "no listener is left: set `http` or `https`");
    }
    settings
}

fn certificates(root: &Section<'_, '_>, node: &Section<'_, '_>) -> Vec<CertificateSettings> {
    let mut pairs = Vec::new();
    match (node.string("cert"), node.string("key")) {
        (Some(cert), Some(key)) => pairs.push(pair(node, &cert, &key)),
        (Some(cert), None) => node.wrong(&cert, "a certificate needs its key: add `key` (--key FILE)"),
        (None, Some(key)) => node.wrong(&key, "a key needs its certificate: add `cert` (--cert FILE)"),
        (None, None) => {}
    }
    for section in root.tables("certificates", |_| false) {
        match (section.string("cert_file"), section.string("key_file")) {
            (Some(cert), Some(key)) => pairs.push(pair(&section, &cert, &key)),
            (Some(cert), None) => section.wrong(&cert, "a certificate needs its key: add `key_file`"),
            (None, Some(key)) => section.wrong(&key, "a key needs its certificate: add `cert_file`"),
            (None, None) => section.problem("cert_file", "missing: set `cert_file` and `key_file`"),
        }
        section.close();
    }
    pairs
}

fn pair(section: &Section<'_, '_>, cert: &Found<String>, key: &Found<String>) -> CertificateSettings {
    for file in [cert, key] {
        if let Err(error) = std::fs::File::open(&file.value) {
            section.wrong(file, format!("{:?} cannot be read: {error}", file.value));
        }
    }
    // An unreadable pair is still returned: it is reported once, not again as a missing certificate.
    CertificateSettings { cert_file: cert.value.clone().into(), key_file: key.value.clone().into() }
}

fn limits(section: &Section<'_, '_>) -> Limits {
    let default = Limits::default();
    let limits = Limits {
        head_bytes_max: section.bytes("head_bytes_max", 1024..(1 << 24), default.head_bytes_max),
        request_line_bytes_max: section.bytes(
            "request_line_bytes_max",
            256..(1 << 24),
            default.request_line_bytes_max,
        ),
        headers_max: section.number("headers_max", 8..10_001, default.headers_max),
        connections_max: section.number("connections_max", POSITIVE, default.connections_max),
        connections_per_address_max: section.number(
            "connections_per_address_max",
            POSITIVE,
            default.connections_per_address_max,
        ),
        streams_max: section.number("streams_max", 1..65_536, default.streams_max),
        requests_per_connection_max: section.number(
            "requests_per_connection_max",
            POSITIVE,
            default.requests_per_connection_max,
        ),
        head_timeout: section.duration("head_timeout_ms", default.head_timeout),
        handshake_timeout: section.duration("handshake_timeout_ms", default.handshake_timeout),
        idle_timeout: section.duration("idle_timeout_ms", default.idle_timeout),
        body_idle_timeout: section.duration("body_idle_timeout_ms", default.body_idle_timeout),
        write_idle_timeout: section.duration("write_idle_timeout_ms", default.write_idle_timeout),
        write_rate_min: section.bytes("write_rate_min_bytes", ANY, default.write_rate_min),
        body_bytes_max: section.bytes("body_bytes_max", ANY, default.body_bytes_max),
        drain_timeout: default.drain_timeout,
    };
    if limits.request_line_bytes_max > limits.head_bytes_max {
        section.problem("request_line_bytes_max", "is larger than `head_bytes_max`, of which it is a part");
    }
    section.close();
    limits
}

fn store(section: &Section<'_, '_>, node: &NodeSettings) -> store::Settings {
    let default = store::Settings::default();
    let settings = store::Settings {
        dir: node.data.clone(),
        memory_bytes_max: section.bytes("memory_bytes_max", (1 << 20)..u64::MAX, default.memory_bytes_max),
        disk_bytes_max: section.bytes("disk_bytes_max", ANY, default.disk_bytes_max),
        object_bytes_max: section.bytes("object_bytes_max", ANY, default.object_bytes_max),
        slice_bytes: section.bytes("slice_bytes", 4096..(64 << 20), default.slice_bytes),
        dirty_bytes_max: section.bytes("dirty_bytes_max", (1 << 20)..u64::MAX, default.dirty_bytes_max),
        variants_max: section.number("variants_max", 1..4097, default.variants_max),
        region: node.region.clone(),
        object_lifetime_max_ms: section.millis("object_lifetime_max_ms", default.object_lifetime_max_ms),
        purge_log_entries_max: default.purge_log_entries_max,
        purge_selectors_max: default.purge_selectors_max,
    };
    if !settings.slice_bytes.is_power_of_two() {
        section.problem("slice_bytes", format!("found {}, but this is a power of two", settings.slice_bytes));
    }
    if u64::from(settings.slice_bytes) > settings.dirty_bytes_max {
        section.problem("dirty_bytes_max", "has no room for one slice: it is at least `slice_bytes`");
    }
    section.close();
    settings
}

/// `http://` is allowed before the address, so that one variable serves node and client commands.
fn admin_address(node: &Section<'_, '_>) -> Found<Vec<SocketAddr>> {
    let found = node.list("admin", ADDRESS, |text| {
        text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/').parse().ok()
    });
    match found {
        Some(found) => Found { value: values(found.value), place: found.place, key: found.key },
        None => Found {
            value: vec![SocketAddr::from(([127, 0, 0, 1], 9000))],
            place: node.place(),
            key: node.path("admin"),
        },
    }
}

fn admin(
    section: &Section<'_, '_>,
    listen: Found<Vec<SocketAddr>>,
    front: &front::Settings,
    reader: &Reader<'_>,
) -> admin::Settings {
    let hosts = section.strings("hosts").map_or_else(Vec::new, |found| values(found.value));
    let tokens: Vec<Token> =
        section.tables("tokens", |_| false).iter().filter_map(|section| token(section)).collect();
    if let Some(address) = listen.value.iter().find(|address| !address.ip().is_loopback())
        && tokens.is_empty()
    {
        let message = format!(
            "{address} can be reached from other machines, so it needs [[admin.tokens]]; without tokens only \
             loopback addresses are allowed"
        );
        reader.problem(listen.place.clone(), &listen.key, message);
    }
    if let Some(shared) =
        listen.value.iter().find(|a| a.port() != 0 && (front.http.contains(a) || front.https.contains(a)))
    {
        reader.problem(
            listen.place.clone(),
            &listen.key,
            format!("{shared} is a listener for clients already"),
        );
    }
    section.close();
    admin::Settings {
        listen: listen.value,
        hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
        tokens,
    }
}

fn token(section: &Section<'_, '_>) -> Option<Token> {
    let name = name(section, "name");
    let plain = section.string("token");
    let file = section.string("token_file");
    let hashed = section.string("token_blake3");
    let scopes = section.list("scopes", "one of \"purge\", \"read\", \"admin\"", Scope::parse);
    let services = section.strings("services").map(|found| values(found.value));
    section.close();
    if name.is_none() {
        section.problem("name", "missing: the name stands in the log for the token");
    }
    if let Some(services) = services
        .as_ref()
        .filter(|_| scopes.as_ref().is_some_and(|s| s.value.iter().any(|s| s.value == Scope::Admin)))
    {
        section.problem(
            "services",
            format!("a token for {} cannot hold the scope \"admin\"", services.join(", ")),
        );
    }
    let Some(scopes) = scopes else {
        if !section.is_set("scopes") {
            section.problem("scopes", "missing: a list of \"purge\", \"read\", \"admin\"");
        }
        return None;
    };
    let hash = match (plain, file, hashed) {
        (Some(plain), None, None) => secret(section, &plain, &plain.value)?,
        (None, Some(file), None) => match std::fs::read_to_string(&file.value) {
            Ok(text) => secret(section, &file, text.trim())?,
            Err(error) => {
                section.wrong(&file, format!("{:?} cannot be read: {error}", file.value));
                return None;
            }
        },
        (None, None, Some(hashed)) => match blake3::Hash::from_hex(&hashed.value) {
            Ok(hash) => hash,
            Err(_) => {
                section.wrong(&hashed, "this is not the BLAKE3 hash of a token: 64 hexadecimal digits");
                return None;
            }
        },
        _ => {
            section.problem("token", "set exactly one of `token`, `token_file` and `token_blake3`");
            return None;
        }
    };
    Some(Token { name: name?, hash, scopes: values(scopes.value), services })
}

fn secret(section: &Section<'_, '_>, found: &Found<String>, token: &str) -> Option<blake3::Hash> {
    if token.len() < 16 {
        section.wrong(found, "a token has at least 16 characters, so that it cannot be guessed");
        return None;
    }
    Some(blake3::hash(token.as_bytes()))
}

/// In a mesh a token may name a service that is yet to be set.
fn check_token_services(
    root: &Section<'_, '_>,
    admin: &admin::Settings,
    services: &[crate::edge::ServiceSettings],
) {
    for token in &admin.tokens {
        for unknown in
            token.services.iter().flatten().filter(|name| services.iter().all(|s| s.name != **name))
        {
            let message =
                format!("the token {:?} names the service {unknown:?}, which there is not", token.name);
            root.problem("admin.tokens", message);
        }
    }
}

fn log(section: &Section<'_, '_>) -> LogSettings {
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let accesses = [("off", Access::Off), ("sampled", Access::Sampled), ("full", Access::Full)];
    let default = access_log::Settings::default();
    let level = section.found_filter("level");
    let settings = LogSettings {
        format: section.choice("format", &formats, LogFormat::Text),
        level: level.unwrap_or_else(|| "info".to_owned()),
        access: access_log::Settings {
            access: section.choice("access", &accesses, default.access),
            sample_percent: section.percent("sample_percent", default.sample_percent),
            file: section
                .string("access_file")
                .map(|found| found.value)
                .filter(|f| f != "-")
                .map(PathBuf::from),
            queue_max: section.number("access_queue_max", 1..(1 << 20), default.queue_max),
        },
    };
    section.close();
    settings
}

impl Section<'_, '_> {
    /// A filter of `tracing`, checked here so that a mistake is told with its place.
    fn found_filter(&self, key: &'static str) -> Option<String> {
        let found = self.string(key)?;
        match tracing_subscriber::EnvFilter::try_new(&found.value) {
            Ok(_) => Some(found.value),
            Err(error) => {
                let message = format!(
                    "found {:?}, but this is a level (error, warn, info, debug, trace) or a filter such as \
                     \"starling=debug,info\": {error}",
                    found.value
                );
                self.wrong(&found, message);
                None
            }
        }
    }
}
