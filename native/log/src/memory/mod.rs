//! A disk in memory that keeps apart what is durable and what is only written,
//! and fails as it is told. For tests and the simulator; deterministic.

mod commit;
mod sparse;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::aligned::BLOCK_BYTES;
use crate::sector::SECTOR_BYTES;
use crate::{AlignedBuf, Disk, FileInfo};
pub use commit::commit_entry;
use sparse::Sparse;

/// The unit in which unsynced bytes survive a crash or do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tear {
    /// All that was written survives, as when only the process died.
    Nothing,
    /// Nothing unsynced survives.
    All,
    /// Each 512-byte sector by itself.
    Sector,
    /// Each 4096-byte block by itself.
    Block,
}

/// What happens to one operation instead of what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails and changes nothing; except that a sync that fails forgets what it should have flushed,
    /// as kernels do: a later sync that succeeds does not make those bytes durable.
    Fail(io::ErrorKind),
    /// A write is reported done, but never reaches the file.
    Lose,
    /// A write is reported done, but lands this many blocks further (or nearer).
    Misdirect {
        /// Blocks of 4096 bytes.
        blocks: i64,
    },
    /// A sync is reported done, but makes nothing durable yet.
    Lie,
}

/// How often each fault struck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// [`Fault::Fail`].
    pub failed: u64,
    /// [`Fault::Lose`] of a write.
    pub lost: u64,
    /// [`Fault::Misdirect`] of a write.
    pub misdirected: u64,
    /// [`Fault::Lie`] of a sync.
    pub lied: u64,
    /// Operations that found the disk full.
    pub full: u64,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    /// What reads see.
    live: Sparse,
    /// What is sure to survive a crash.
    durable: Sparse,
    /// Blocks in which they may differ.
    dirty: BTreeSet<u64>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(String, u64),
    Rename(String, String),
    Unlink(String),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Link(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Self::Unlink(name) => {
                names.remove(name);
            }
        }
    }
}

/// A disk in memory.
#[derive(Clone, Debug)]
pub struct MemoryDisk {
    inodes: BTreeMap<u64, Inode>,
    inode_last: u64,
    names: BTreeMap<String, u64>,
    names_durable: BTreeMap<String, u64>,
    /// Changes of names since the last directory sync; a crash keeps a prefix of them.
    name_changes: Vec<NameChange>,
    capacity: u64,
    operations: u64,
    crash_after: Option<u64>,
    faults: BTreeMap<u64, Fault>,
    unreadable: BTreeSet<String>,
    counts: FaultCounts,
}

impl Default for MemoryDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryDisk {
    /// An empty disk of unlimited size.
    pub fn new() -> Self {
        Self {
            inodes: BTreeMap::new(),
            inode_last: 0,
            names: BTreeMap::new(),
            names_durable: BTreeMap::new(),
            name_changes: Vec::new(),
            capacity: u64::MAX,
            operations: 0,
            crash_after: None,
            faults: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            counts: FaultCounts::default(),
        }
    }

    /// Limits the sum of the files' lengths.
    pub fn set_capacity(&mut self, bytes: u64) {
        self.capacity = bytes;
    }

    /// Bytes of all files together.
    pub fn used_bytes(&self) -> u64 {
        self.names
            .values()
            .map(|inode| self.inodes[inode].live.len)
            .sum()
    }

    /// Operations that change something, so far: create, write, sync, rename, remove and directory sync
    /// count one each, a durable write and a small file two.
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// From then on all operations fail: those up to number `operation` are carried out.
    pub fn crash_after(&mut self, operation: u64) {
        self.crash_after = Some(operation);
    }

    /// Whether an operation was refused because of [`MemoryDisk::crash_after`].
    pub fn is_crashed(&self) -> bool {
        self.crash_after.is_some_and(|last| self.operations > last)
    }

    /// Operation number `operation` (the first is 1) goes wrong. A fault that does not fit the
    /// operation's kind does nothing.
    pub fn inject(&mut self, operation: u64, fault: Fault) {
        self.faults.insert(operation, fault);
    }

    /// The operation that comes next goes wrong.
    pub fn inject_next(&mut self, fault: Fault) {
        self.inject(self.operations + 1, fault);
    }

    /// How often each fault struck.
    pub fn fault_counts(&self) -> FaultCounts {
        self.counts
    }

    /// The disk as found after only the process was killed: all that was written is seen, and what was not
    /// synced is still not durable.
    #[must_use]
    pub fn kill(&self) -> Self {
        let mut after = self.clone();
        after.crash_after = None;
        after.faults.clear();
        after
    }

