//! `starling-testbed fault`: has something go wrong.

use std::{
    io::Write,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;

use crate::{
    cluster::Cluster,
    faults::{BadFault, Fault, Faults},
};

const COMMANDS: &str = "\
Commands, each one argument, or all arguments the words of one:
  kill NODES                   kill -9
  stop NODES                   SIGTERM; waits until they have drained
  restart NODES                one after the other, each until it is ready again
  start NODES                  those that do not run, with the data they have
  pause NODES, resume NODES    SIGSTOP, SIGCONT
  freeze NODES, thaw NODES     the whole namespace stands still           (a)
  power-cut NODES              kill -9, and what was not synced is gone   (b)
  keep-disk NODES              a copy of their data is put aside
  old-disk NODES               kill -9, and the copy takes the place of their data
  clock NODES +1h|-90s|right   the wall clock is off by so much           (b)
  disk NODES full|failing|well writes fail; syncs fail; neither           (b)
  cut A from B [one-way]       nothing passes between them, or from A to B  (a)
  way POP POP [delay 200ms] [jitter 20ms] [loss 5%] [reorder 10%] [rate 1mbit]
                               that way gets worse                        (a)
  flap POP POP                 that way comes and goes, until Ctrl-C      (a)
  heal                         all cuts and ways are as they were
  origin dead|slow 2s|errors|well

  (a) needs a testbed of `up --netns`, (b) one of `up --faulty`

NODES is one or several of these, joined by `+`: the name of a node, a PoP or a region, all, random (one that
runs), killed (all that were killed or stopped), leader:REGION, shields:REGION (its voters), owner:URL.

Examples:
  testbed/fault kill leader:eu
  testbed/fault 'clock random +1h' 'disk lon-1 full'
  testbed/fault --recover";

/// Have something go wrong with the testbed that runs
#[derive(clap::Args)]
#[command(after_help = COMMANDS)]
pub struct FaultCommand {
    /// What `random` chooses; told when it is not given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Make all well again: ways, clocks, disks, the origin; start what does not run
    #[arg(long, conflicts_with = "commands")]
    recover: bool,
    /// What is to happen
    #[arg(
        value_name = "COMMAND",
        required_unless_present = "recover",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    commands: Vec<String>,
}

impl FaultCommand {
    /// Carries them out, one after the other, until one fails.
    pub async fn run(self, dir: &Path) -> anyhow::Result<u8> {
        let commands = match commands(&self.commands) {
            Ok(commands) => commands,
            Err(bad) => {
                eprintln!("{bad}\n\n{COMMANDS}");
                return Ok(2);
            }
        };
        let mut out = std::io::stdout();
        let seed = self.seed.unwrap_or_else(any_seed);
        let faults = Faults::new(Cluster::attach(dir)?, seed);
        if self.recover {
            for done in faults.recover().await? {
                writeln!(out, "{}", done.told)?;
            }
            return Ok(0);
        }
        for fault in &commands {
            faults.is_possible(fault)?;
        }
        for fault in &commands {
            writeln!(out, "{}", faults.inflict(fault).await?.told)?;
        }
        if self.seed.is_none() && self.commands.iter().any(|words| words.contains("random")) {
            writeln!(out, "(--seed {seed})")?;
        }
        if faults.is_flapping() {
            writeln!(out, "until Ctrl-C, ten minutes at most")?;
            tokio::select! {
                pressed = tokio::signal::ctrl_c() => pressed.context("cannot wait for Ctrl-C")?,
                () = faults.flapped() => {}
            }
            faults.end_flaps().await?;
            writeln!(out, "the way carries again")?;
        }
        Ok(0)
    }
}

/// The arguments as commands: each is one, or all of them are the words of one.
fn commands(arguments: &[String]) -> Result<Vec<Fault>, BadFault> {
    let each = || arguments.iter().map(|argument| argument.parse()).collect::<Result<Vec<Fault>, _>>();
    if arguments.iter().any(|argument| argument.contains(' ')) {
        return each();
    }
    match arguments.join(" ").parse() {
        Ok(fault) => Ok(vec![fault]),
        // `heal heal`; else what is wrong is wrong with the one command.
        Err(bad) => each().map_err(|_| bad),
    }
}

fn any_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(now.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Vec<String>, String> {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let read = commands(&arguments).map_err(|bad| bad.command)?;
        Ok(read.iter().map(Fault::to_string).collect())
    }

    #[test]
    fn arguments_are_commands_or_the_words_of_one() {
        assert_eq!(read(&["kill", "lon-1"]), Ok(vec!["kill lon-1".to_owned()]));
        assert_eq!(read(&["clock", "lon-1", "-1h"]), Ok(vec!["clock lon-1 -1h".to_owned()]));
        assert_eq!(read(&["kill lon-1", "heal"]), Ok(vec!["kill lon-1".to_owned(), "heal".to_owned()]));
        assert_eq!(read(&["heal", "heal"]), Ok(vec!["heal".to_owned(), "heal".to_owned()]));
        assert_eq!(read(&["heal"]), Ok(vec!["heal".to_owned()]));
        assert_eq!(read(&["kil", "lon-1"]), Err("kil lon-1".to_owned()));
        assert_eq!(read(&["kill lon-1", "hea"]), Err("hea".to_owned()));
        assert_eq!(read(&[]), Ok(Vec::new()));
    }

    #[test]
    fn the_help_has_every_command() {
        let known = "".parse::<Fault>().unwrap_err().why;
        let words = known.split_once("a fault: ").unwrap().1.trim_end_matches(" belongs");
        for word in words.split(", ") {
            assert!(
                COMMANDS.contains(&format!("  {word}")) || COMMANDS.contains(&format!(", {word} ")),
                "{word}"
            );
        }
    }
}
