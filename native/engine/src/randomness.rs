//! Numbers from the operating system's randomness.

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

/// A number.
pub(crate) fn random_u64() -> io::Result<u64> {
    Ok(u64::from_le_bytes(random_bytes()?))
}

/// Bytes, of a key for example.
pub(crate) fn random_bytes<const BYTES: usize>() -> io::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    let mut filled = 0;
    while filled < BYTES {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}
