//! The configuration of a node: one TOML file, `STARLING_*` environment variables and flags, in rising order
//! of strength.
//!
//! [`load`] turns them into one [`Config`] that holds the settings structs of the rooms, or into a
//! [`ConfigError`] that tells all problems at once, each with its place. What is in a `Config` is valid:
//! no room checks it again. Every key is described in `cluster-configs/README.md`, which a test holds
//! against the code. This module opens the configuration, certificate, token, cluster key and ticket files,
//! and nothing else; it reads the clock once, to see whether a ticket has expired.

mod mesh;
mod problem;
mod reader;
mod sections;
mod services;
#[cfg(test)]
mod tests;
mod units;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use self::reader::Reader;
pub use self::{
    mesh::{MeshSettings, RegionSettings},
    problem::{ConfigError, Place, Problem},
    reader::Override,
    services::parse_service,
    units::parse_duration,
};
use crate::{access_log, admin, edge::ServiceSettings, front, store};

/// All a node is told by its operator.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who the node is.
    pub node: NodeSettings,
    /// Listeners and what a client may cost.
    pub front: front::Settings,
    /// Memory and disk.
    pub store: store::Settings,
    /// The operator's listener.
    pub admin: admin::Settings,
    /// What is logged, and how.
    pub log: LogSettings,
    /// How it takes part in a mesh; none when it stands alone.
    pub mesh: Option<MeshSettings>,
    /// What is served from the start; empty only for a node of a mesh, which may be told by others.
    pub services: Vec<ServiceSettings>,
}

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSettings {
    /// How its operator calls it.
    pub name: String,
    /// The region it stands in; part of the id of every purge.
    pub region: String,
    /// The place inside the region.
    pub pop: String,
    /// Where it keeps what must survive a restart.
    pub data: PathBuf,
}

/// What is logged.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// How events are written.
    pub format: LogFormat,
    /// A filter such as `info` or `starling=debug,info`.
    pub level: String,
    /// One line for each request.
    pub access: access_log::Settings,
}

/// How events are written to standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one object per line.
    Json,
}

/// Where a configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file, if any.
    pub file: Option<PathBuf>,
    /// What flags said, by full key.
    pub flags: BTreeMap<String, Override>,
    /// `STARLING_*` variables; others are ignored, as some platforms invent names that begin like ours.
    pub environment: BTreeMap<String, String>,
    /// `--origin`, which alone makes a catch-all service.
    pub origins: Vec<String>,
}

impl Sources {
    /// The file alone, as `starling config check` reads it.
    pub fn file(file: &Path) -> Self {
        Self { file: Some(file.to_owned()), ..Self::default() }
    }

    /// Adds the `STARLING_*` variables of this process.
    pub fn with_environment(mut self) -> Self {
        self.environment = std::env::vars().filter(|(name, _)| name.starts_with("STARLING_")).collect();
        self
    }
}

/// Reads and checks a whole configuration.
pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
    let (name, text) = match &sources.file {
        Some(file) => (file.display().to_string(), read(file)?),
        None => ("command line".to_owned(), String::new()),
    };
    parse(&name, &text, sources)
}

/// Whether a node, region or PoP may be called this. Names stand in purge ids, log fields and labels: they
/// hold no separators and no surprises.
pub fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=64).contains(&text.len()) && text.chars().all(allowed)
}

fn read(file: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(file).map_err(|error| ConfigError {
        problems: vec![Problem {
            place: Place::Named(file.display().to_string()),
            key: String::new(),
            message: format!("cannot be read: {error}"),
        }],
    })
}

fn parse(name: &str, text: &str, sources: &Sources) -> Result<Config, ConfigError> {
    let (document, reader) = document(name, text, sources)?;
    let config = sections::config(&reader, document.get_ref(), &sources.origins);
    let problems = reader.finish();
    if problems.is_empty() { Ok(config) } else { Err(ConfigError { problems }) }
}

/// A TOML document, and who reads it.
fn document<'a>(
    name: &'a str,
    text: &'a str,
    sources: &'a Sources,
) -> Result<(toml::Spanned<toml::de::DeTable<'a>>, Reader<'a>), ConfigError> {
    let (document, syntax) = toml::de::DeTable::parse_recoverable(text);
    let reader = Reader::new(name, text, sources.flags.clone(), &sources.environment);
    for error in &syntax {
        reader.problem(
            reader.place(error.span().unwrap_or(0..0)),
            "",
            format!("not TOML: {}", error.message()),
        );
    }
    if !syntax.is_empty() {
        // Keys after a syntax error may be missing or misplaced: what else is wrong cannot be told apart.
        return Err(ConfigError { problems: reader.finish_syntax() });
    }
    Ok((document, reader))
}
