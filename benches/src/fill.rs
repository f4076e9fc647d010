//! Makes a server store many objects: some connections, each with several requests under way.

use std::{
    io::{BufReader, Write},
    net::SocketAddr,
    thread,
};

use anyhow::{Result, ensure};

use crate::{client, origin};

const CONNECTIONS: u64 = 8;

/// Requests that are sent before the first of their answers is read.
const PIPELINED: u64 = 32;

/// Asks for the objects `0..count`, each once, each of `bytes`; fails unless every answer is whole and right.
pub fn fill(addr: SocketAddr, bytes: usize, count: u64) -> Result<()> {
    let expected = origin::body(bytes);
    let share = count.div_ceil(CONNECTIONS);
    thread::scope(|scope| {
        let connections: Vec<_> = (0..CONNECTIONS)
            .map(|at| (at * share).min(count)..((at + 1) * share).min(count))
            .map(|numbers| {
                let expected = &expected;
                scope.spawn(move || ask(addr, expected, numbers))
            })
            .collect();
        connections.into_iter().try_for_each(|connection| match connection.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

fn ask(addr: SocketAddr, expected: &[u8], numbers: std::ops::Range<u64>) -> Result<()> {
    let stream = client::connect(addr)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::with_capacity(64 << 10, stream);
    let mut from = numbers.start;
    while from < numbers.end {
        let until = (from + PIPELINED).min(numbers.end);
        let batch: String =
            (from..until).map(|number| client::request(&origin::numbered(expected.len(), number))).collect();
        writer.write_all(batch.as_bytes())?;
        for number in from..until {
            let answer = client::read_answer(&mut reader)?;
            let is_right = answer.status == 200 && answer.body == expected;
            ensure!(is_right, "object {number}: status {} or a wrong body", answer.status);
        }
        from = until;
    }
    Ok(())
}
