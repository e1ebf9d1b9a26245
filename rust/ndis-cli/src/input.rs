// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Files and standard input. They may hold keys, so all buffers for them are wiped.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use zeroize::{Zeroize, Zeroizing};

/// Longest file, and longest line of a session.
const MOST: usize = 1 << 20;
/// More than that, so that `read_to_end` sees the end before it makes the buffer larger.
const ROOM: usize = MOST + 64;

/// Whether standard input is being read, or has been.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Standard input, which only one can have, without the buffer of the standard library.
fn take_stdin() -> Result<File, String> {
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err("standard input has another use: name a file".into());
    }
    let stdin = io::stdin().as_fd().try_clone_to_owned();
    stdin.map(File::from).map_err(|error| cannot("-", &error))
}

fn cannot(name: &str, error: &io::Error) -> String {
    format!("cannot read {name}: {error}")
}

/// The contents of a file, or with "-" of standard input.
pub fn read(path: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let file = match path {
        "-" => take_stdin()?,
        path => File::open(path).map_err(|error| cannot(path, &error))?,
    };
    let mut data = Zeroizing::new(Vec::with_capacity(ROOM));
    file.take(MOST as u64 + 1)
        .read_to_end(&mut data)
        .map_err(|error| cannot(path, &error))?;
    if data.len() > MOST {
        return Err(format!("{path} is longer than {MOST} bytes"));
    }
    Ok(data)
}

/// The lines of standard input, as they come.
pub struct Lines<R> {
    from: R,
    buffer: Zeroizing<Vec<u8>>,
    /// The start of the bytes that were read and not returned yet.
    start: usize,
    end: usize,
}

/// Lines of standard input.
pub fn lines() -> Result<Lines<File>, String> {
    take_stdin().map(Lines::new)
}

impl<R: Read> Lines<R> {
    fn new(from: R) -> Self {
        Self {
            from,
            buffer: Zeroizing::new(vec![0; MOST]),
            start: 0,
            end: 0,
        }
    }

    /// The next line without its end; none behind the last one.
    pub fn line(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
        let mut looked = self.start;
        loop {
            let new = self.buffer.get(looked..self.end).unwrap_or_default();
            if let Some(length) = new.iter().position(|&byte| byte == b'\n') {
                return Ok(Some(self.take(looked + length, 1)));
            }
            looked = self.end - self.start;
            if !self.fill()? {
                let rest = self.end != 0;
                return Ok(rest.then(|| self.take(self.end, 0)));
            }
        }
    }

    /// The line that ends at `end`, and `more` bytes behind it, are taken out.
    fn take(&mut self, end: usize, more: usize) -> Zeroizing<Vec<u8>> {
        let taken = self.buffer.get_mut(self.start..end).unwrap_or_default();
        let line = Zeroizing::new(taken.to_vec());
        taken.zeroize();
        self.start = end + more;
        line
    }

    /// Moves what is left to the front and reads behind it; false at the end.
    fn fill(&mut self) -> Result<bool, String> {
        let before = self.end;
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if let Some(moved) = self.buffer.get_mut(self.end..before) {
            moved.zeroize();
        }
        let free = self.buffer.get_mut(self.end..).unwrap_or_default();
        if free.is_empty() {
            return Err(format!("a line is longer than {MOST} bytes"));
        }
        loop {
            match self.from.read(free) {
                Ok(count) => {
                    self.end += count;
                    return Ok(count != 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(cannot("-", &error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives so many bytes at once.
    struct Slow(&'static [u8], usize);

    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    #[test]
    fn lines_come_whole_whatever_a_read_gives() {
        for at_once in [1, 2, 3, 5, 100] {
            let mut lines = Lines::new(Slow(b"one\n\ntwo \xff\nthree", at_once));
            let mut found = Vec::new();
            while let Some(line) = lines.line().unwrap() {
                found.push(line.to_vec());
            }
            let wanted: [&[u8]; 4] = [b"one", b"", b"two \xff", b"three"];
            assert_eq!(found, wanted, "{at_once}");
            assert!(lines.line().unwrap().is_none());
        }
    }

    #[test]
    fn the_buffer_of_lines_keeps_nothing() {
        let mut lines = Lines::new(Slow(b"00112233\n44556677\n", 12));
        while lines.line().unwrap().is_some() {}
        assert!(lines.buffer.iter().all(|&byte| byte == 0 || byte == b'\n'));
    }

    #[test]
    fn a_line_without_end_is_an_error() {
        let mut lines = Lines::new(io::repeat(b'x'));
        assert!(lines.line().unwrap_err().contains("longer than"));
    }

    #[test]
    fn a_file_that_is_too_long_is_refused() {
        assert!(read("/dev/zero").unwrap_err().contains("longer than"));
        assert!(read("/nonexistent").unwrap_err().contains("/nonexistent"));
        let data = read("/proc/self/comm").unwrap();
        assert_eq!(data.capacity(), ROOM, "the buffer grew");
    }
}
