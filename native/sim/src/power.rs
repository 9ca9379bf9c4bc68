//! Power fails.

use domp_log::memory::MemoryDisk;
use domp_log::{Disk, LogWrite};

use crate::rng::Rng;

/// What is left of a disk, and of the group commit that was on its way to it: what was not flushed survives as
/// the disk likes.
pub fn fail(disk: &mut MemoryDisk, write: Option<LogWrite>, rng: &mut Rng) {
    if let Some(write) = write {
        // The parts before this one are durable, this one was on its way.
        let parts = u64::try_from(write.parts().count()).expect("few parts");
        let on_its_way = rng.below(parts + 1);
        for (at, part) in (0..).zip(write.parts()) {
            let (file, bytes) = (&part.file, part.bytes.as_slice());
            if at <= on_its_way {
                let _ = disk.write(file, part.offset, bytes);
            }
            if at < on_its_way {
                let _ = disk.sync(file);
            }
        }
    }
    *disk = disk.crash(rng.next());
}
