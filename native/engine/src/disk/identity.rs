//! Who this node is: made once, at the first start on a directory.
//!
//! A small text file, so that a person can read all of it but the key's meaning:
//!
//! ```text
//! domp identity 1
//! node 9f86d081884c7d65
//! session_key 3c6e...          64 hexadecimal digits
//! check 5a1b2c3d               crc32c of all before this line
//! ```
//!
//! Invariant: it is on stable storage, under its name, before anything else is
//! written to the directory. A directory with data and no identity is refused:
//! a node never speaks under an identity that is not its own (Promise 10).

use std::fmt::{self, Write as _};
use std::fs;
use std::io;
use std::path::Path;

use rustix::rand::{GetRandomFlags, getrandom};

use super::checked_text;
use super::directory::{IDENTITY_NAME, IDENTITY_NEW_NAME, LOCK_NAME, PROBE_NAME, replace_durably};

const FIRST_LINE: &str = "domp identity 1";

/// The node's name in its groups and the key that signs its session tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Never 0.
    pub node: u64,
    /// Key of the HMAC over session tokens.
    pub session_key: [u8; 32],
}

impl fmt::Debug for Identity {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("node", &format_args!("{:016x}", self.node))
            .finish_non_exhaustive()
    }
}

/// Why there is no identity.
#[derive(Debug)]
pub enum IdentityError {
    /// The file is there but is not what was written.
    Damaged(&'static str),
    /// The file is not there.
    Missing,
    /// The system refused.
    Io(io::Error),
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(what) => write!(
                f,
                "the file `identity` in the data directory is damaged ({what}); restore it from \
                 a backup"
            ),
            Self::Missing => f.write_str(
                "the data directory holds data but no file `identity`; restore it from a backup",
            ),
            Self::Io(source) => write!(f, "can't read or write the file `identity`: {source}"),
        }
    }
}

impl std::error::Error for IdentityError {}

impl From<io::Error> for IdentityError {
    fn from(source: io::Error) -> Self {
        Self::Io(source)
    }
}

impl Identity {
    /// Reads the identity of a directory, or makes one in an empty directory.
    ///
    /// # Errors
    /// When the file is damaged, missing beside data, or can't be read or written.
    pub fn load_or_create(directory: &Path) -> Result<Self, IdentityError> {
        match Self::load(directory) {
            Err(IdentityError::Missing) if !holds_data(directory)? => {
                let identity = Self::random()?;
                identity.write(directory)?;
                Ok(identity)
            }
            outcome => outcome,
        }
    }

    /// Reads the identity of a directory.
    ///
    /// # Errors
    /// When the file is damaged, missing, or can't be read.
    pub fn load(directory: &Path) -> Result<Self, IdentityError> {
        match fs::read_to_string(directory.join(IDENTITY_NAME)) {
            Ok(text) => Self::parse(&text).map_err(IdentityError::Damaged),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(IdentityError::Damaged("it is no text"))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(IdentityError::Missing),
            Err(error) => Err(error.into()),
        }
    }

    fn random() -> io::Result<Self> {
        let node = random_u64()?.max(1);
        let mut session_key = [0; 32];
        fill_random(&mut session_key)?;
        Ok(Self { node, session_key })
    }

    fn write(&self, directory: &Path) -> io::Result<()> {
        let text = self.text();
        replace_durably(directory, IDENTITY_NEW_NAME, IDENTITY_NAME, text.as_bytes())
    }

    fn text(&self) -> String {
        let mut session_key = String::new();
        for byte in self.session_key {
            write!(session_key, "{byte:02x}").expect("writing to a string does not fail");
        }
        let fields = [
            ("node", format!("{:016x}", self.node)),
            ("session_key", session_key),
        ];
        checked_text::seal(FIRST_LINE, fields.into_iter())
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let mut fields = checked_text::open(FIRST_LINE, text)?;
        let node = fields
            .next("node")
            .and_then(|hex| u64::from_str_radix(hex, 16).ok())
            .filter(|node| *node != 0)
            .ok_or("its node is no number")?;
        let session_key = fields
            .next("session_key")
            .and_then(parse_key)
            .ok_or("its session key is not 64 hexadecimal digits")?;
        Ok(Self { node, session_key })
    }
}

fn parse_key(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    let mut key = [0; 32];
    for (at, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(key)
}

/// True if the directory has entries beside the engine's own small files.
fn holds_data(directory: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if ![LOCK_NAME, IDENTITY_NEW_NAME, PROBE_NAME].contains(&name.to_string_lossy().as_ref()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A number from the operating system's randomness.
///
/// # Errors
/// What the system says.
pub fn random_u64() -> io::Result<u64> {
    let mut bytes = [0; 8];
    fill_random(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