    /// The disk as found after power was lost, torn as `seed` has it: the unit of tearing is drawn too.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let tear = match Draw(seed).next() % 8 {
            0 => Tear::Nothing,
            1 => Tear::All,
            2..5 => Tear::Block,
            _ => Tear::Sector,
        };
        self.crash_torn(seed, tear)
    }

    /// The disk as found after power was lost, torn in that unit.
    #[must_use]
    pub fn crash_torn(&self, seed: u64, tear: Tear) -> Self {
        let mut draw = Draw(seed ^ 0x5eed);
        let mut after = Self::new();
        after.capacity = self.capacity;
        after.inode_last = self.inode_last;
        after.names = self.names_durable.clone();
        let changes = self.name_changes.len() as u64;
        let kept = match tear {
            Tear::Nothing => changes,
            Tear::All => 0,
            Tear::Sector | Tear::Block => draw.next() % (changes + 1),
        };
        for change in self
            .name_changes
            .iter()
            .take(usize::try_from(kept).unwrap_or(usize::MAX))
        {
            change.apply(&mut after.names);
        }
        after.names_durable = after.names.clone();
        for &number in after.names.values() {
            let content = survivors(&self.inodes[&number], tear, &mut draw);
            let inode = Inode {
                live: content.clone(),
                durable: content,
                dirty: BTreeSet::new(),
            };
            after.inodes.insert(number, inode);
        }
        after
    }

    /// Length of a file.
    pub fn file_len(&self, name: &str) -> Option<u64> {
        Some(self.inodes[self.names.get(name)?].live.len)
    }

    /// All bytes of a file as reads see them.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let live = &self.inodes[self.names.get(name)?].live;
        let mut bytes = vec![0; usize::try_from(live.len).ok()?];
        live.read(0, &mut bytes);
        Some(bytes)
    }

    /// Rot: flips one bit (0 to 7) of a byte, durably. False if there is no such byte.
    pub fn flip_bit(&mut self, name: &str, offset: u64, bit: u32) -> bool {
        let Some(inode) = self.inode_mut(name) else {
            return false;
        };
        let mut byte = [0];
        if inode.live.read(offset, &mut byte) == 0 {
            return false;
        }
        byte[0] ^= 1 << (bit % 8);
        inode.live.write(offset, &byte);
        inode.durable.write(offset, &byte);
        true
    }

    /// Rot: overwrites bytes durably. False if there is no such file.
    pub fn overwrite(&mut self, name: &str, offset: u64, bytes: &[u8]) -> bool {
        let Some(inode) = self.inode_mut(name) else {
            return false;
        };
        inode.live.write(offset, bytes);
        inode.durable.write(offset, bytes);
        true
    }

    /// Reads of the file of that name fail from now on, as with a bad sector under it.
    pub fn fail_reads_of(&mut self, name: &str) {
        self.unreadable.insert(name.to_owned());
    }

    /// Someone cuts the file short, or makes it longer, durably. False if there is no such file.
    pub fn set_file_len(&mut self, name: &str, len: u64) -> bool {
        let Some(inode) = self.inode_mut(name) else {
            return false;
        };
        inode.live.set_len(len);
        inode.durable.set_len(len);
        true
    }

    /// Someone removes the file, durably. False if there is none.
    pub fn delete_file(&mut self, name: &str) -> bool {
        self.names_durable.remove(name);
        self.names.remove(name).is_some()
    }

    fn inode_mut(&mut self, name: &str) -> Option<&mut Inode> {
        self.inodes.get_mut(self.names.get(name)?)
    }

    fn existing(&mut self, name: &str) -> io::Result<&mut Inode> {
        self.inode_mut(name).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("{name} does not exist"))
        })
    }

    /// Counts an operation; says what is to go wrong with it.
    fn operation(&mut self) -> io::Result<Option<Fault>> {
        self.operations += 1;
        if self.is_crashed() {
            return Err(io::Error::other("the machine has crashed"));
        }
        match self.faults.remove(&self.operations) {
            Some(Fault::Fail(kind)) => {
                self.counts.failed += 1;
                Err(io::Error::new(kind, "injected failure"))
            }
            fault => Ok(fault),
        }
    }

    /// Writing over what a file has takes none, however full the disk is.
    fn take_space(&mut self, bytes: u64) -> io::Result<()> {
        if bytes > 0 && self.used_bytes().saturating_add(bytes) > self.capacity {
            self.counts.full += 1;
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "the disk is full",
            ));
        }
        Ok(())
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }
}

/// What is left of a file after a crash.
fn survivors(inode: &Inode, tear: Tear, draw: &mut Draw) -> Sparse {
    match tear {
        Tear::Nothing => return inode.live.clone(),
        Tear::All => return inode.durable.clone(),
        Tear::Sector | Tear::Block => {}
    }
    let mut after = inode.durable.clone();
    // Either the new length got to the disk or not; bytes beyond the old one are lost if not.
    if inode.live.len > after.len && draw.next().is_multiple_of(2) {
        after.set_len(inode.live.len);
    }
    let unit = if tear == Tear::Block {
        BLOCK_BYTES
    } else {
        SECTOR_BYTES
    };
    // Some crashes find almost all written, some almost nothing.
    let chance = draw.next() % 5;
    for &block in &inode.dirty {
        let mut bytes = *inode.durable.block(block);
        for place in (0..BLOCK_BYTES).step_by(unit) {
            if draw.next() % 4 < chance {
                let live = inode.live.block(block);
                bytes[place..place + unit].copy_from_slice(&live[place..place + unit]);
            }
        }
        if block * (BLOCK_BYTES as u64) < after.len {
            after.set_block(block, &bytes);
        }
    }
    after
}

