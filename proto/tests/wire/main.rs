//! The bytes of the socket's protocol 1, recorded in `proto/wire/protocol-1.txt`: a line for each
//! kind of message and each word, so that the wire form is not changed by accident.
//!
//! `NIXCTL_BLESS=1 cargo test -p nixctl-proto --test wire` adds what is not recorded yet. What is
//! recorded is never altered: another form needs another number, see `docs/protocol.md`.
#![allow(clippy::unwrap_used)]

mod messages;
mod words;

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};

use nixctl_proto::frame::{self, HEADER_LENGTH};
use serde::Serialize;
use serde::de::DeserializeOwned;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/wire/protocol-1.txt");

/// What is recorded, by name, and what this version makes of it.
struct Recording {
    recorded: BTreeMap<String, Vec<u8>>,
    /// In the order in which they are shown to it.
    now: Vec<(String, Vec<u8>)>,
    wrong: Vec<String>,
}

impl Recording {
    fn read() -> Self {
        let text = std::fs::read_to_string(PATH).unwrap_or_default();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let recorded = lines
            .map(|line| {
                let (name, hex) = line.split_once(' ').unwrap();
                (name.to_owned(), from_hex(hex))
            })
            .collect();
        Recording {
            recorded,
            now: Vec::new(),
            wrong: Vec::new(),
        }
    }

    /// Holds a value to what is recorded under its name, both ways.
    fn holds<T: Serialize + DeserializeOwned + PartialEq + Debug>(&mut self, name: &str, value: T) {
        let bytes = frame::encode(&value).unwrap()[HEADER_LENGTH..].to_vec();
        if let Some(recorded) = self.recorded.get(name) {
            match frame::decode::<T>(recorded) {
                Ok(read) if read == value => {}
                Ok(read) => self.wrong.push(format!("{name}: reads as {read:?}")),
                Err(error) => self.wrong.push(format!("{name}: {error}")),
            }
            if *recorded != bytes {
                self.wrong.push(format!("{name}: becomes {}", hex(&bytes)));
            }
        } else if std::env::var_os("NIXCTL_BLESS").is_none() {
            self.wrong.push(format!("{name}: is not recorded"));
        }
        assert!(
            self.now.iter().all(|(known, _)| known != name),
            "{name} is there twice"
        );
        self.now.push((name.to_owned(), bytes));
    }

    /// Says all that differs; in a blessing run writes what is new.
    fn end(mut self) {
        for name in self.recorded.keys() {
            if self.now.iter().all(|(known, _)| known != name) {
                self.wrong.push(format!("{name}: is not there any more"));
            }
        }
        assert!(
            self.wrong.is_empty(),
            "The wire form of protocol 1 is another than the recorded one:\n  {}\n\
             A client and a daemon of which only one has this change would misread each other. \
             Raise PROTOCOL and keep the older form (docs/protocol.md). Only what is not recorded \
             yet is added with NIXCTL_BLESS=1.",
            self.wrong.join("\n  ")
        );
        if self.now.len() > self.recorded.len() {
            std::fs::write(PATH, page(&self.now)).unwrap();
        }
    }
}

fn page(all: &[(String, Vec<u8>)]) -> String {
    let mut page = String::from(
        "# Payloads of the socket's protocol 1: NAME BYTES. Lines are added, never changed.\n\
         # Held by proto/tests/wire.\n",
    );
    for (name, bytes) in all {
        writeln!(page, "{name} {}", hex(bytes)).unwrap();
    }
    page
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn every_message_has_the_recorded_bytes() {
    let mut recording = Recording::read();
    messages::all(&mut recording);
    words::all(&mut recording);
    recording.end();
}
