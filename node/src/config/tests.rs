//! What a mistake in a configuration says, and which source wins.

mod mesh;
mod services;

use std::{collections::BTreeMap, path::Path, time::Duration};

use super::*;
use crate::origin::OriginSettings;

fn parsed(text: &str) -> Result<Config, ConfigError> {
    parse("site.toml", text, &Sources::default())
}

/// The problems of `text`, one line each.
fn problems(text: &str) -> Vec<String> {
    parsed(text).expect_err("the configuration is wrong").problems.iter().map(ToString::to_string).collect()
}

const SHOP: &str =
    "[[services]]\nname = 'shop'\nhosts = ['shop.example']\norigins = ['http://127.0.0.1:8000']\n";

#[test]
fn an_unknown_key_is_told_with_its_line_and_what_was_meant() {
    let text = format!("[store]\nmemory_byte_max = '1GiB'\n{SHOP}");
    let expected = "site.toml:2:1: store.memory_byte_max: there is no such key in `store`; did you mean `memory_bytes_max`?";
    assert_eq!(problems(&text), [expected]);
}

#[test]
fn all_problems_are_told_together_in_the_order_of_the_file() {
    let text = "[limits]\nhead_timeout_ms = 'soon'\n[[services]]\nname = 'a'\nhosts = ['a.example']\norigins = []\n\
                [[services]]\nname = 'a'\nhosts = ['A.example']\norigins = ['ftp://x', 'http://x:0']\n\
                origin.retry_percent = 101\n";
    let found = problems(text);
    let expected = [
        "site.toml:2:19: limits.head_timeout_ms: found \"soon\", but this is a time above zero: milliseconds, or text such as \"5s\"",
        "site.toml:3:1: services[0].origins: no usable origin is left",
        "site.toml:7:1: services[1].origins: no usable origin is left",
        "site.toml:7:1: services[1].name: another service is called \"a\" already",
        "site.toml:9:10: services[1].hosts[0]: \"a.example\" belongs to the service \"a\" already",
        "site.toml:10:12: services[1].origins[0]: found \"ftp://x\", but an origin is `http://host:port` or `https://host:port`, without a path: the scheme is another one",
        "site.toml:10:23: services[1].origins[1]: found \"http://x:0\", but an origin is `http://host:port` or `https://host:port`, without a path: a port is a number from 1 to 65535",
        "site.toml:11:24: services[1].origin.retry_percent: found 101, but this is a whole number from 0 to 100",
    ];
    assert_eq!(found, expected);
}

#[test]
fn what_is_not_toml_is_told_with_its_line() {
    let found = problems("[node]\nname = \n");
    assert!(found[0].starts_with("site.toml:2:"), "{found:?}");
    assert!(found[0].contains("not TOML"), "{found:?}");
}

#[test]
fn an_admin_api_that_others_can_reach_needs_tokens() {
    let found = problems(&format!("[node]\nadmin = '0.0.0.0:9000'\n{SHOP}"));
    assert!(found[0].starts_with("site.toml:2:9: node.admin: 0.0.0.0:9000 can be reached"), "{found:?}");
    let token = "[[admin.tokens]]\nname = 'ci'\ntoken = '0123456789abcdef'\nscopes = ['purge']\n";
    let config = parsed(&format!("[node]\nadmin = '0.0.0.0:9000'\n{token}{SHOP}")).unwrap();
    assert_eq!(config.admin.tokens[0].hash, blake3::hash(b"0123456789abcdef"));
    assert!(problems(&format!("{}{SHOP}", token.replace("89abcdef", "")))[0].contains("at least 16"));
}

#[test]
fn tls_needs_a_certificate_and_a_certificate_its_key() {
    assert!(
        problems(&format!("[node]\nhttps = ':443'\n{SHOP}"))[0].contains("this is an address with a port")
    );
    let found = problems(&format!("[node]\nhttps = '[::]:443'\n{SHOP}"));
    assert!(found[0].starts_with("site.toml:2:9: node.https: there is no certificate"), "{found:?}");
    let found = problems(&format!("[[certificates]]\ncert_file = '/dev/null'\n{SHOP}"));
    assert!(
        found[0].starts_with("site.toml:2:13: certificates[0].cert_file: a certificate needs its key"),
        "{found:?}"
    );
}

