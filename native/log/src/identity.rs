//! Who this node is, and how far it had come: a small text file beside the log.
//!
//! ```text
//! domp identity 2
//! node 9f86d081884c7d65         16 hexadecimal digits, never 0
//! incarnation 3                 the latest start
//! sequence 1207                 where the log ended at that start, this start's record included:
//! digest 5a1b...                sequence and digest of its last frame (32 hexadecimal digits)
//! check 5a1b2c3d                crc32c of all before this line
//! ```
//!
//! It is replaced under the name `identity.new`, synced, renamed, and the directory
//! synced. A new directory gets `identity.new` first, then the first segment, then
//! the name: so an identity without a log tells of a log that was lost.

use std::fmt::Write as _;
use std::io;

use crate::Disk;
use crate::body::Position;
use crate::layout::FORMAT_VERSION;
use crate::recover::{RecoverError, doing};

/// Name of the file.
pub const IDENTITY_NAME: &str = "identity";
/// Its name while it is written.
pub const IDENTITY_NEW_NAME: &str = "identity.new";

const FIRST_WORDS: &str = "domp identity ";

/// A node's name, and where its log stood at its latest start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Never 0.
    pub node: u64,
    /// Number of the latest start that was written down.
    pub incarnation: u64,
    /// Where the log ended at that start.
    pub position: Position,
}

/// What there is of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IdentityRead {
    Missing,
    Whole(Identity),
    /// What is wrong.
    Damaged(&'static str),
}

impl Identity {
    /// The file's text.
    pub fn text(&self) -> String {
        let Self {
            node,
            incarnation,
            position: Position { sequence, digest },
        } = self;
        let mut text = format!(
            "{FIRST_WORDS}{FORMAT_VERSION}\nnode {node:016x}\nincarnation {incarnation}\n\
             sequence {sequence}\ndigest {digest:032x}\n"
        );
        let check = crc32c::crc32c(text.as_bytes());
        writeln!(text, "check {check:08x}").expect("a String takes all");
        text
    }

    /// Reads the file's text; the error says what is wrong with it. Only what [`Identity::text`] makes is
    /// taken.
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (covered, check) = text
            .strip_suffix('\n')
            .and_then(|text| text.rsplit_once("check "))
            .ok_or("it has no check line")?;
        let check = u32::from_str_radix(check, 16).map_err(|_| "its check is no number")?;
        if check != crc32c::crc32c(covered.as_bytes()) {
            return Err("its check does not fit");
        }
        let mut lines = covered.lines().skip(1);
        let mut next = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let node = next("node").and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let incarnation = next("incarnation").and_then(|number| number.parse().ok());
        let sequence = next("sequence").and_then(|number| number.parse().ok());
        let digest = next("digest").and_then(|hex| u128::from_str_radix(hex, 16).ok());
        let identity = Self {
            node: node
                .filter(|&node| node != 0)
                .ok_or("its node is no number")?,
            incarnation: incarnation.ok_or("its incarnation is no number")?,
            position: Position {
                sequence: sequence.ok_or("its sequence is no number")?,
                digest: digest.ok_or("its digest is no number")?,
            },
        };
        if identity.text() != text {
            return Err("it is not as it was written");
        }
        Ok(identity)
    }
}

/// Reads the identity of a directory.
pub(crate) fn read(disk: &mut dyn Disk) -> Result<IdentityRead, RecoverError> {
    let bytes = disk
        .read_small(IDENTITY_NAME)
        .map_err(doing("reading the file identity"))?;
    let Some(bytes) = bytes else {
        return Ok(IdentityRead::Missing);
    };
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return Ok(IdentityRead::Damaged("it is no text"));
    };
    let version = text
        .strip_prefix(FIRST_WORDS)
        .and_then(|rest| rest.lines().next()?.parse().ok());
    match version {
        Some(FORMAT_VERSION) => {}
        Some(version) => {
            return Err(RecoverError::Version {
                file: IDENTITY_NAME.into(),
                version,
            });
        }
        None => return Ok(IdentityRead::Damaged("its first line is another")),
    }
    Ok(Identity::parse(text).map_or_else(IdentityRead::Damaged, IdentityRead::Whole))
}

/// Makes the new identity durable under its first name.
pub(crate) fn write_new(disk: &mut dyn Disk, identity: &Identity) -> io::Result<()> {
    disk.write_small(IDENTITY_NEW_NAME, identity.text().as_bytes())?;
    disk.sync_directory()
}

/// Gives what [`write_new`] wrote its name.
pub(crate) fn rename_new(disk: &mut dyn Disk) -> io::Result<()> {
    disk.rename(IDENTITY_NEW_NAME, IDENTITY_NAME)?;
    disk.sync_directory()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_changed_byte_is_seen() {
        let identity = Identity {
            node: 0x9f86_d081_884c_7d65,
            incarnation: 3,
            position: Position {
                sequence: 17,
                digest: 0xfeed,
            },
        };
        let text = identity.text();
        assert_eq!(Identity::parse(&text), Ok(identity));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).expect("still ASCII");
            assert!(Identity::parse(&changed).is_err(), "byte {at}");
            assert!(Identity::parse(&text[..at]).is_err(), "{at} bytes");
        }
    }
}
