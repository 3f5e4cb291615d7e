//! The least that speaks Redis' protocol: what a benchmark compares with.

use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::net::{Ipv4Addr, TcpStream};

/// A blocking connection; every mistake is a panic.
pub struct Raw {
    reader: BufReader<TcpStream>,
    writer: BufWriter<TcpStream>,
    line: Vec<u8>,
}

/// Next part of an answer.
enum Part {
    /// A line, or a string that was skipped.
    Line,
    /// A string of this many bytes, not read yet.
    Text(usize),
    /// This many parts follow.
    Parts(usize),
}

impl Raw {
    /// Connects to a server on this machine.
    #[must_use]
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it connects");
        stream.set_nodelay(true).expect("it is a TCP socket");
        let reader = stream.try_clone().expect("a socket can be shared");
        Self {
            reader: BufReader::with_capacity(256 * 1024, reader),
            writer: BufWriter::with_capacity(256 * 1024, stream),
            line: Vec::new(),
        }
    }

    /// Puts a command into the buffer.
    pub fn write(&mut self, words: &[&str]) {
        write!(self.writer, "*{}\r\n", words.len()).expect("it writes");
        for word in words {
            write!(self.writer, "${}\r\n{word}\r\n", word.len()).expect("it writes");
        }
    }

    /// Sends the buffer.
    pub fn flush(&mut self) {
        self.writer.flush().expect("it writes");
    }

    /// Sends one command and passes its answer over.
    pub fn run(&mut self, words: &[&str]) {
        self.write(words);
        self.flush();
        self.read();
    }

    /// Passes one answer over.
    pub fn read(&mut self) {
        match self.part() {
            Part::Line => {}
            Part::Text(length) => drop(self.text(length)),
            Part::Parts(parts) => (0..parts).for_each(|_| self.read()),
        }
    }

    /// The IDs in the answer to `XREADGROUP` on one stream.
    pub fn read_ids(&mut self) -> Vec<String> {
        self.read_entries().0
    }

    /// The IDs and the payloads in the answer to `XREADGROUP` on one stream.
    pub fn read_entries(&mut self) -> (Vec<String>, Vec<String>) {
        let (mut ids, mut payloads) = (Vec::new(), Vec::new());
        if self.parts() == 0 {
            return (ids, payloads);
        }
        self.parts();
        self.read();
        for _ in 0..self.parts() {
            self.parts();
            ids.push(self.string());
            for _ in 0..self.parts() / 2 {
                let (name, value) = (self.string(), self.string());
                if name == "payload" {
                    payloads.push(value);
                }
            }
        }
        (ids, payloads)
    }

    fn parts(&mut self) -> usize {
        match self.part() {
            Part::Parts(parts) => parts,
            Part::Line | Part::Text(_) => 0,
        }
    }

    fn string(&mut self) -> String {
        match self.part() {
            Part::Text(length) => String::from_utf8(self.text(length)).expect("it is UTF-8"),
            Part::Line | Part::Parts(_) => String::new(),
        }
    }

    fn part(&mut self) -> Part {
        self.line.clear();
        self.reader.read_until(b'\n', &mut self.line).expect("it reads");
        let text = std::str::from_utf8(&self.line).expect("a line is ASCII").trim_end();
        let number = || text[1..].parse::<usize>().ok();
        match text.as_bytes().first() {
            Some(b'-') => panic!("the server answers {text}"),
            Some(b'$') => number().map_or(Part::Line, Part::Text),
            Some(b'*') => Part::Parts(number().unwrap_or(0)),
            _ => Part::Line,
        }
    }

    fn text(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length + 2];
        self.reader.read_exact(&mut bytes).expect("it reads");
        bytes.truncate(length);
        bytes
    }
}
