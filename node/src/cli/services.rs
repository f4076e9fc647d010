//! `starling services`: what a node serves, and changes of it in all of the mesh.

use std::{
    io::{self, Read},
    path::PathBuf,
};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    ClientOptions, DONE, TIMED_OUT, WAY,
    client::{Body, Client, ClientError},
    show, tell,
};

/// What to do with services; without a command, they are listed.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  starling services\n  starling services show shop\n  starling services set shop shop.toml\n  starling services delete shop\n\nExit codes: 0 done, 1 failed: nothing was changed, 2 usage, 3 timed out: it is not known whether the change is committed."
)]
pub struct ServicesOptions {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<ServicesCommand>,
    /// How to reach the node.
    #[command(flatten)]
    pub client: ClientOptions,
}

/// Commands about services.
#[derive(Debug, Subcommand)]
pub enum ServicesCommand {
    /// Show one service, with its definition if it was set at run time
    Show {
        /// Its name
        name: String,
        /// How to reach the node.
        #[command(flatten)]
        client: ClientOptions,
    },
    /// Create a service, or change it, in all of the mesh
    Set {
        /// Its name
        name: String,
        /// Its definition: the table of one `[[services]]` as TOML, or JSON of the same keys; `-` is standard input
        file: PathBuf,
        /// How to reach the node.
        #[command(flatten)]
        client: ClientOptions,
    },
    /// Delete a service in all of the mesh; purge it first if one of its name is to come again
    Delete {
        /// Its name
        name: String,
        /// How to reach the node.
        #[command(flatten)]
        client: ClientOptions,
    },
}

pub(super) async fn run(options: ServicesOptions) -> Result<u8, ClientError> {
    let Some(command) = options.command else {
        return tell(&options.client, "/v1/services", show::services).await;
    };
    match command {
        ServicesCommand::Show { name, client } => tell(&client, &path_of(&name), show::service).await,
        ServicesCommand::Set { name, file, client } => {
            let definition = read(&file)
                .map_err(|source| ClientError::File { path: file.display().to_string(), source })?;
            let answer = Client::new(&client)?.put(&path_of(&name), body_of(definition), 2 * WAY).await;
            changed(&name, answer, &client)
        }
        ServicesCommand::Delete { name, client } => {
            let answer = Client::new(&client)?.delete(&path_of(&name), 2 * WAY).await;
            changed(&name, answer, &client)
        }
    }
}

/// How a change ended. One whose end is not known may stand, and is no failure to be told by exit code 1.
fn changed(
    name: &str,
    answer: Result<Value, ClientError>,
    client: &ClientOptions,
) -> Result<u8, ClientError> {
    match answer {
        Err(error) if error.leaves_open() => {
            eprintln!(
                "starling: timed out: it is not known whether the change of {name:?} was or will be committed ({error}); \
                 `starling services show` tells what holds, and to ask for the same again does no harm"
            );
            Ok(TIMED_OUT)
        }
        answer => {
            show::print(&answer?, client.json, show::service_set);
            Ok(DONE)
        }
    }
}

fn path_of(name: &str) -> String {
    format!(
        "/v1/services/{}",
        percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC)
    )
}

fn read(file: &PathBuf) -> io::Result<String> {
    if file.as_os_str() == "-" {
        let mut text = String::new();
        return io::stdin().read_to_string(&mut text).map(|_| text);
    }
    std::fs::read_to_string(file)
}

/// No TOML document begins with a brace, and every JSON object does.
fn body_of(definition: String) -> Body {
    let kind = if definition.trim_start().starts_with('{') { "application/json" } else { "application/toml" };
    Body { kind, bytes: definition.into() }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(line: &str) -> Result<ServicesOptions, clap::Error> {
        match Cli::try_parse_from(line.split(' '))?.command {
            Command::Services(options) => Ok(options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn services_are_listed_unless_a_command_says_otherwise() {
        let list = parse("starling services --admin http://127.0.0.1:1 --json").unwrap();
        assert!(list.command.is_none() && list.client.json);
        assert_eq!(list.client.admin, "http://127.0.0.1:1");
        let set = parse("starling services set shop - --admin http://127.0.0.1:1").unwrap().command;
        let Some(ServicesCommand::Set { name, file, client }) = set else { panic!("{set:?}") };
        assert_eq!(
            (name.as_str(), file.to_str(), client.admin.as_str()),
            ("shop", Some("-"), "http://127.0.0.1:1")
        );
        assert_eq!(parse("starling services set shop").unwrap_err().exit_code(), 2);
        assert_eq!(parse("starling services remove shop").unwrap_err().exit_code(), 2);
    }

    #[test]
    fn a_definition_is_sent_as_what_it_is() {
        assert_eq!(body_of(" {\"hosts\": []}".to_owned()).kind, "application/json");
        assert_eq!(body_of("# {\nhosts = []\n".to_owned()).kind, "application/toml");
        assert_eq!(path_of("a/b"), "/v1/services/a%2Fb");
    }
}
