//! The editions of a press that runs, and the file in which they outlive it.
//!
//! Each line of the file is a scope and its edition as JSON; the last line of a scope holds. A line is written before
//! the edition is given, so a press that is killed and started again never prints what it had replaced.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{Editions, Scope};

/// A longer file is none of ours, or of far too many editions.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// The editions.
#[derive(Debug, Default)]
pub(super) struct Book {
    editions: Editions,
    file: Option<(PathBuf, File)>,
}

/// Why a file of editions cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("editions of {}: {what}", path.display())]
pub struct BookError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub what: String,
}

/// Why there is no new edition.
#[derive(Debug, thiserror::Error)]
pub(super) enum NextError {
    #[error("too many scopes have editions of their own")]
    TooMany,
    #[error("cannot write the new edition down: {0}")]
    Unwritten(#[from] io::Error),
}

impl Book {
    /// The book that is kept in this file; it is made when it is not there.
    pub(super) fn open(path: &Path) -> Result<Self, BookError> {
        let failed = |what: String| BookError { path: path.to_owned(), what };
        let editions = read(path).map_err(failed)?;
        let mut book = Self { editions: Editions::default(), file: None };
        book.file =
            Some((path.to_owned(), written(path, &editions).map_err(|error| failed(error.to_string()))?));
        book.editions = editions;
        Ok(book)
    }

    pub(super) fn editions(&self) -> &Editions {
        &self.editions
    }

    /// Gives a scope a new edition. When that fails, none is given.
    pub(super) fn next(&mut self, scope: &Scope) -> Result<u64, NextError> {
        let edition = self.editions.coming(scope).ok_or(NextError::TooMany)?;
        if let Some((_, file)) = &mut self.file {
            file.write_all(line(scope, edition)?.as_bytes())?;
        }
        self.editions.give(scope, edition);
        Ok(edition)
    }

    /// Puts others in their place.
    pub(super) fn set(&mut self, editions: Editions) -> io::Result<()> {
        if let Some((path, file)) = &mut self.file {
            *file = written(path, &editions)?;
        }
        self.editions = editions;
        Ok(())
    }
}

fn line(scope: &Scope, edition: u64) -> io::Result<String> {
    Ok(serde_json::to_string(&(scope, edition))? + "\n")
}

fn read(path: &Path) -> Result<Editions, String> {
    let text = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Editions::default()),
        Ok(file) if file.len() > FILE_BYTES_MAX => return Err(format!("{} bytes are too long", file.len())),
        _ => fs::read_to_string(path).map_err(|error| error.to_string())?,
    };
    let mut editions = Editions::default();
    // What follows the last line's end was not written to its end, and its edition was not given.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    for (number, line) in whole.lines().enumerate() {
        let (scope, edition): (Scope, u64) =
            serde_json::from_str(line).map_err(|error| format!("line {}: {error}", number + 1))?;
        editions.give(&scope, edition);
    }
    match editions.wrong() {
        Some(wrong) => Err(wrong),
        None => Ok(editions),
    }
}

/// Writes a new file of these editions in the place of the old one, open at its end.
fn written(path: &Path, editions: &Editions) -> io::Result<File> {
    let mut text = String::new();
    for (scope, edition) in &editions.of {
        text += &line(&serde_json::from_str(scope)?, *edition)?;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    fs::write(&beside, text)?;
    fs::rename(&beside, path)?;
    OpenOptions::new().append(true).open(path)
}
