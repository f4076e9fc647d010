//! Services that are set at run time: the table of one `[[services]]`, as a document of its own.

use super::*;

const LIFETIME_MAX_MS: u64 = 86_400_000;

fn read(text: &str) -> Result<ServiceSettings, ConfigError> {
    parse_service("shop", text, LIFETIME_MAX_MS)
}

fn problem(text: &str) -> String {
    read(text).expect_err("the definition is wrong").to_string()
}

const KEYS: &str = "hosts = ['Shop.example', '*.shop.example']\nfreshness = 'strict'\n\
    origins = ['http://a:1', { url = 'https://b', priority = 1 }]\nkey = { sort_query = true }\n\
    policy = { default_ttl_ms = '1m' }\nhealth = { path = '/up' }\n";

#[test]
fn a_definition_means_what_the_same_table_of_the_file_means() {
    let file =
        parsed(&format!("[store]\nobject_lifetime_max_ms = '1d'\n[[services]]\nname = 'shop'\n{KEYS}"));
    let of_file = file.unwrap().services.remove(0);
    assert_eq!(read(KEYS).unwrap(), of_file);
    assert_eq!(read(&format!("name = 'shop'\n{KEYS}")).unwrap(), of_file, "it may say its name");
}

#[test]
fn a_mistake_is_told_with_its_line_as_in_the_file() {
    let expected = [
        (
            "hosts = '*'\norigins = 'ftp://a'\n",
            "service shop:2:11: origins[0]: found \"ftp://a\", but an origin is `http://host:port` or \
             `https://host:port`, without a path: the scheme is another one",
        ),
        (
            "hosts = '*'\norigins = 'http://a'\ndebugg = true\n",
            "service shop:3:1: debugg: there is no such key at the top; did you mean `debug`?",
        ),
        (
            "name = 'blog'\nhosts = '*'\norigins = 'http://a'\n",
            "service shop: name: found \"blog\", but this is the definition of \"shop\"",
        ),
        (
            "hosts = '*'\norigins = 'http://a'\npolicy.object_lifetime_max_ms = '2d'\n",
            "is longer than `store.object_lifetime_max_ms` (86400000)",
        ),
        ("hosts = \n", "service shop:1:"),
        ("", "service shop: hosts: missing: a list such as"),
    ];
    for (text, message) in expected {
        assert!(problem(text).contains(message), "{text}: {}", problem(text));
    }
    let unnamed = parse_service("a b", KEYS, LIFETIME_MAX_MS).unwrap_err().to_string();
    assert!(unnamed.contains("a name has 1 to 64 letters"), "{unnamed}");
}

/// The file is not even opened: whether it is there is nothing that whoever sends definitions is to learn.
#[test]
fn a_definition_names_no_files() {
    let said = ["/dev/null", "/none"]
        .map(|file| problem(&format!("hosts = '*'\norigins = 'https://a'\norigin.ca_file = '{file}'\n")));
    assert!(
        said[0].starts_with("service shop:3:18: origin.ca_file: a service of the whole mesh names no files")
    );
    assert_eq!(said[0], said[1]);
}

#[test]
fn a_definition_is_bounded() {
    let long = format!("{KEYS}# {}\n", "x".repeat(64 << 10));
    assert!(problem(&long).contains("and may have 65536"), "{}", problem(&long));
}

#[test]
fn a_node_of_a_mesh_may_begin_with_nothing_to_serve() {
    let config = parsed("[node]\nmesh = '127.0.0.1:7000'\n").unwrap();
    assert!(config.services.is_empty());
    let token = "[[admin.tokens]]\nname = 'ci'\ntoken = '0123456789abcdef'\nscopes = ['purge']\nservices = ['later']\n";
    parsed(&format!("[node]\nmesh = '127.0.0.1:7000'\n{token}")).expect("its services may come later");
    assert!(
        problems(&format!("{token}{SHOP}"))[0].contains("names the service \"later\", which there is not")
    );
}
