//! The searchable part of a node: a prefix that its keys share, and behind it the next four bytes of
//! each key ("word"), side by side. A search compares all words at once, and looks at whole keys only
//! where words tie; for most keys that is one. Inner nodes also keep the four bytes after that
//! ("tail"), which settle most ties: their separators are often dense, and one search passes several.

use super::slots::{Keyed, SLOTS, Slots};
use std::cmp::Ordering;

/// Prefix bytes kept in the node; those of a longer prefix are read from the first key.
const INLINE_BYTES: usize = 32;

/// Bytes of a key in a head: word and tail together.
const HEAD_BYTES: usize = size_of::<u64>();

/// Cache lines that a search reads in any case: lengths and words.
pub(super) const SEARCH_LINES: usize = 4;

/// The four bytes behind the prefix, zero-padded, as a number whose order is that of the bytes.
/// (Signed, because SSE2 compares only signed numbers.)
type Word = i32;

/// Above or equal to every word; fills the unused places, so that a search need not know the length.
const UNUSED: Word = Word::MAX;

/// Prefix and heads of the keys in a node. The keys themselves (records or separators) are in a
/// [`Slots`] next to it, which most functions take as `keys`. `TAILS` is `SLOTS` or 0, for none.
#[repr(C)]
pub(super) struct Heads<const TAILS: usize> {
    len: u32,
    prefix_bytes: u32,
    /// Brings the words to a multiple of 16 bytes, where vectors are loaded from.
    _pad: [u32; 2],
    words: [Word; SLOTS],
    /// The first bytes of the prefix.
    inline: [u8; INLINE_BYTES],
    tails: [u32; TAILS],
}

const _: () = assert!(size_of::<Heads<0>>() - INLINE_BYTES == SEARCH_LINES * 64);

/// The eight bytes behind the prefix, zero-padded, as a number whose order is that of the bytes.
#[inline]
fn head(rest: &[u8]) -> u64 {
    match rest.first_chunk() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => padded(rest),
    }
}

/// Up to eight bytes as a big-endian number, zero-padded behind.
#[inline]
fn padded(bytes: &[u8]) -> u64 {
    let mut head = [0; HEAD_BYTES];
    for (to, from) in head.iter_mut().zip(bytes) {
        *to = *from;
    }
    u64::from_be_bytes(head)
}

/// The first half of a head.
#[inline]
const fn word(head: u64) -> Word {
    // The upper half fits.
    ((head >> 32) as u32 ^ 0x8000_0000).cast_signed()
}

/// The second half of a head.
#[inline]
#[expect(clippy::cast_possible_truncation)]
const fn tail(head: u64) -> u32 {
    head as u32
}

