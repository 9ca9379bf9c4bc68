//! The searchable part of a node: a prefix that its keys share, and behind it the next four bytes of
//! each key ("head"), side by side. A search compares the prefix once and all heads at once, and
//! looks at whole keys only where heads tie; for most keys that is one.

use super::slots::{Keyed, SLOTS, Slots};
use std::cmp::Ordering;

/// Prefix bytes kept in the node; those of a longer prefix are read from the first key.
const INLINE_BYTES: usize = 56;

/// Bytes of a key in a head.
const HEAD_BYTES: usize = size_of::<u32>();

/// Cache lines of [`Heads`].
pub(super) const HEADS_LINES: usize = size_of::<Heads>() / 64;

/// The four bytes behind the prefix, zero-padded, as a number whose order is that of the bytes.
/// (Signed, because SSE2 compares only signed numbers.)
type Head = i32;

/// Above or equal to every head; fills the unused places, so that a search need not know the length.
const UNUSED: Head = Head::MAX;

/// Prefix and heads of the keys in a node. The keys themselves (records or separators) are in a
/// [`Slots`] next to it, which most functions take as `keys`.
#[repr(C, align(64))]
pub(super) struct Heads {
    len: u32,
    prefix_bytes: u32,
    /// The first bytes of the prefix.
    inline: [u8; INLINE_BYTES],
    /// The heads.
    words: [Head; SLOTS],
}

fn head(rest: &[u8]) -> Head {
    let word = match rest.first_chunk() {
        Some(bytes) => u32::from_be_bytes(*bytes),
        None => padded(rest),
    };
    from_word(word)
}

/// Up to four bytes as a big-endian number, zero-padded behind.
fn padded(bytes: &[u8]) -> u32 {
    let mut word = [0; HEAD_BYTES];
    for (to, from) in word.iter_mut().zip(bytes) {
        *to = *from;
    }
    u32::from_be_bytes(word)
}

const fn from_word(word: u32) -> Head {
    (word ^ 0x8000_0000).cast_signed()
}

const fn to_word(head: Head) -> u32 {
    head.cast_unsigned() ^ 0x8000_0000
}

