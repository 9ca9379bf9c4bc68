//! What nodes say to each other beside frames: the handshake of a connection, what was taken from it, and that
//! it ends as planned. Layout as in `schemas/peer.fbs`.
//!
//! Each is a head of fixed size that tells how many bytes follow it. The handshake's heads stay as they are in
//! every version of the protocol, so that nodes of versions that do not go together can say so.

use core::fmt;

use crate::bytes::{array_at, put, u16_at, u32_at, u64_at};
use crate::generated::layout::{peer_hello as hello, peer_note as note, peer_welcome as welcome};

/// The version of what nodes say to each other.
pub const PEER_PROTOCOL_VERSION: u16 = 1;

/// The most bytes that may follow a head.
pub const PEER_WORDS_BYTES_MAX: usize = 64 << 10;

/// The most bytes of a text that says why a connection is refused or closed.
pub const PEER_TEXT_BYTES_MAX: usize = 1 << 10;

const MAGIC: u32 = u32::from_le_bytes(*b"DOMP");

/// What came is no word of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerHandshakeError {
    /// It does not begin like one.
    Magic,
    /// More bytes follow than are taken.
    Length(u32),
    /// It is of a kind that there is not.
    Kind(u8),
}

impl fmt::Display for PeerHandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("does not speak the protocol between nodes"),
            Self::Length(length) => write!(f, "says that {length} bytes follow"),
            Self::Kind(kind) => write!(f, "says something of kind {kind}, which there is not"),
        }
    }
}

impl core::error::Error for PeerHandshakeError {}

/// The first word of the node that dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelloHead {
    /// Of the protocol.
    pub version: u16,
    /// Number of the lane that the connection is for.
    pub lane: u8,
    /// The cluster's id.
    pub cluster: u128,
    /// Who dials.
    pub node: u64,
    /// Who is meant to be dialled.
    pub to: u64,
    /// Starts of the node's directory, counted.
    pub incarnation: u64,
    /// Random, made at this start.
    pub nonce: u64,
    /// Bytes that follow.
    pub length: u32,
}

impl HelloHead {
    /// Bytes of the head.
    pub const BYTES: usize = hello::STRUCT_BYTES;

    /// As it travels.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        put(&mut out, hello::MAGIC, MAGIC.to_le_bytes());
        put(&mut out, hello::VERSION, self.version.to_le_bytes());
        put(&mut out, hello::LANE, [self.lane]);
        put(&mut out, hello::CLUSTER_LOW, self.cluster.to_le_bytes());
        put(&mut out, hello::NODE, self.node.to_le_bytes());
        put(&mut out, hello::TO, self.to.to_le_bytes());
        put(&mut out, hello::INCARNATION, self.incarnation.to_le_bytes());
        put(&mut out, hello::NONCE, self.nonce.to_le_bytes());
        put(&mut out, hello::LENGTH, self.length.to_le_bytes());
        out
    }

    /// Reads one, whatever its version.
    ///
    /// # Errors
    /// When it is none, or more would follow than [`PEER_WORDS_BYTES_MAX`].
    pub fn parse(bytes: &[u8; Self::BYTES]) -> Result<Self, PeerHandshakeError> {
        magic(bytes, hello::MAGIC)?;
        Ok(Self {
            version: u16_at(bytes, hello::VERSION).unwrap_or_default(),
            lane: bytes[hello::LANE],
            cluster: u128_at(bytes, hello::CLUSTER_LOW),
            node: u64_at(bytes, hello::NODE).unwrap_or_default(),
            to: u64_at(bytes, hello::TO).unwrap_or_default(),
            incarnation: u64_at(bytes, hello::INCARNATION).unwrap_or_default(),
            nonce: u64_at(bytes, hello::NONCE).unwrap_or_default(),
            length: length(bytes, hello::LENGTH, PEER_WORDS_BYTES_MAX)?,
        })
    }
}

/// The answer of the node that was dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WelcomeHead {
    /// Of the protocol.
    pub version: u16,
    /// `PeerRefusal`: 0 if the connection stands.
    pub refusal: u8,
    /// The cluster's id.
    pub cluster: u128,
    /// Who was dialled.
    pub node: u64,
    /// Starts of the node's directory, counted.
    pub incarnation: u64,
    /// Random, made at this start.
    pub nonce: u64,
    /// Bytes that follow.
    pub length: u32,
}

impl WelcomeHead {
    /// Bytes of the head.
    pub const BYTES: usize = welcome::STRUCT_BYTES;

    /// As it travels.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        put(&mut out, welcome::MAGIC, MAGIC.to_le_bytes());
        put(&mut out, welcome::VERSION, self.version.to_le_bytes());
        put(&mut out, welcome::REFUSAL, [self.refusal]);
        put(&mut out, welcome::CLUSTER_LOW, self.cluster.to_le_bytes());
        put(&mut out, welcome::NODE, self.node.to_le_bytes());
        put(
            &mut out,
            welcome::INCARNATION,
            self.incarnation.to_le_bytes(),
        );
        put(&mut out, welcome::NONCE, self.nonce.to_le_bytes());
        put(&mut out, welcome::LENGTH, self.length.to_le_bytes());
        out
    }

    /// Reads one, whatever its version.
    ///
    /// # Errors
    /// When it is none, or more would follow than [`PEER_WORDS_BYTES_MAX`].
    pub fn parse(bytes: &[u8; Self::BYTES]) -> Result<Self, PeerHandshakeError> {
        magic(bytes, welcome::MAGIC)?;
        Ok(Self {
            version: u16_at(bytes, welcome::VERSION).unwrap_or_default(),
            refusal: bytes[welcome::REFUSAL],
            cluster: u128_at(bytes, welcome::CLUSTER_LOW),
            node: u64_at(bytes, welcome::NODE).unwrap_or_default(),
            incarnation: u64_at(bytes, welcome::INCARNATION).unwrap_or_default(),
            nonce: u64_at(bytes, welcome::NONCE).unwrap_or_default(),
            length: length(bytes, welcome::LENGTH, PEER_WORDS_BYTES_MAX)?,
        })
    }
}

