//! A node in small: drives a writer over a disk in memory, remembers what was
//! appended and what was acknowledged, and compares that with what recovery finds.

#![allow(dead_code, reason = "each test file uses its part")]

mod records;
mod snapshots;

use std::collections::{BTreeMap, VecDeque};
use std::io;

use domp_log::{
    AppendError, Drawn, Founding, HardState, Job, JobResult, LogConfig, MemoryDisk, PinReason,
    RecordKind, Recovery, SnapshotName, Timeline, Writer, open, recover, run_job, run_write,
};

pub use records::*;
#[allow(unused_imports, reason = "each test file uses its part")]
pub use snapshots::*;

/// The replica of every group.
pub const REPLICA: u64 = 0xab;
/// The node.
pub const NODE: u64 = 0xd0;

/// What a start draws.
pub fn drawn(salt_seed: u64) -> Drawn {
    Drawn {
        salt_seed,
        node: NODE,
        nonce: salt_seed ^ 0x77,
    }
}

/// Small sizes, so that a short scenario crosses many seals.
pub fn small() -> LogConfig {
    LogConfig {
        founding_segment_bytes: 64 << 10,
        first_segment_bytes: 64 << 10,
        segment_bytes: 128 << 10,
        frame_bytes_max: 24 << 10,
        reserve_bytes: 8 << 10,
        low_space_bytes: 16 << 10,
        keep_free_bytes: 0,
        spare_segments_max: 3,
    }
}

/// As [`small`], with room for more in the first segment.
pub fn roomy() -> LogConfig {
    LogConfig {
        founding_segment_bytes: 128 << 10,
        first_segment_bytes: 128 << 10,
        ..small()
    }
}

/// As [`small`], with all segments of one length: each that is no longer needed becomes a later one.
pub fn recycling() -> LogConfig {
    LogConfig {
        segment_bytes: 64 << 10,
        ..small()
    }
}

/// A node that writes to a segment which was another before, with old frames all behind its end. Group 99 has
/// entries in it.
pub fn recycled() -> Driver {
    let mut driver = Driver::new(&recycling());
    while driver.reused < 2 || driver.writer.statistics().segment_used_bytes > 12 << 10 {
        assert!(driver.appended.len() < 100_000);
        for _ in 0..8 {
            driver.entry(99, vec![7; 600]);
        }
        driver.commit();
        driver.snapshot();
        driver.commit();
        driver.mark();
        driver.run_jobs();
    }
    while driver.mark() {}
    driver.run_jobs();
    let present = driver.writer.statistics();
    let bytes = driver
        .disk
        .contents(&domp_log::segment_name(present.segment));
    let bytes = bytes.expect("the present segment");
    let used = usize::try_from(present.segment_used_bytes).expect("small");
    let old = bytes[used..]
        .chunks(4_096)
        .filter(|block| block.starts_with(b"DOMPFRM\n"));
    assert!(old.count() > 3, "old frames behind the end");
    driver
}

/// A small generator of numbers (splitmix64).
#[derive(Clone)]
pub struct Draw(pub u64);

impl Draw {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn usize_below(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).expect("below a usize")
    }
}

/// The node in small.
pub struct Driver {
    pub disk: MemoryDisk,
    pub writer: Writer,
    pub appended: Vec<Owned>,
    /// How many of them were acknowledged.
    pub acked: usize,
    pub jobs: VecDeque<Job>,
    /// The first error of the disk; nothing goes on after it.
    pub error: Option<io::Error>,
    /// Segments made of spares.
    pub reused: u64,
    next_index: BTreeMap<u64, u64>,
    /// How often each of the scenario's groups was dropped: ids are not used again.
    pub lives: BTreeMap<u64, u64>,
}

impl Driver {
    pub fn new(config: &LogConfig) -> Self {
        Self::on(MemoryDisk::new(), config).expect("an empty disk without faults")
    }

    /// Opens whatever the disk holds. None: the disk failed.
    pub fn on(disk: MemoryDisk, config: &LogConfig) -> Option<Self> {
        Self::of(disk, config, &drawn(42))
    }

    /// As [`Driver::on`], with those random numbers.
    pub fn of(mut disk: MemoryDisk, config: &LogConfig, drawn: &Drawn) -> Option<Self> {
        let mut appended = Vec::new();
        let opened = open(&mut disk, config, drawn, &mut gather(&mut appended)).ok()?;
        assert!(opened.report.damage.is_empty(), "{:?}", opened.report);
        Some(Self::behind(disk, opened.writer, appended))
    }

