//! What a build of nixctl says of itself, and whether two builds can follow each other.

use std::path::Path;
use std::time::Duration;

use nixctl_proto::frame;
use serde::{Deserialize, Serialize};

use super::PROGRAMS;
use crate::engine::store::{oldest_read, oldest_written, schema};
use crate::host::{Cancel, Command, Host};
use crate::payload::release::this_system;

/// For a program to say what it is.
const DEADLINE: Duration = Duration::from_secs(10);
/// It is run as nobody: user and group.
const NOBODY: (u32, u32) = (65534, 65534);

/// What a build of nixctld says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edition {
    /// Its version.
    pub version: String,
    /// Its system, such as `x86_64-linux`.
    pub system: String,
    /// The protocol that it speaks on the socket.
    pub protocol: u32,
    /// The oldest protocol that it speaks there.
    pub oldest_protocol: u32,
    /// The form in which it writes its state.
    pub schema: u32,
    /// The oldest form that it reads.
    pub oldest_schema_read: u32,
    /// The oldest form that it can write for one that comes after it.
    pub oldest_schema_written: u32,
}

impl Edition {
    /// This one.
    pub fn own() -> Edition {
        Edition {
            version: nixctl_proto::version().to_owned(),
            system: this_system(),
            protocol: frame::PROTOCOL,
            oldest_protocol: frame::PROTOCOL,
            schema: schema(),
            oldest_schema_read: oldest_read(),
            oldest_schema_written: oldest_written(),
        }
    }

    /// Has the programs in a folder say what they are. Both are started, without any right.
    ///
    /// # Errors
    /// In words, when one does not start or answer, or they are not of one version.
    pub fn of(host: &Host, folder: &Path, cancel: &Cancel) -> Result<Edition, String> {
        let [client, daemon] = PROGRAMS.map(|name| folder.join(name).display().to_string());
        let said = run(host, &Command::new(daemon).arg("describe"), cancel)?;
        let edition: Edition = serde_json::from_str(&said)
            .map_err(|error| format!("its nixctld says of itself what makes no sense: {error}"))?;
        let said = run(host, &Command::new(client).arg("--version"), cancel)?;
        let version = said.strip_prefix("nixctl ").unwrap_or(&said).trim();
        if version != edition.version {
            let own = &edition.version;
            return Err(format!(
                "its nixctld is of version {own}, and its nixctl of `{version}`"
            ));
        }
        Ok(edition)
    }

    /// Whether another one can take over from this one, and this one take back over from it.
    ///
    /// # Errors
    /// In words, when not.
    pub fn can_be_followed_by(&self, other: &Edition) -> Result<(), String> {
        if other.system != self.system {
            return Err(format!(
                "it is for {}, and this machine is {}",
                other.system, self.system
            ));
        }
        let speaks =
            other.oldest_protocol <= self.protocol && self.oldest_protocol <= other.protocol;
        if !speaks {
            return Err(format!(
                "it speaks the protocols {} to {}, and this one {} to {}",
                other.oldest_protocol, other.protocol, self.oldest_protocol, self.protocol
            ));
        }
        if other.schema >= self.schema {
            if other.oldest_schema_read > self.schema {
                return Err(format!(
                    "it reads states from schema {} on, and the one that is there has {}",
                    other.oldest_schema_read, self.schema
                ));
            }
        } else if other.schema < self.oldest_schema_written {
            return Err(format!(
                "it reads states up to schema {}, and this one writes none before {}",
                other.schema, self.oldest_schema_written
            ));
        }
        Ok(())
    }
}

fn run(host: &Host, command: &Command, cancel: &Cancel) -> Result<String, String> {
    let command = command
        .clone()
        .deadline(DEADLINE)
        .run_as(NOBODY.0, NOBODY.1);
    let ran = host.exec.run(&command, cancel);
    ran.map(|output| output.text())
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edition(protocols: (u32, u32), schema: u32, read: u32, written: u32) -> Edition {
        Edition {
            version: "1".to_owned(),
            system: "x".to_owned(),
            oldest_protocol: protocols.0,
            protocol: protocols.1,
            schema,
            oldest_schema_read: read,
            oldest_schema_written: written,
        }
    }

    #[test]
    fn neighbours_follow_each_other_both_ways_and_others_do_not() {
        let ours = edition((1, 2), 4, 1, 4);
        for (other, fits) in [
            (ours.clone(), true),
            // The next one, with another form of the state.
            (edition((2, 3), 5, 4, 4), true),
            // One that has forgotten how ours looks.
            (edition((2, 3), 6, 5, 5), false),
            // One whose form we cannot write.
            (edition((1, 2), 3, 1, 3), false),
            (edition((3, 4), 4, 1, 4), false),
            (
                Edition {
                    system: "y".to_owned(),
                    ..ours.clone()
                },
                false,
            ),
        ] {
            assert_eq!(ours.can_be_followed_by(&other).is_ok(), fits, "{other:?}");
        }
        let next = edition((2, 3), 5, 4, 4);
        assert!(next.can_be_followed_by(&ours).is_ok());
    }
}
