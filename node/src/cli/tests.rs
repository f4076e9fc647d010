mod mesh;
mod purge;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn the_command_line_is_well_formed() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
}

#[test]
fn a_purge_names_something_and_its_timeout_a_unit() {
    assert_eq!(parse("starling purge").unwrap_err().exit_code(), 2);
    assert!(parse("starling purge --all --timeout 5").is_err());
    let Command::Purge(purge) =
        parse("starling purge --tag a --tag b --url x/y --soft --timeout 250ms").unwrap().command
    else {
        panic!("a purge");
    };
    assert_eq!((purge.tag.len(), purge.url.len(), purge.soft), (2, 1, true));
    assert_eq!(purge.timeout, Duration::from_millis(250));
}

#[test]
fn flags_of_the_node_become_keys() {
    let line =
        "starling node --http 127.0.0.1:1 --http 127.0.0.1:2 --memory 1GiB --set limits.idle_timeout_ms=5s";
    let Command::Node(options) = parse(line).unwrap().command else { panic!("a node") };
    let flags = options.flags();
    assert_eq!(flags["node.http"].values, ["127.0.0.1:1", "127.0.0.1:2"]);
    assert_eq!(flags["store.memory_bytes_max"].flag, "--memory");
    assert_eq!(flags["limits.idle_timeout_ms"].values, ["5s"]);
    assert!(parse("starling node --set nonsense").is_err());
}

#[test]
fn a_checked_file_says_ok_or_fails() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.toml");
    std::fs::write(&file, "[[services]]\nname = 'a'\nhosts = '*'\norigins = 'http://a'\n").unwrap();
    assert_eq!(check(&file), DONE);
    std::fs::write(&file, "[[services]]\n").unwrap();
    assert_eq!(check(&file), FAILED);
    assert_eq!(check(&dir.path().join("none.toml")), FAILED);
}

#[test]
fn an_unreachable_node_is_a_failure_and_a_wrong_url_a_usage_error() {
    let options = |admin: &str| ClientOptions { admin: admin.to_owned(), token: None, json: false };
    assert_eq!(Client::new(&options("https://x")).err().map(|e| e.exit_code()), Some(2));
    assert!(Client::new(&options("127.0.0.1:9000/")).is_ok());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let failed = runtime.block_on(tell(&options(&port.to_string()), "/v1/status", show::status)).unwrap_err();
    assert!(matches!(failed, ClientError::Unreachable { .. }), "{failed}");
    assert_eq!(failed.exit_code(), FAILED);
}
