//! Which room may look into which: the table of `ARCHITECTURE.md`, held against the imports of the code.
//!
//! A room is a folder (or file) of `node/src`. It reaches another only by a `crate::` path, and only if this
//! table says so; everything else crosses as a channel or a `watch`, wired in `app.rs`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use starling_tests::workspace;

/// The rooms, and the rooms each may import.
const ROOMS: &[(&str, &[&str])] = &[
    ("store", &[]),
    ("link", &[]),
    ("origin", &[]),
    ("region", &["link"]),
    ("edge", &["store", "link", "origin"]),
    ("gossip", &["store"]),
    ("front", &["edge"]),
    ("anycast", &[]),
    ("admin", &["region"]),
];

/// What stands around the rooms and may know them all: the wiring, and what reads settings for it.
const WIRING: &[&str] = &["app", "main", "lib", "cli", "config"];

/// Small things without a room of their own, which every room may use; they themselves know only settings.
const NEUTRAL: &[&str] = &["metrics", "access_log", "clock", "tokens", "identity", "listen", "trust"];

/// What no file of `proto` may name (its `clippy.toml` bans the calls, this bans the imports).
const NOT_IN_PROTO: &[&str] = &[
    "tokio",
    "std::net",
    "std::fs",
    "std::io",
    "std::thread",
    "std::process",
    "std::env",
    "SystemTime",
    "Instant",
    "rand::",
    "getrandom",
    "async fn",
];

/// The crates that `proto` may depend on: pure ones.
const PROTO_MAY_USE: &[&str] = &[
    "bincode",
    "blake3",
    "bytes",
    "hashring",
    "http",
    "httpdate",
    "libp2p-identity",
    "percent-encoding",
    "serde",
    "sfv",
    "thiserror",
];

#[test]
fn rooms_import_only_through_their_doors() {
    let source = workspace().join("node/src");
    let mut wrong = Vec::new();
    for file in rust_files(&source) {
        let place = place_of(&source, &file);
        let code = code_of(&file);
        for import in crate_imports(&code) {
            if !may_import(&place, &import) {
                wrong.push(format!("{}: `crate::{import}` is no door of `{place}`", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_part_of_the_node_has_a_place_in_the_table() {
    let source = workspace().join("node/src");
    let known: BTreeSet<&str> = ROOMS
        .iter()
        .map(|(room, _)| *room)
        .chain(WIRING.iter().copied())
        .chain(NEUTRAL.iter().copied())
        .collect();
    let unknown: BTreeSet<String> = rust_files(&source)
        .iter()
        .map(|file| place_of(&source, file))
        .filter(|place| !known.contains(place.as_str()))
        .collect();
    assert!(
        unknown.is_empty(),
        "give these a place in tests/tests/doors.rs and ARCHITECTURE.md: {unknown:?}"
    );
}

#[test]
fn proto_touches_no_clock_socket_file_or_chance() {
    let mut wrong = Vec::new();
    for file in rust_files(&workspace().join("proto/src")) {
        let code = code_of(&file);
        let named = NOT_IN_PROTO.iter().filter(|banned| code.contains(**banned));
        wrong.extend(named.map(|banned| format!("{} names `{banned}`", file.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn proto_depends_on_pure_crates_only() {
    let manifest = fs::read_to_string(workspace().join("proto/Cargo.toml")).expect("proto has a manifest");
    let manifest: toml::Table = manifest.parse().expect("it is TOML");
    let used = manifest.get("dependencies").and_then(|table| table.as_table()).expect("it has dependencies");
    let impure: Vec<&String> = used.keys().filter(|name| !PROTO_MAY_USE.contains(&name.as_str())).collect();
    assert!(impure.is_empty(), "proto may not depend on {impure:?}");
}

#[test]
fn no_file_grows_past_six_hundred_lines() {
    let long: Vec<String> = ["proto", "node", "testbed", "tests", "benches"]
        .iter()
        .flat_map(|member| rust_files(&workspace().join(member)))
        .filter(|file| !file.components().any(|part| part.as_os_str() == "target"))
        .map(|file| (fs::read_to_string(&file).unwrap_or_default().lines().count(), file))
        .filter(|(lines, _)| *lines > 600)
        .map(|(lines, file)| format!("{}: {lines} lines", file.display()))
        .collect();
    assert!(long.is_empty(), "one noun per file: {long:#?}");
}

#[test]
fn the_reader_of_imports_sees_every_way_to_write_one() {
    let code = strip_comments(
        "use crate::store::Store; // use crate::edge::Edge;\n\
         use crate::{origin::{Pool, Interim}, link, self as me};\n\
         fn f() { let _ = crate::front::serve; }\n\
         pub(crate) struct S; // crate::admin\n\
         /* crate::gossip */ use starling_proto::Key;\n\
         let text = \"crate::anycast\";",
    );
    let imports: BTreeSet<String> = crate_imports(&code).into_iter().collect();
    let expected = ["front", "link", "origin", "self", "store"].map(str::to_owned);
    assert_eq!(imports, BTreeSet::from(expected));
}

#[test]
fn the_table_refuses_what_it_does_not_list() {
    assert!(may_import("edge", "store"));
    assert!(!may_import("store", "edge"));
    assert!(!may_import("front", "origin"));
    assert!(may_import("front", "metrics"));
    assert!(may_import("app", "front"));
    assert!(!may_import("metrics", "edge"));
    assert!(!may_import("store", "config"));
}

fn may_import(place: &str, import: &str) -> bool {
    if place == import
        || matches!(import, "self" | "*")
        || WIRING.contains(&place)
        || NEUTRAL.contains(&import)
    {
        return true;
    }
    ROOMS.iter().find(|(room, _)| *room == place).is_some_and(|(_, doors)| doors.contains(&import))
}

/// The room (or single module) that a file of `node/src` belongs to.
fn place_of(source: &Path, file: &Path) -> String {
    let inside = file.strip_prefix(source).expect("the file lies under the source");
    let first =
        inside.components().next().expect("a path has parts").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The first names of all `crate::` paths, those in braces included.
fn crate_imports(code: &str) -> Vec<String> {
    let mut imports = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let whole_word = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        if !whole_word {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => imports.extend(first_names_in_group(group)),
            None => imports.push(first_name(rest)),
        }
    }
    imports
}

fn first_names_in_group(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0;
    let mut begins = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            c if begins && depth == 0 && !c.is_whitespace() => {
                names.push(first_name(&group[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    names
}

fn first_name(path: &str) -> String {
    path.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '*')).collect()
}

/// The code of a file: without comments, strings and the tests at its end.
fn code_of(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let code = strip_comments(&text);
    match code.find("#[cfg(test)]\nmod tests {") {
        Some(tests) => code[..tests].to_owned(),
        None => code,
    }
}

fn strip_comments(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['/', '"']) {
        code.push_str(&rest[..at]);
        rest = &rest[at..];
        let skip = match rest {
            _ if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            _ if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            _ if rest.starts_with('"') && code.ends_with('\'') => {
                code.push('"');
                1
            }
            _ if rest.starts_with('"') => string_end(rest),
            _ => {
                code.push('/');
                1
            }
        };
        rest = &rest[skip..];
    }
    code.push_str(rest);
    code
}

/// Where the string literal that opens `text` ends, its closing quote included.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
