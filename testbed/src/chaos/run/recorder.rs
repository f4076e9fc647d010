//! Who writes the history: one task, so that its lines stand in the order in which they were known.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use anyhow::{Context, bail};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::chaos::history::Event;

/// Lines that wait to be written; then those who have more wait.
const WAITING_MAX: usize = 4096;
/// A history that is longer is not held in memory.
const EVENTS_MAX: usize = 3_000_000;

/// Takes lines; all copies write to the same history.
#[derive(Clone)]
pub(super) struct Recorder(mpsc::Sender<Event>);

/// The task that writes.
pub(super) struct Writer {
    task: JoinHandle<anyhow::Result<Vec<Event>>>,
    end: CancellationToken,
}

impl Recorder {
    pub async fn record(&self, event: Event) {
        // Once the history is at its end, what is still said is no part of it; and a writer that failed tells
        // that itself.
        let _ = self.0.send(event).await;
    }
}

/// Begins a history in this file.
pub(super) fn begin(path: &Path) -> anyhow::Result<(Recorder, Writer)> {
    let file = File::create(path).with_context(|| format!("the history {}", path.display()))?;
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let end = CancellationToken::new();
    let path = path.to_owned();
    let told = end.clone();
    let task = tokio::spawn(async move {
        write(BufWriter::new(file), receiver, told)
            .await
            .with_context(|| format!("the history {}", path.display()))
    });
    Ok((Recorder(sender), Writer { task, end }))
}

impl Writer {
    /// Writes what was recorded up to now, and answers all of it.
    pub async fn finish(self) -> anyhow::Result<Vec<Event>> {
        self.end.cancel();
        self.task.await.context("the writer of the history ended")?
    }
}

async fn write(
    mut file: BufWriter<File>,
    mut lines: mpsc::Receiver<Event>,
    end: CancellationToken,
) -> anyhow::Result<Vec<Event>> {
    let mut events = Vec::new();
    loop {
        let event = tokio::select! {
            event = lines.recv() => event,
            () = end.cancelled(), if !lines.is_closed() => {
                // What waits is still taken; nothing new.
                lines.close();
                continue;
            }
        };
        let Some(event) = event else { break };
        serde_json::to_writer(&mut file, &event)?;
        file.write_all(b"\n")?;
        if lines.is_empty() {
            // Whoever looks at a run that goes on, or that was interrupted, sees all of it.
            file.flush()?;
        }
        events.push(event);
        if events.len() > EVENTS_MAX {
            bail!("more than {EVENTS_MAX} lines: ask for less, or for a shorter time");
        }
    }
    file.flush()?;
    Ok(events)
}