/// Bytes that two keys share from their beginning.
pub(super) fn common_bytes(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// What changes heads when the prefix gets shorter: the bytes it loses come in front.
struct Shift {
    front: u64,
    bits: u32,
}

impl Shift {
    /// For a prefix cut at `at`.
    fn new(prefix: &[u8], at: usize) -> Self {
        let lost = &prefix[at.min(prefix.len())..];
        let bytes = lost.len().min(HEAD_BYTES);
        // At most eight bytes.
        #[expect(clippy::cast_possible_truncation)]
        Self {
            front: padded(lost),
            bits: 8 * bytes as u32,
        }
    }

    fn apply(&self, head: u64) -> u64 {
        self.front | head.checked_shr(self.bits).unwrap_or(0)
    }
}

impl<const TAILS: usize> Heads<TAILS> {
    pub(super) const fn new() -> Self {
        Self {
            len: 0,
            prefix_bytes: 0,
            _pad: [0; 2],
            words: [UNUSED; SLOTS],
            inline: [0; INLINE_BYTES],
            tails: [0; TAILS],
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

    /// The head at a slot; without a tail, its second half is zero.
    fn head(&self, slot: usize) -> u64 {
        let word = self.words[slot].cast_unsigned() ^ 0x8000_0000;
        let tail = self.tails.get(slot).copied().unwrap_or_default();
        u64::from(word) << 32 | u64::from(tail)
    }

    fn set_head(&mut self, slot: usize, head: u64) {
        self.words[slot] = word(head);
        if let Some(place) = self.tails.get_mut(slot) {
            *place = tail(head);
        }
    }

    /// Moves the heads of `from..until` to where `to` is the first.
    fn move_heads(&mut self, from: usize, until: usize, to: usize) {
        self.words.copy_within(from..until, to);
        if TAILS > 0 {
            self.tails.copy_within(from..until, to);
        }
    }

    /// Whether a key has the prefix, from byte `known` on, if that can be seen at one or two glances
    /// of eight bytes; they may overlap, and begin before `known`.
    #[inline]
    fn begins_alike(&self, key: &[u8], known: usize) -> bool {
        const GLANCE: usize = size_of::<u64>();
        let bytes = self.prefix_bytes();
        let alike = |at: usize| {
            let own = key.get(at..).and_then(<[u8]>::first_chunk::<GLANCE>);
            let prefix = self.inline.get(at..).and_then(<[u8]>::first_chunk);
            own.is_some() && own == prefix
        };
        if bytes >= GLANCE {
            // The last eight bytes of the prefix, and those before, as far as they are not known.
            let last = bytes - GLANCE;
            return alike(last) && (last <= known || last - known <= GLANCE && alike(known));
        }
        let (Some(own), Some(prefix)) = (
            key.first_chunk::<GLANCE>(),
            self.inline.first_chunk::<GLANCE>(),
        ) else {
            return false;
        };
        let differing = u64::from_be_bytes(*own) ^ u64::from_be_bytes(*prefix);
        // Of a prefix of no bytes nothing is unknown.
        differing >> (u64::BITS as usize - 8 * bytes.max(1)) == 0
    }

    /// How a key's beginning compares to the prefix, from byte `known` on. Apart from the search, so
    /// that this does not load the first key before it is needed.
    #[inline(never)]
    fn compare_prefix<T: Keyed>(&self, key: &[u8], known: usize, keys: &Slots<T>) -> Ordering {
        let own = &key[known..self.prefix_bytes().min(key.len())];
        own.cmp(&self.prefix(keys)[known..])
    }

    /// The run of slots that `key` may be among or, if it is empty, where it would be inserted.
    /// `known` bytes at the beginning are known to be those of all keys here.
    #[inline]
    pub(super) fn narrow<T: Keyed>(
        &self,
        key: &[u8],
        known: usize,
        keys: &Slots<T>,
    ) -> (usize, usize) {
        let prefix_bytes = self.prefix_bytes();
        if known < prefix_bytes && !self.begins_alike(key, known) {
            match self.compare_prefix(key, known, keys) {
                Ordering::Less => return (0, 0),
                Ordering::Greater => return (self.len(), self.len()),
                Ordering::Equal => {}
            }
        }
        self.tied(&key[prefix_bytes..])
    }

    /// The run of slots that `key` may be among, found without a look at the prefix. If the key is
    /// not there, where the run is means nothing.
    #[inline]
    pub(super) fn guess(&self, key: &[u8]) -> (usize, usize) {
        self.tied(key.get(self.prefix_bytes()..).unwrap_or_default())
    }

    /// Count of words below another. All of them are looked at, in vectors: no branch to predict and
    /// no load that waits for another.
    #[inline]
    fn count_below(&self, word: Word) -> usize {
        let below: Word = self
            .words
            .iter()
            .map(|&other| Word::from(other < word))
            .sum();
        below.cast_unsigned() as usize
    }

    /// The slots whose heads tie with that of a key, given what it has behind the prefix.
    #[inline]
    fn tied(&self, rest: &[u8]) -> (usize, usize) {
        let head = head(rest);
        let word = word(head);
        let mut start = self.count_below(word);
        let mut end = start;
        while end < self.len() && self.words[end] == word {
            end += 1;
        }
        if TAILS > 0 {
            let tail = tail(head);
            while start < end && self.tails[start] < tail {
                start += 1;
            }
            while start < end && self.tails[end - 1] > tail {
                end -= 1;
            }
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

    /// Makes room for `key` at `slot`; call before the key is inserted into `keys`.
    pub(super) fn insert<T: Keyed>(&mut self, slot: usize, key: &[u8], keys: &Slots<T>) {
        let len = self.len();
        if len == 0 {
            self.set_prefix(key, key.len());
        } else {
            let shared = common_bytes(self.prefix(keys), key);
            self.shorten(shared, keys);
        }
        self.move_heads(slot, len, slot + 1);
        self.set_head(slot, head(&key[self.prefix_bytes()..]));
        self.set_len(len + 1);
    }

    /// Drops the key at `slot`; independent of when it leaves its [`Slots`].
    pub(super) fn remove(&mut self, slot: usize) {
        let len = self.len();
        self.move_heads(slot + 1, len, slot);
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
        for slot in 0..len {
            self.set_head(slot, shift.apply(self.head(slot)));
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
        into.move_heads(at, into_len, at + moved);
        for slot in 0..moved {
            into.set_head(at + slot, shift.apply(self.head(from + slot)));
        }
        into.set_len(into_len + moved);
        self.move_heads(until, len, from);
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
            for slot in 0..len {
                self.set_head(slot, head(&keys.key(slot)[shared..]));
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
            let mut head = head(&key[self.prefix_bytes()..]);
            if TAILS == 0 {
                head &= 0xffff_ffff_0000_0000;
            }
            if self.head(slot) != head {
                return Err(format!("wrong head at slot {slot}: {key:?}"));
            }
            last = Some(key);
        }
        Ok(())
    }
}
