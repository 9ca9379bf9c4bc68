//! Operations, their keys and values, and what a right answer looks like.
//!
//! A value is 64 bytes that follow from the key's number and a stamp, so any
//! reader can tell a right value from a torn, mixed or misplaced one, and one
//! that knows the last writer's stamp can tell a stale one too.

/// Bytes of every key.
pub const KEY_BYTES: usize = 16;
/// Bytes of every value.
pub const VALUE_BYTES: usize = 64;
/// The stamp of a `get` that accepts any stamp, but nothing else wrong.
pub const ANY_STAMP: u64 = u64::MAX;
/// The stamp of preloaded values.
pub const PRELOADED_STAMP: u64 = 0;
/// What every account holds at first.
pub const ACCOUNT_START: i64 = 10_000;

/// What to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: a slot whose answer was taken.
    #[default]
    Answered,
    /// Write the value of (`key`, `stamp`) to key `key`.
    Put,
    /// Read key `key`, whose value must bear `stamp`.
    Get,
    /// Move `amount` from account `key` to account `other` if it has that much.
    Transfer,
    /// Set account `key` to [`ACCOUNT_START`].
    OpenAccount,
    /// Read the number in account `key`.
    ReadAccount,
}

/// One operation; which fields count depends on the kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Operation {
    /// What to do.
    pub kind: Kind,
    /// Number of the key or account.
    pub key: u32,
    /// Number of the receiving account.
    pub other: u32,
    /// What to move; at most two digits.
    pub amount: u32,
    /// The writer's mark in the value.
    pub stamp: u64,
}

/// What a server said, in terms common to all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// A write took effect.
    Done,
    /// A guarded write took effect.
    Applied,
    /// A guard failed; nothing changed.
    Refused,
    /// A value was read.
    Bytes(&'a [u8]),
    /// A number was read.
    Number(i64),
    /// There is no such key.
    Absent,
    /// The echo came back as it was sent.
    Echoed,
}

const DIGIT_PAIRS: [u8; 200] = digit_pairs();

const fn digit_pairs() -> [u8; 200] {
    let mut table = [0; 200];
    let mut number = 0_u8;
    while number < 100 {
        table[number as usize * 2] = b'0' + number / 10;
        table[number as usize * 2 + 1] = b'0' + number % 10;
        number += 1;
    }
    table
}

/// Writes the last eight digits of a number.
#[inline]
pub fn write_digits(number: u32, out: &mut [u8]) {
    let mut rest = number as usize % 100_000_000;
    for pair in out[..8].rchunks_exact_mut(2) {
        let digits = rest % 100 * 2;
        pair.copy_from_slice(&DIGIT_PAIRS[digits..digits + 2]);
        rest /= 100;
    }
}

/// Writes two digits; `amount` is below 100.
#[inline]
pub fn write_amount(amount: u32, out: &mut [u8]) {
    let digits = amount as usize % 100 * 2;
    out[..2].copy_from_slice(&DIGIT_PAIRS[digits..digits + 2]);
}

/// The key of a value: `entries/` and eight digits.
pub fn entry_key(number: u32) -> [u8; KEY_BYTES] {
    key(*b"entries/00000000", number)
}

/// The key of an account: `account/` and eight digits.
pub fn account_key(number: u32) -> [u8; KEY_BYTES] {
    key(*b"account/00000000", number)
}

fn key(mut template: [u8; KEY_BYTES], number: u32) -> [u8; KEY_BYTES] {
    write_digits(number, &mut template[8..]);
    template
}

/// Where the eight digits of a key begin.
pub const KEY_DIGITS_AT: usize = 8;

#[inline]
fn word(key: u32, stamp: u64, position: u32) -> u64 {
    match position {
        0 => u64::from(key),
        1 => stamp,
        // Odd multipliers from the golden ratio: every bit of key and stamp reaches each word.
        _ => (stamp ^ (u64::from(key) << 20))
            .wrapping_add(u64::from(position))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(position * 7),
    }
}

/// Writes the value that belongs to a key and a stamp.
#[inline]
pub fn write_value(key: u32, stamp: u64, out: &mut [u8]) {
    for (position, chunk) in (0..).zip(out[..VALUE_BYTES].chunks_exact_mut(8)) {
        chunk.copy_from_slice(&word(key, stamp, position).to_le_bytes());
    }
}

/// Whether bytes are the value of a key with this stamp ([`ANY_STAMP`]: with any).
#[inline]
pub fn value_is_right(key: u32, stamp: u64, bytes: &[u8]) -> bool {
    if bytes.len() != VALUE_BYTES {
        return false;
    }
    let mut words = bytes
        .chunks_exact(8)
        .map(|chunk| u64::from_le_bytes(chunk.try_into().expect("chunks are of eight bytes")));
    let Some(key_word) = words.next() else {
        return false;
    };
    let Some(found) = words.next() else {
        return false;
    };
    if key_word != u64::from(key) || (stamp != ANY_STAMP && found != stamp) {
        return false;
    }
    let mut position = 2;
    words.all(|found_word| {
        let right = found_word == word(key, found, position);
        position += 1;
        right
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hold_their_number() {
        assert_eq!(&entry_key(42), b"entries/00000042");
        assert_eq!(&account_key(99_999_999), b"account/99999999");
    }

    #[test]
    fn a_value_is_right_only_for_its_key_and_stamp() {
        let mut value = [0; VALUE_BYTES];
        write_value(7, 9, &mut value);
        assert!(value_is_right(7, 9, &value));
        assert!(value_is_right(7, ANY_STAMP, &value));
        assert!(!value_is_right(8, 9, &value));
        assert!(!value_is_right(7, 10, &value));
        assert!(!value_is_right(7, 9, &value[..63]));
    }

    #[test]
    fn every_flipped_bit_of_a_value_is_noticed() {
        let mut value = [0; VALUE_BYTES];
        write_value(123_456, 77, &mut value);
        for bit in 0..VALUE_BYTES * 8 {
            let mut wrong = value;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(!value_is_right(123_456, ANY_STAMP, &wrong), "bit {bit}");
        }
    }
}
