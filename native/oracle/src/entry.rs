//! Log entries, read from the offsets that `schemas/log.fbs` tells.

/// An entry's header.
const HEADER_BYTES: usize = 56;
/// A batch's.
const BATCH_BYTES: usize = 56;
/// An item's.
const ITEM_BYTES: usize = 16;

/// Whose items a batch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Those of a session.
    Session,
    /// A transaction under its idempotency key, without a session.
    Stateless,
    /// What the shard's leader says.
    System,
}

/// What stands over a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Whose its items are.
    pub whose: Whose,
    /// Of the session.
    pub birth: u64,
    /// Of the session.
    pub nonce: u64,
    /// Who asks.
    pub principal: u64,
    /// Of the connection.
    pub epoch: u64,
    /// Answers to sequences below it have arrived.
    pub acked_below: u64,
}

/// An item.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    pub sequence: u64,
    pub kind: u8,
    pub payload: &'a [u8],
}

/// An entry.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    pub revision: u64,
    pub lease_ms: u64,
    pub batches: Vec<(Head, Vec<Item<'a>>)>,
}

/// An entry of that apply version with nothing in it.
pub fn empty(apply_version: u16) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[40..42].copy_from_slice(&apply_version.to_le_bytes());
    header
}

/// Reads what follows; an error names what is not there.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize, what: &str) -> Result<&'a [u8], String> {
        let (taken, rest) = self
            .0
            .split_at_checked(bytes)
            .ok_or_else(|| format!("the entry ends inside {what}"))?;
        self.0 = rest;
        Ok(taken)
    }
}

/// Eight bytes as a number.
pub fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// Four.
pub fn half(bytes: &[u8], at: usize) -> u32 {
    let mut half = [0; 4];
    half.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(half)
}

impl<'a> Entry<'a> {
    /// Reads an entry whole.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let mut reader = Reader(bytes);
        let header = reader.take(HEADER_BYTES, "its header")?;
        if header[16..40].iter().any(|byte| *byte != 0) {
            return Err("a field of a later time is set".to_owned());
        }
        // Worlds know later ones that mean the same.
        if header[40..42] == [0, 0] {
            return Err("no apply version".to_owned());
        }
        let (count, items) = (half(header, 44), half(header, 48));
        let mut batches = Vec::new();
        for _ in 0..count {
            batches.push(batch(&mut reader)?);
        }
        let found: usize = batches.iter().map(|(_, items)| items.len()).sum();
        if found != items as usize || !reader.0.is_empty() {
            return Err(format!(
                "the entry says {items} items and holds {found}, and {} bytes more",
                reader.0.len()
            ));
        }
        Ok(Self {
            revision: word(header, 0),
            lease_ms: word(header, 8),
            batches,
        })
    }
}

fn batch<'a>(reader: &mut Reader<'a>) -> Result<(Head, Vec<Item<'a>>), String> {
    let header = reader.take(BATCH_BYTES, "the header of a batch")?;
    let whose = match header[48] {
        1 => Whose::Session,
        2 => Whose::Stateless,
        3 => Whose::System,
        kind => return Err(format!("a batch of kind {kind}")),
    };
    let head = Head {
        whose,
        birth: word(header, 0),
        nonce: word(header, 8),
        principal: word(header, 16),
        epoch: word(header, 24),
        acked_below: word(header, 32),
    };
    let count = half(header, 40);
    let mut inside = Reader(reader.take(half(header, 44) as usize, "a batch")?);
    let mut items = Vec::new();
    for _ in 0..count {
        let header = inside.take(ITEM_BYTES, "the header of an item")?;
        let length = half(header, 8) as usize;
        let payload = inside.take(length, "an item")?;
        inside.take(length.next_multiple_of(8) - length, "an item's padding")?;
        items.push(Item {
            sequence: word(header, 0),
            kind: header[12],
            payload,
        });
    }
    if count == 0 || !inside.0.is_empty() {
        return Err("a batch of another size than it says".to_owned());
    }
    Ok((head, items))
}
