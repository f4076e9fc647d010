//! Lines of a file, one at a time: a file of any length takes no memory. `.xz` and `.gz` are unpacked by the
//! system's `xz` and `gzip`, which run as children.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail};

/// No line of a log is longer; what is longer is no line.
const LINE_BYTES_MAX: usize = 64 << 10;
/// How much of what a child complains of is told.
const COMPLAINT_BYTES_MAX: u64 = 500;

/// The lines of one file.
pub struct Lines {
    name: String,
    reader: Box<dyn BufRead + Send>,
    child: Option<Child>,
    number: u64,
    line: Vec<u8>,
}

/// One line.
pub enum Line<'a> {
    /// Its number, from 1, and its text without the end.
    Text(u64, Cow<'a, str>),
    /// The number of one that is too long to be a line.
    TooLong(u64),
}

impl Lines {
    /// Opens a file, `-` for standard input.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or what unpacks it is not installed.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let unpack = match path.extension().and_then(|ending| ending.to_str()) {
            _ if name == "-" => None,
            Some("xz") => Some("xz"),
            Some("gz") => Some("gzip"),
            _ => None,
        };
        let mut child = None;
        let reader: Box<dyn BufRead + Send> = match unpack {
            _ if name == "-" => Box::new(BufReader::new(io::stdin())),
            None => Box::new(BufReader::new(File::open(path).with_context(|| name.clone())?)),
            Some(tool) => {
                let packed = File::open(path).with_context(|| name.clone())?;
                let mut started = Command::new(tool)
                    .arg("-dc")
                    .stdin(packed)
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .with_context(|| format!("{name} needs {tool}"))?;
                let unpacked = started.stdout.take().context("its output was asked for")?;
                child = Some(started);
                Box::new(BufReader::new(unpacked))
            }
        };
        Ok(Self { name, reader, child, number: 0, line: Vec::new() })
    }

    /// The file's name, as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next line; none at the end.
    ///
    /// # Errors
    ///
    /// When reading or unpacking fails; what was read before it is good.
    pub fn next_line(&mut self) -> anyhow::Result<Option<Line<'_>>> {
        self.line.clear();
        let most = LINE_BYTES_MAX as u64 + 1;
        let read = (&mut self.reader).take(most).read_until(b'\n', &mut self.line);
        if read.with_context(|| self.name.clone())? == 0 {
            self.ended()?;
            return Ok(None);
        }
        self.number += 1;
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else if self.line.len() > LINE_BYTES_MAX {
            self.reader.skip_until(b'\n').with_context(|| self.name.clone())?;
            return Ok(Some(Line::TooLong(self.number)));
        }
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        Ok(Some(Line::Text(self.number, String::from_utf8_lossy(&self.line))))
    }

    /// A file that ends early because it is damaged must not pass for a shorter one.
    fn ended(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let mut complaint = String::new();
        if let Some(errors) = child.stderr.take() {
            // What it says is for people: if that cannot be read, its status still tells.
            let _ = errors.take(COMPLAINT_BYTES_MAX).read_to_string(&mut complaint);
        }
        let status = child.wait().with_context(|| self.name.clone())?;
        if !status.success() {
            bail!("{} cannot be unpacked ({status}): {}", self.name, complaint.trim());
        }
        Ok(())
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use super::*;

    fn all(path: &Path) -> anyhow::Result<Vec<String>> {
        let mut lines = Lines::open(path)?;
        let mut texts = Vec::new();
        while let Some(line) = lines.next_line()? {
            texts.push(match line {
                Line::Text(number, text) => format!("{number} {text}"),
                Line::TooLong(number) => format!("{number} too long"),
            });
        }
        Ok(texts)
    }

    fn packed(tool: &str, path: &Path, bytes: &[u8]) -> bool {
        let file = File::create(path).unwrap();
        let Ok(mut child) = Command::new(tool).arg("-c").stdin(Stdio::piped()).stdout(file).spawn() else {
            println!("skipped: needs {tool}");
            return false;
        };
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        child.wait().unwrap().success()
    }

    #[test]
    fn lines_are_numbered_and_a_line_without_bound_is_stepped_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let long = "x".repeat(3 * LINE_BYTES_MAX);
        fs::write(&path, format!("one\r\n\n{long}\nfour")).unwrap();
        assert_eq!(all(&path).unwrap(), ["1 one", "2 ", "3 too long", "4 four"]);
        let exact = "y".repeat(LINE_BYTES_MAX);
        fs::write(&path, format!("{exact}\nend\n")).unwrap();
        assert_eq!(all(&path).unwrap(), [format!("1 {exact}"), "2 end".to_owned()]);
    }

    #[test]
    fn packed_files_are_unpacked_and_a_damaged_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        for (tool, ending) in [("xz", "xz"), ("gzip", "gz")] {
            let path = dir.path().join(format!("trace.{ending}"));
            let text: String = (0..50_000).map(|number| format!("{}\n", number * 7_919 % 50_021)).collect();
            if !packed(tool, &path, text.as_bytes()) {
                continue;
            }
            assert_eq!(all(&path).unwrap().len(), 50_000, "{tool}");
            // Left in the middle, the child is ended too: this returns.
            let mut left = Lines::open(&path).unwrap();
            assert!(left.next_line().unwrap().is_some());
            drop(left);
            let whole = fs::read(&path).unwrap();
            fs::write(&path, &whole[..whole.len() / 2]).unwrap();
            let error = all(&path).unwrap_err().to_string();
            assert!(error.contains("cannot be unpacked"), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Lines::open(Path::new("/nowhere/trace.xz")).err().unwrap();
        assert!(format!("{error:#}").contains("/nowhere/trace.xz"));
    }
}