    /// Opens the log alone: what its hard states name need not be on the disk.
    pub fn log_alone(mut disk: MemoryDisk, config: &LogConfig) -> Self {
        let mut appended = Vec::new();
        let recovery =
            recover(&mut disk, config, 42, &mut gather(&mut appended)).expect("no faults");
        assert!(recovery.report.damage.is_empty(), "{:?}", recovery.report);
        Self::behind(disk, recovery.writer, appended)
    }

    fn behind(disk: MemoryDisk, writer: Writer, appended: Vec<Owned>) -> Self {
        let mut next_index = BTreeMap::new();
        for record in &appended {
            if record.kind.is_entry() {
                next_index.insert(record.group, record.index + 1);
            }
        }
        Self {
            disk,
            writer,
            acked: appended.len(),
            appended,
            jobs: VecDeque::new(),
            error: None,
            reused: 0,
            next_index,
            lives: BTreeMap::new(),
        }
    }

    /// Appends a record; false if there is no room.
    pub fn append(&mut self, record: Owned) -> bool {
        match self.writer.append(&record.record()) {
            Ok(()) => {
                self.appended.push(record);
                true
            }
            Err(AppendError::NoRoom) => false,
            Err(error) => panic!("{error}: {:?}", self.writer.failure()),
        }
    }

    /// Appends the group's next entry.
    pub fn entry(&mut self, group: u64, body: Vec<u8>) -> bool {
        let next = self.next_index.entry(group).or_insert(1);
        let index = *next;
        let done = self.append(Owned::entry(group, index, 1, body));
        if done {
            self.next_index.insert(group, index + 1);
        }
        done
    }

    /// Founds a group, as its first replica does.
    pub fn found(&mut self, group: u64) {
        let founding = Founding {
            timeline: Timeline {
                counter: 1,
                random: u128::from(group) << 70,
            },
            index: 1,
            term: 1,
            voters: vec![REPLICA],
        };
        assert!(self.append(Owned {
            kind: RecordKind::Founding,
            ..Owned::entry(group, 0, 0, founding.encode())
        }));
        let hard_state = HardState {
            term: 1,
            commit: 1,
            start_index: 1,
            start_term: 1,
            ..HardState::default()
        };
        assert!(self.append(Owned::hard_state(group, &hard_state)));
        self.next_index.insert(group, 2);
    }

    /// Appends a hard state that commits to that index.
    pub fn commit_index(&mut self, group: u64, commit: u64) {
        let before = replay(&self.appended).remove(&group).unwrap_or_default();
        let hard_state = HardState {
            commit,
            ..before.hard_state.unwrap_or_default()
        };
        assert!(self.append(Owned::hard_state(group, &hard_state)));
    }

    /// Appends a hard state of that term, which goes on naming the snapshot of the one before.
    pub fn hard_state(&mut self, group: u64, term: u64) -> bool {
        let before = replay(&self.appended).remove(&group).unwrap_or_default();
        let hard_state = HardState {
            term,
            ..before.hard_state.unwrap_or_default()
        };
        self.append(Owned::hard_state(group, &hard_state))
    }

    /// Appends a hard state that names a snapshot (not on the disk: only its effect on the log).
    pub fn name_snapshot(&mut self, group: u64, index: u64) -> bool {
        let before = replay(&self.appended).remove(&group).unwrap_or_default();
        let hard_state = HardState {
            snapshot: SnapshotName {
                index,
                term: 1,
                digest: u128::from(index) << 77,
            },
            ..before.hard_state.unwrap_or_default()
        };
        self.append(Owned::hard_state(group, &hard_state))
    }

    /// Appends a hard state that names that snapshot, and commits to that index.
    pub fn name_real(&mut self, group: u64, snapshot: SnapshotName, commit: u64) {
        let before = replay(&self.appended).remove(&group).unwrap_or_default();
        let hard_state = HardState {
            snapshot,
            commit,
            ..before.hard_state.unwrap_or_default()
        };
        assert!(self.append(Owned::hard_state(group, &hard_state)));
    }

    pub fn drop_group(&mut self, group: u64) -> bool {
        self.append(Owned::drop(group))
    }

    /// Writes all that was appended as one commit.
    pub fn commit(&mut self) {
        let Some(write) = self.writer.seal() else {
            return;
        };
        let appended = self.appended.len();
        match run_write(&mut self.disk, &write) {
            Ok(()) => {
                self.writer.on_written(write.ticket);
                self.writer.recycle(write);
                self.acked = appended;
            }
            Err(error) => self.fail(error),
        }
    }

    pub fn mark(&mut self) -> bool {
        let Some(write) = self.writer.idle_mark() else {
            return false;
        };
        match run_write(&mut self.disk, &write) {
            Ok(()) => {
                self.writer.on_written(write.ticket);
                self.writer.recycle(write);
            }
            Err(error) => self.fail(error),
        }
        true
    }