/// A small generator of numbers (splitmix64).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Disk for MemoryDisk {
    fn list(&mut self) -> io::Result<Vec<FileInfo>> {
        if self.is_crashed() {
            return Err(io::Error::other("the machine has crashed"));
        }
        let info = |(name, inode): (&String, &u64)| FileInfo {
            name: name.clone(),
            len: self.inodes[inode].live.len,
        };
        Ok(self.names.iter().map(info).collect())
    }

    fn create(&mut self, name: &str, len: u64) -> io::Result<()> {
        self.operation()?;
        self.take_space(len)?;
        self.inode_last += 1;
        let zeros = Sparse::zeroed(len);
        let inode = Inode {
            live: zeros.clone(),
            durable: zeros,
            dirty: BTreeSet::new(),
        };
        self.inodes.insert(self.inode_last, inode);
        self.change_name(NameChange::Link(name.into(), self.inode_last));
        Ok(())
    }

    fn read(&mut self, name: &str, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if self.is_crashed() {
            return Err(io::Error::other("the machine has crashed"));
        }
        assert!(
            offset.is_multiple_of(BLOCK_BYTES as u64) && buf.len().is_multiple_of(BLOCK_BYTES),
            "reads are aligned to blocks"
        );
        if self.unreadable.contains(name) {
            return Err(io::Error::other("a bad sector"));
        }
        Ok(self.existing(name)?.live.read(offset, buf))
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let fault = self.operation()?;
        let block_bytes = BLOCK_BYTES as u64;
        assert!(
            offset.is_multiple_of(block_bytes) && bytes.len().is_multiple_of(BLOCK_BYTES),
            "writes are aligned to blocks"
        );
        let len = self.existing(name)?.live.len;
        self.take_space((offset + bytes.len() as u64).saturating_sub(len))?;
        let mut target = offset;
        match fault {
            Some(Fault::Lose) => {
                self.counts.lost += 1;
                return Ok(());
            }
            Some(Fault::Misdirect { blocks }) => {
                let moved = (offset / block_bytes).checked_add_signed(blocks);
                // Nothing lands outside the file.
                match moved.map(|block| block * block_bytes) {
                    Some(moved) if moved + bytes.len() as u64 <= len => target = moved,
                    _ => {}
                }
                if target != offset {
                    self.counts.misdirected += 1;
                }
            }
            _ => {}
        }
        let inode = self.existing(name)?;
        inode.live.write(target, bytes);
        inode
            .dirty
            .extend(sparse::pieces(target, bytes.len()).map(|(block, ..)| block));
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let lies = match self.operation() {
            Ok(fault) => fault == Some(Fault::Lie),
            Err(error) => {
                if !self.is_crashed()
                    && let Some(inode) = self.inode_mut(name)
                {
                    inode.dirty.clear();
                }
                return Err(error);
            }
        };
        if lies {
            self.counts.lied += 1;
            self.existing(name)?;
            return Ok(());
        }
        let inode = self.existing(name)?;
        for block in std::mem::take(&mut inode.dirty) {
            inode.durable.share_block(block, &inode.live);
        }
        inode.durable.len = inode.live.len;
        Ok(())
    }

    fn write_durable(&mut self, name: &str, offset: u64, bytes: &AlignedBuf) -> io::Result<()> {
        self.write(name, offset, bytes.as_slice())?;
        self.sync(name)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.operation()?;
        self.existing(from)?;
        self.change_name(NameChange::Rename(from.into(), to.into()));
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.operation()?;
        self.existing(name)?;
        self.change_name(NameChange::Unlink(name.into()));
        Ok(())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        if self.operation()? == Some(Fault::Lie) {
            self.counts.lied += 1;
            return Ok(());
        }
        self.names_durable = self.names.clone();
        self.name_changes.clear();
        let reachable: BTreeSet<u64> = self.names.values().copied().collect();
        self.inodes.retain(|number, _| reachable.contains(number));
        Ok(())
    }

    fn is_cached(&self) -> bool {
        true
    }

    fn read_small(&mut self, name: &str) -> io::Result<Option<Vec<u8>>> {
        if self.is_crashed() {
            return Err(io::Error::other("the machine has crashed"));
        }
        Ok(self.contents(name))
    }

    fn write_small(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.create(name, 0)?;
        self.take_space(bytes.len() as u64)?;
        let inode = self.existing(name)?;
        inode.live.write(0, bytes);
        inode
            .dirty
            .extend(sparse::pieces(0, bytes.len()).map(|(block, ..)| block));
        self.sync(name)
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        Ok(self.capacity.saturating_sub(self.used_bytes()))
    }
}
