//! The shared block: where each word and each ring stands, and access to them.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::Direction;

/// Distance of two words: a cache line, and its neighbour that processors fetch along with it.
const WORD_STRIDE_BYTES: usize = 128;

/// Bytes before the first ring.
pub(super) const CONTROL_BYTES: usize = 4096;

/// The words of the control page, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Word {
    /// Cursor of the inbound ring's writer (the gateway).
    InboundTail = 0,
    /// Cursor of the inbound ring's reader (the worker).
    InboundHead = 1,
    /// 1 while the worker is parked or about to: whoever takes the 1 away must wake it.
    Sleeping = 2,
    /// 1 when the gateway found the inbound ring full and wants a wake-up once there is room.
    InboundBlocked = 3,
    /// Cursor of the outbound ring's writer (the worker).
    OutboundTail = 4,
    /// Cursor of the outbound ring's reader (the gateway).
    OutboundHead = 5,
    /// 1 when the worker found the outbound ring full: whoever takes the 1 away must wake it.
    OutboundBlocked = 6,
    /// 1 from the moment a wake-up of the gateway is under way until it begins to drain.
    WakePending = 7,
    /// What the engine is doing: see `EngineState`.
    State = 8,
    /// 1 when the engine has something for the operator's log: whoever takes the 1 away asks for it.
    Notices = 9,
}

/// The block of memory both sides see. Pages are touched only when used.
#[derive(Debug)]
pub struct Memory {
    base: NonNull<u8>,
    bytes: usize,
    inbound_bytes: u32,
    outbound_bytes: u32,
}

// SAFETY: the block is plain memory that lives as long as the value; words are
// accessed as atomics only, and the rings' bytes by the side that owns them
// according to the cursors (see the module's invariant).
unsafe impl Send for Memory {}
// SAFETY: as for Send; `&Memory` gives out atomics and raw copies, no references to ring bytes.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps a block with rings of these capacities.
    ///
    /// # Errors
    /// `InvalidInput` where a capacity is no power of two from 4 KiB to 1 GiB;
    /// else what the system says to the mapping.
    pub fn new(inbound_bytes: u32, outbound_bytes: u32) -> io::Result<Self> {
        for bytes in [inbound_bytes, outbound_bytes] {
            if !bytes.is_power_of_two() || !(4096..=1 << 30).contains(&bytes) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "a ring's capacity is a power of two from 4 KiB to 1 GiB",
                ));
            }
        }
        let bytes = CONTROL_BYTES + inbound_bytes as usize + outbound_bytes as usize;
        // SAFETY: a fresh private anonymous mapping at an address of the system's
        // choice overlaps nothing.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )?
        };
        let base = NonNull::new(base.cast())
            .ok_or_else(|| io::Error::other("the system mapped memory at address zero"))?;
        Ok(Self {
            base,
            bytes,
            inbound_bytes,
            outbound_bytes,
        })
    }

    /// Address of the block, for the `ArrayBuffer` over it.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Length of the block.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Capacity of the inbound ring.
    pub fn inbound_bytes(&self) -> u32 {
        self.inbound_bytes
    }

    /// Capacity of the outbound ring.
    pub fn outbound_bytes(&self) -> u32 {
        self.outbound_bytes
    }

    /// Capacity of a ring.
    pub fn capacity(&self, direction: Direction) -> u32 {
        match direction {
            Direction::Inbound => self.inbound_bytes,
            Direction::Outbound => self.outbound_bytes,
        }
    }

    /// A word of the control page.
    #[allow(
        clippy::cast_ptr_alignment,
        reason = "words stand at multiples of 128 from the start of a page"
    )]
    pub fn word(&self, word: Word) -> &AtomicU32 {
        let offset = word as usize * WORD_STRIDE_BYTES;
        debug_assert!(offset + 4 <= CONTROL_BYTES, "words fit the control page");
        // SAFETY: inside the mapping, aligned to 128, zero-initialised by the
        // system, and accessed as an atomic by both sides (JavaScript by Atomics).
        unsafe { &*self.base.as_ptr().add(offset).cast::<AtomicU32>() }
    }

    /// Takes a flag away; true if it was set. Together with [`Memory::announce`]
    /// this is one side of the store-then-look handshake that loses no wake-up.
    pub fn take_flag(&self, word: Word) -> bool {
        let word = self.word(word);
        // The cheap look first: a swap takes the cache line from the other core.
        fence(Ordering::SeqCst);
        word.load(Ordering::Relaxed) != 0 && word.swap(0, Ordering::SeqCst) != 0
    }

    /// Sets a flag; what the caller looks at afterwards is at least as new as
    /// what the other side wrote before it looked at the flag and found it unset.
    pub fn announce(&self, word: Word) {
        self.word(word).store(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    fn ring(&self, direction: Direction) -> (usize, u32) {
        match direction {
            Direction::Inbound => (CONTROL_BYTES, self.inbound_bytes),
            Direction::Outbound => (
                CONTROL_BYTES + self.inbound_bytes as usize,
                self.outbound_bytes,
            ),
        }
    }

    /// Copies ring bytes out.
    ///
    /// # Panics
    /// If the span leaves the ring: the caller computed it wrongly.
    pub(super) fn copy_out(&self, direction: Direction, offset: u32, into: &mut [u8]) {
        let from = self.span(direction, offset, into.len());
        // SAFETY: `span` checked that source bytes lie inside the ring; `into` is
        // the caller's own memory. The other side may write these bytes at the
        // same time only if it breaks the protocol; the copy is then garbage and
        // is judged as such, and no reference to the shared bytes ever exists.
        unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) }
    }

    /// Copies bytes into a ring.
    ///
    /// # Panics
    /// If the span leaves the ring: the caller computed it wrongly.
    pub(super) fn copy_in(&self, direction: Direction, offset: u32, bytes: &[u8]) {
        let to = self.span(direction, offset, bytes.len());
        // SAFETY: as in `copy_out`, the other way round.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) }
    }

    fn span(&self, direction: Direction, offset: u32, length: usize) -> *mut u8 {
        let (start, capacity) = self.ring(direction);
        assert!(
            length <= capacity as usize && offset as usize <= capacity as usize - length,
            "a span of a ring stays inside it"
        );
        // SAFETY: start + offset + length lies inside the mapping by the assertion.
        unsafe { self.base.as_ptr().add(start + offset as usize) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: `base` and `bytes` are those of the mapping made in `new`, and
        // nobody holds a reference: all access goes through `&self`.
        // A failure would leave the block mapped, which harms nothing.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}