#[test]
fn nothing_to_serve_is_a_problem_that_says_how() {
    assert!(problems("")[0].contains("give --origin URL"));
}

#[test]
fn an_origin_alone_serves_every_host_and_beside_services_it_is_a_problem() {
    let sources = Sources { origins: vec!["http://a:8000/".to_owned()], ..Sources::default() };
    let config = parse("command line", "", &sources).unwrap();
    assert_eq!((config.services[0].name.as_str(), config.services[0].hosts[0].as_str()), ("default", "*"));
    assert_eq!(config.services[0].pool.origins[0].url, "http://a:8000");
    let error = parse("site.toml", SHOP, &sources).unwrap_err().to_string();
    assert!(error.starts_with("--origin: services: the file has [[services]]"), "{error}");
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let text = format!("[node]\nname = 'file'\nregion = 'file'\npop = 'file'\n{SHOP}");
    let flag = Override { flag: "--name".to_owned(), values: vec!["flag".to_owned()] };
    let variables =
        [("STARLING_NAME", "env"), ("STARLING_REGION", "env"), ("STARLING_LIMITS_IDLE_TIMEOUT_MS", "9s")];
    let sources = Sources {
        flags: BTreeMap::from([("node.name".to_owned(), flag)]),
        environment: variables.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        ..Sources::default()
    };
    let config = parse("site.toml", &text, &sources).unwrap();
    let node = &config.node;
    assert_eq!((node.name.as_str(), node.region.as_str(), node.pop.as_str()), ("flag", "env", "file"));
    assert_eq!(config.front.limits.idle_timeout, Duration::from_secs(9));
    assert_eq!(config.store.region, "env");
}

#[test]
fn a_wrong_flag_or_variable_is_told_by_its_name() {
    let flag = |value: &str| Override { flag: "--set".to_owned(), values: vec![value.to_owned()] };
    let sources = Sources {
        flags: BTreeMap::from([("store.disk_byte_max".to_owned(), flag("1GiB"))]),
        environment: BTreeMap::from([("STARLING_HTTP".to_owned(), "everywhere".to_owned())]),
        ..Sources::default()
    };
    let error = parse("site.toml", SHOP, &sources).unwrap_err().to_string();
    assert!(
        error.contains(
            "--set: store.disk_byte_max: there is no such key; did you mean `store.disk_bytes_max`?"
        ),
        "{error}"
    );
    assert_eq!(error.lines().count(), 2, "{error}");
    assert!(error.contains("STARLING_HTTP: node.http: found everywhere, but this is an address"), "{error}");
}

#[test]
fn a_whole_service_is_read() {
    let text = "[[services]]\nname = 'shop'\nhosts = ['shop.example', '*.shop.example']\nfreshness = 'strict'\n\
        shield_region = 'us'\n\
        origins = ['http://a:1', { url = 'https://b', priority = 1, weight = 3 }]\n\
        key = { query_deny = ['utm_*'], sort_query = true, headers = ['X-Device'], cookies = ['lang'] }\n\
        policy = { default_ttl_ms = '1m', store_set_cookie = 'never', ttl_override = [{ path_prefix = '/img', ttl_ms = '1h' }] }\n\
        bypass = [{ path_prefix = '/cart' }, { cookie = 'session*' }, { header = 'Authorization' }]\n\
        response_headers = [{ set = 'X-Served-By', value = 'starling' }, { remove = 'Server' }]\n\
        health = { path = '/up', status_max = 299 }\ncompression = { enabled = false }\n";
    let config = parsed(text).unwrap();
    let service = &config.services[0];
    let OriginSettings { url, priority, weight } = &service.pool.origins[1];
    assert_eq!((url.as_str(), *priority, *weight), ("https://b", 1, 3));
    assert_eq!(service.policy.ttl_override[0].ttl_ms, 3_600_000);
    assert_eq!((service.bypass.len(), service.response_headers.len()), (3, 2));
    assert_eq!(service.pool.health.as_ref().unwrap().status_range, (200, 299));
    assert!(!service.compression.enabled);
    assert_eq!(service.shield_region.as_ref().map(|region| region.as_str()), Some("us"));
    assert_eq!(parsed(SHOP).unwrap().services[0].shield_region, None);
}