/// What stands beside frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteHead {
    /// So much was taken from the connection since it began.
    Taken {
        /// Bytes of frames, headers included.
        bytes: u64,
    },
    /// It ends as planned.
    Closing {
        /// `PeerClosing`.
        reason: u8,
        /// Bytes of the text that follows.
        length: u32,
    },
}

const TAKEN: u8 = 1;
const CLOSING: u8 = 2;

impl NoteHead {
    /// Bytes of the head.
    pub const BYTES: usize = note::STRUCT_BYTES;

    /// As it travels.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        match *self {
            Self::Taken { bytes } => {
                put(&mut out, note::KIND, [TAKEN]);
                put(&mut out, note::TAKEN_BYTES, bytes.to_le_bytes());
            }
            Self::Closing { reason, length } => {
                put(&mut out, note::KIND, [CLOSING]);
                put(&mut out, note::CLOSING, [reason]);
                put(&mut out, note::LENGTH, length.to_le_bytes());
            }
        }
        out
    }

    /// Reads one.
    ///
    /// # Errors
    /// When it is none, or its text is longer than [`PEER_TEXT_BYTES_MAX`].
    pub fn parse(bytes: &[u8; Self::BYTES]) -> Result<Self, PeerHandshakeError> {
        match bytes[note::KIND] {
            TAKEN => Ok(Self::Taken {
                bytes: u64_at(bytes, note::TAKEN_BYTES).unwrap_or_default(),
            }),
            CLOSING => Ok(Self::Closing {
                reason: bytes[note::CLOSING],
                length: length(bytes, note::LENGTH, PEER_TEXT_BYTES_MAX)?,
            }),
            kind => Err(PeerHandshakeError::Kind(kind)),
        }
    }
}

fn magic(bytes: &[u8], at: usize) -> Result<(), PeerHandshakeError> {
    if u32_at(bytes, at) == Some(MAGIC) {
        Ok(())
    } else {
        Err(PeerHandshakeError::Magic)
    }
}

fn length(bytes: &[u8], at: usize, max: usize) -> Result<u32, PeerHandshakeError> {
    let length = u32_at(bytes, at).unwrap_or_default();
    if length as usize > max {
        return Err(PeerHandshakeError::Length(length));
    }
    Ok(length)
}

fn u128_at(bytes: &[u8], at: usize) -> u128 {
    array_at(bytes, at).map_or(0, u128::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::peer::PeerNoteKind;

    const HELLO: HelloHead = HelloHead {
        version: 7,
        lane: 3,
        cluster: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
        node: 11,
        to: 12,
        incarnation: 13,
        nonce: 14,
        length: 15,
    };
    const WELCOME: WelcomeHead = WelcomeHead {
        version: 7,
        refusal: 2,
        cluster: HELLO.cluster,
        node: 12,
        incarnation: 16,
        nonce: 17,
        length: 18,
    };

    #[test]
    fn what_is_said_is_what_is_heard() {
        assert_eq!(HelloHead::parse(&HELLO.encode()), Ok(HELLO));
        assert_eq!(WelcomeHead::parse(&WELCOME.encode()), Ok(WELCOME));
        let (bytes, reason, length) = (1 << 40, 2, 1024);
        for note in [
            NoteHead::Taken { bytes },
            NoteHead::Closing { reason, length },
        ] {
            assert_eq!(NoteHead::parse(&note.encode()), Ok(note));
        }
        assert_eq!(
            [TAKEN, CLOSING],
            [PeerNoteKind::taken.0, PeerNoteKind::closing.0]
        );
    }

    #[test]
    fn what_is_no_word_is_refused() {
        let mut bytes = HELLO.encode();
        bytes[0] ^= 1;
        assert_eq!(HelloHead::parse(&bytes), Err(PeerHandshakeError::Magic));
        let length = 64 * 1024 + 1;
        let long = HelloHead { length, ..HELLO }.encode();
        assert_eq!(
            HelloHead::parse(&long),
            Err(PeerHandshakeError::Length(length))
        );
        let long = WelcomeHead { length, ..WELCOME }.encode();
        assert_eq!(
            WelcomeHead::parse(&long),
            Err(PeerHandshakeError::Length(length))
        );
        let (reason, length) = (1, 1025);
        let long = NoteHead::Closing { reason, length }.encode();
        assert_eq!(
            NoteHead::parse(&long),
            Err(PeerHandshakeError::Length(length))
        );
        assert_eq!(NoteHead::parse(&[0; 16]), Err(PeerHandshakeError::Kind(0)));
    }
}