    fn fail(&mut self, error: io::Error) {
        self.writer.on_write_failed(&error.to_string());
        self.error.get_or_insert(error);
    }

    /// Runs all jobs there are.
    pub fn run_jobs(&mut self) {
        while let Some(job) = self.writer.take_job() {
            self.jobs.push_back(job);
        }
        while let Some(job) = self.jobs.pop_front() {
            let result = run_job(&mut self.disk, &job);
            self.writer.on_job(job.tag(), &result);
            self.reused +=
                u64::from(matches!(&job, Job::PrepareSegment(new) if new.spare.is_some()));
            if let JobResult::Failed { kind, message } = &result
                && !result.is_full()
            {
                self.error
                    .get_or_insert(io::Error::new(*kind, message.clone()));
            }
        }
    }

    /// Names a snapshot of all groups (not on the disk: only its effect on the log) and reclaims by those
    /// that are durable.
    pub fn snapshot(&mut self) {
        let acked = replay(&self.appended[..self.acked]);
        let now = replay(&self.appended);
        for (group, state) in acked {
            if let Some((&index, _)) = state.entries.last_key_value()
                && now.get(&group).is_some_and(|now| now.snapshot() < index)
            {
                self.name_snapshot(group, index);
            }
        }
        self.writer.reclaim();
    }

    /// Helps idle groups off the oldest segment.
    pub fn unpin(&mut self) {
        for pin in self.writer.pinned_by() {
            let state = replay(&self.appended)
                .remove(&pin.group)
                .unwrap_or_default();
            match pin.reason {
                PinReason::HardState => {
                    let hard_state = state.hard_state.expect("it pins one");
                    self.append(Owned::hard_state(pin.group, &hard_state));
                }
                PinReason::Entries => {
                    for (&index, (term, body)) in state.entries.range(state.snapshot() + 1..) {
                        if !self.append(Owned::entry(pin.group, index, *term, body.0.clone())) {
                            return;
                        }
                    }
                }
                PinReason::Founding | PinReason::Damage => {}
            }
        }
        self.writer.reclaim();
    }

    /// One step of a random scenario.
    pub fn step(&mut self, draw: &mut Draw, groups: u64) {
        let slot = draw.below(groups);
        let group = slot + 100 * self.lives.get(&slot).copied().unwrap_or(0);
        match draw.below(32) {
            0..16 => {
                let body = body(draw);
                self.entry(group, body);
            }
            16..18 => {
                let value = draw.next();
                self.hard_state(group, value);
            }
            18..25 => self.commit(),
            25..27 => {
                self.mark();
            }
            27..29 => self.run_jobs(),
            29 => self.snapshot(),
            30 => self.unpin(),
            _ => {
                if draw.below(4) == 0 && self.drop_group(group) {
                    *self.lives.entry(slot).or_default() += 1;
                }
            }
        }
    }

    /// Checks that recovery from `disk` finds all that was acknowledged, nothing that was not appended,
    /// in order, and no damage. Returns what it found.
    pub fn expect_recovered(
        &self,
        disk: &mut MemoryDisk,
        config: &LogConfig,
        what: &str,
    ) -> (Recovery, Vec<Owned>) {
        let mut found: Vec<Owned> = Vec::new();
        let recovery = recover(disk, config, 43, &mut gather(&mut found))
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(
            recovery.report.damage.is_empty(),
            "{what}: {:?}",
            recovery.report
        );
        self.expect_records(&found, what);
        (recovery, found)
    }

    /// The records must be what was appended, from somewhere that is early enough to somewhere at or behind
    /// the last acknowledged.
    pub fn expect_records(&self, found: &[Owned], what: &str) {
        let end =
            (self.acked..=self.appended.len()).find(|&end| self.appended[..end].ends_with(found));
        let Some(end) = end else {
            panic!(
                "{what}: found {} records, which do not end between {} acknowledged and {} appended",
                found.len(),
                self.acked,
                self.appended.len()
            );
        };
        let want = needed(&replay(&self.appended[..end]));
        let got = needed(&replay(found));
        assert!(
            got == want,
            "{what}: found {} records: {got:?}\n  instead of {} of {}, {} acknowledged: {want:?}",
            found.len(),
            end,
            self.appended.len(),
            self.acked,
        );
    }
}

/// A body of some length: empty, short, long, all zero, all ones.
pub fn body(draw: &mut Draw) -> Vec<u8> {
    let len = match draw.below(16) {
        0 => 0,
        1..11 => draw.usize_below(300),
        11..15 => draw.usize_below(5_000),
        _ => draw.usize_below(23_000),
    };
    let mut body = vec![0; len];
    match draw.below(4) {
        0 => {}
        1 => body.fill(0xff),
        _ => body.fill_with(|| draw.next().to_le_bytes()[0]),
    }
    body
}