#[test]
fn the_region_of_the_shields_is_a_name_as_regions_have() {
    for wrong in ["", "eu/lon", "e u"] {
        let found = problems(&format!("{SHOP}shield_region = '{wrong}'\n"));
        let expected = format!(
            "site.toml:5:17: services[0].shield_region: found {wrong:?}, but a name has 1 to 64 letters, digits, `-`, `_` \
             and `.`"
        );
        assert_eq!(found, [expected]);
    }
}

#[test]
fn a_header_edit_cannot_touch_the_framing() {
    let text = format!("{SHOP}response_headers = [{{ set = 'Transfer-Encoding', value = 'x' }}]\n");
    let found = problems(&text);
    assert_eq!(
        found,
        [
            "site.toml:5:29: services[0].response_headers[0].set: `transfer-encoding` is the node's own business and is not edited"
        ]
    );
}

fn cluster_configs() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../cluster-configs")
}

#[test]
fn every_configuration_in_the_repository_loads() {
    let files = std::fs::read_dir(cluster_configs()).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    assert!(!files.is_empty());
    for file in files {
        if let Err(error) = load(&Sources::file(&file)) {
            panic!("{error}");
        }
    }
}

/// Every key there is, as `section.key`, with `[]` for any element of an array.
fn known() -> std::collections::BTreeSet<String> {
    let text = "[[certificates]]\n[[admin.tokens]]\n[[services]]\norigins = [{}]\nhealth = {}\nbypass = [{}]\n\
                request_headers = [{}]\nresponse_headers = [{}]\npolicy.ttl_override = [{}]\n";
    let document = toml::de::DeTable::parse(text).unwrap();
    let environment = BTreeMap::new();
    let reader = Reader::new("all", text, BTreeMap::new(), &environment);
    sections::config(&reader, document.get_ref(), &[]);
    reader.known()
}

/// Keys of `[node]` go without its name: `node.region_expect` and a `region.expect` would be one variable.
#[test]
fn no_two_keys_are_set_by_one_variable() {
    let mut keys = BTreeMap::new();
    // What has no section is one.
    for key in known().into_iter().filter(|key| key.contains('.')) {
        if let Some(other) = keys.insert(reader::variable(&key), key.clone()) {
            panic!("{other} and {key} are set by the same variable");
        }
    }
    assert_eq!(keys["STARLING_REGION_EXPECT"], "node.region_expect");
    assert_eq!(keys["STARLING_REGION_FENCE_MS"], "region.fence_ms");
}

/// The reference is read by people who trust it: a key that is missing there does not exist for them.
#[test]
fn the_reference_names_every_key() {
    let reference = std::fs::read_to_string(cluster_configs().join("README.md")).unwrap();
    for known in known() {
        let (section, key) = known.rsplit_once('.').unwrap_or(("", &known));
        let section = section.replace("[]", "");
        if section.is_empty() {
            assert!(reference.contains(&format!("## `{key}`")), "[{key}] has no heading in the reference");
            continue;
        }
        let heading = reference
            .find(&format!("# `{section}`"))
            .unwrap_or_else(|| panic!("[{section}] has no heading in the reference"));
        let end = reference[heading..].find("\n#").map_or(reference.len(), |end| heading + end);
        assert!(reference[heading..end].contains(&format!("| `{key}` |")), "{known} is not in the reference");
    }
}