/// Bytes that two keys share from their beginning.
pub(super) fn common_bytes(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// What changes heads when the prefix gets shorter: the bytes it loses come in front.
struct Shift {
    word: u32,
    bits: u32,
}

impl Shift {
    /// For a prefix cut at `at`.
    fn new(prefix: &[u8], at: usize) -> Self {
        let lost = &prefix[at.min(prefix.len())..];
        let bytes = lost.len().min(HEAD_BYTES);
        // At most four bytes.
        #[expect(clippy::cast_possible_truncation)]
        Self {
            word: padded(lost),
            bits: 8 * bytes as u32,
        }
    }

    fn apply(&self, old: Head) -> Head {
        from_word(self.word | to_word(old).checked_shr(self.bits).unwrap_or(0))
    }
}

impl Heads {
    pub(super) const fn new() -> Self {
        Self {
            len: 0,
            prefix_bytes: 0,
            inline: [0; INLINE_BYTES],
            words: [UNUSED; SLOTS],
        }
    }

    /// Count of keys.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// Bytes of the prefix.
    #[inline]
    pub(super) fn prefix_bytes(&self) -> usize {
        self.prefix_bytes as usize
    }

    #[expect(clippy::cast_possible_truncation)]
    fn set_len(&mut self, len: usize) {
        debug_assert!(len <= SLOTS);
        self.len = len as u32;
    }

    /// Sets the prefix to the first `bytes` of `key`.
    fn set_prefix(&mut self, key: &[u8], bytes: usize) {
        // Keys are at most `Record::KEY_BYTES_MAX` long.
        #[expect(clippy::cast_possible_truncation)]
        {
            self.prefix_bytes = bytes as u32;
        }
        let inline = bytes.min(INLINE_BYTES);
        self.inline[..inline].copy_from_slice(&key[..inline]);
    }

    #[inline]
    fn prefix<'k, T: Keyed>(&'k self, keys: &'k Slots<T>) -> &'k [u8] {
        let bytes = self.prefix_bytes();
        match self.inline.get(..bytes) {
            Some(prefix) => prefix,
            None => &keys.key(0)[..bytes],
        }
    }

    /// The run of slots that `key` ties with, or an empty run at its place. `known` bytes at the
    /// beginning are known to be those of all keys here.
    #[inline]
    pub(super) fn narrow<T: Keyed>(
        &self,
        key: &[u8],
        known: usize,
        keys: &Slots<T>,
    ) -> (usize, usize) {
        let prefix_bytes = self.prefix_bytes();
        if known < prefix_bytes {
            let prefix = &self.prefix(keys)[known..];
            let own = &key[known..prefix_bytes.min(key.len())];
            match own.cmp(prefix) {
                Ordering::Less => return (0, 0),
                Ordering::Greater => return (self.len(), self.len()),
                Ordering::Equal => {}
            }
        }
        self.tied(head(&key[prefix_bytes..]))
    }

    /// As [`Self::narrow`], for a key that is taken to have the prefix, without looking at any
    /// other key.
    #[inline]
    pub(super) fn guess(&self, key: &[u8]) -> (usize, usize) {
        self.tied(head(key.get(self.prefix_bytes()..).unwrap_or_default()))
    }

    #[inline]
    fn tied(&self, head: Head) -> (usize, usize) {
        let below = self
            .words
            .iter()
            .map(|&other| i32::from(other < head))
            .sum::<i32>();
        let start = below.cast_unsigned() as usize;
        let mut end = start;
        while end < self.len() && self.words[end] == head {
            end += 1;
        }
        (start, end)
    }

    /// Finishes a search by comparing whole keys: the slot of `key`, or else its place.
    #[inline]
    pub(super) fn settle<T: Keyed>(
        &self,
        key: &[u8],
        (mut start, mut end): (usize, usize),
        keys: &Slots<T>,
    ) -> Result<usize, usize> {
        let prefix_bytes = self.prefix_bytes();
        while start < end {
            let middle = usize::midpoint(start, end);
            match keys.key(middle)[prefix_bytes..].cmp(&key[prefix_bytes..]) {
                Ordering::Less => start = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => end = middle,
            }
        }
        Err(start)
    }

    /// The slot of `key`, or else its place.
    #[inline]
    pub(super) fn find<T: Keyed>(
        &self,
        key: &[u8],
        known: usize,
        keys: &Slots<T>,
    ) -> Result<usize, usize> {
        self.settle(key, self.narrow(key, known, keys), keys)
    }

    /// Makes room for `key` at `slot`; call before the key is inserted into `keys`.
    pub(super) fn insert<T: Keyed>(&mut self, slot: usize, key: &[u8], keys: &Slots<T>) {
        let len = self.len();
        if len == 0 {
            self.set_prefix(key, key.len());
        } else {
            let shared = common_bytes(self.prefix(keys), key);
            self.shorten(shared, keys);
        }
        self.words.copy_within(slot..len, slot + 1);
        self.words[slot] = head(&key[self.prefix_bytes()..]);
        self.set_len(len + 1);
    }

    /// Drops the key at `slot`; independent of when it leaves its [`Slots`].
    pub(super) fn remove(&mut self, slot: usize) {
        let len = self.len();
        self.words.copy_within(slot + 1..len, slot);
        self.words[len - 1] = UNUSED;
        self.set_len(len - 1);
        if len == 1 {
            self.prefix_bytes = 0;
        }
    }

    /// Cuts the prefix to `bytes`, if it is longer.
    fn shorten<T: Keyed>(&mut self, bytes: usize, keys: &Slots<T>) {
        if bytes >= self.prefix_bytes() {
            return;
        }
        let shift = Shift::new(self.prefix(keys), bytes);
        let len = self.len();
        for head in &mut self.words[..len] {
            *head = shift.apply(*head);
        }
        // Shorter than it was: what is inline stays right, and if the prefix was too long for it,
        // its first bytes are there all the same.
        #[expect(clippy::cast_possible_truncation)]
        {
            self.prefix_bytes = bytes as u32;
        }
    }

    /// Moves the slots `from..until` to the beginning (`at` 0) or the end (`at` its length) of another
    /// node's; call before the keys move.
    pub(super) fn transfer<T: Keyed>(
        &mut self,
        (from, until): (usize, usize),
        keys: &Slots<T>,
        into: &mut Self,
        into_keys: &Slots<T>,
        at: usize,
    ) {
        let (len, into_len, moved) = (self.len(), into.len(), until - from);
        if moved == 0 {
            return;
        }
        if into_len == 0 {
            into.set_prefix(keys.key(from), self.prefix_bytes());
        } else {
            let (low, high) = if at == 0 {
                (keys.key(from), into_keys.key(into_len - 1))
            } else {
                (into_keys.key(0), keys.key(until - 1))
            };
            let shared = common_bytes(low, high).min(self.prefix_bytes());
            into.shorten(shared, into_keys);
        }
        let shift = Shift::new(self.prefix(keys), into.prefix_bytes());
        into.words.copy_within(at..into_len, at + moved);
        for (to, head) in into.words[at..].iter_mut().zip(&self.words[from..until]) {
            *to = shift.apply(*head);
        }
        into.set_len(into_len + moved);
        self.words.copy_within(until..len, from);
        self.words[len - moved..len].fill(UNUSED);
        self.set_len(len - moved);
        if len == moved {
            self.prefix_bytes = 0;
        }
    }

    /// Lengthens the prefix to what the keys share, if heads tie; call after a split. Reads all keys
    /// then, which is why it does not bother where heads tell the keys apart already.
    pub(super) fn tighten<T: Keyed>(&mut self, keys: &Slots<T>) {
        let len = self.len();
        if !self.words[..len].windows(2).any(|pair| pair[0] == pair[1]) {
            return;
        }
        let first = keys.key(0);
        let shared = common_bytes(first, keys.key(len - 1));
        if shared > self.prefix_bytes() {
            self.set_prefix(first, shared);
            for (slot, to) in self.words[..len].iter_mut().enumerate() {
                *to = head(&keys.key(slot)[shared..]);
            }
        }
    }

    /// Verifies prefix, heads and order against the keys.
    pub(super) fn check<T: Keyed>(&self, keys: &Slots<T>) -> Result<(), String> {
        let len = self.len();
        if len > SLOTS {
            return Err(format!("{len} keys in a node"));
        }
        let mut last: Option<&[u8]> = None;
        for slot in 0..SLOTS {
            let Some(key) = keys.get(slot).map(Keyed::key) else {
                if slot < len || self.words[slot] != UNUSED {
                    return Err(format!("slot {slot} of {len} is empty or its head stale"));
                }
                continue;
            };
            if slot >= len {
                return Err(format!("slot {slot} of {len} is in use"));
            }
            if last.is_some_and(|last| last >= key) {
                return Err(format!("keys out of order at slot {slot}: {key:?}"));
            }
            if !key.starts_with(self.prefix(keys)) {
                return Err(format!("key without its node's prefix: {key:?}"));
            }
            if self.words[slot] != head(&key[self.prefix_bytes()..]) {
                return Err(format!("wrong head at slot {slot}: {key:?}"));
            }
            last = Some(key);
        }
        Ok(())
    }
}
