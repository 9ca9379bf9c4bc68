//! The log, driven by the bytes: records are written, files rot, the power goes. Whatever happens,
//! opening, checking and listing never fail by a panic; opening twice finds the same; and as long as
//! nothing rotted, all that was acknowledged is there.
#![no_main]

use domp_log::{
    Disk, Drawn, DumpFilter, Founding, HardState, LogConfig, MemoryDisk, NODE_GROUP, Record,
    RecordKind, RecoverError, Recovery, SnapshotName, check, dump, recover, run_job, run_write,
};
use libfuzzer_sys::fuzz_target;

/// All segments are of one length, so that each becomes another when nobody needs it.
const CONFIG: LogConfig = LogConfig {
    founding_segment_bytes: 32 << 10,
    first_segment_bytes: 32 << 10,
    segment_bytes: 32 << 10,
    frame_bytes_max: 12 << 10,
    reserve_bytes: 4 << 10,
    low_space_bytes: 8 << 10,
    keep_free_bytes: 0,
    spare_segments_max: 2,
};

/// Takes decisions off the input; zero once it is used up.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        byte
    }

    fn word(&mut self) -> u64 {
        u64::from(self.byte()) << 8 | u64::from(self.byte())
    }

    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// Mostly small, sometimes at the very end of the range.
    fn index(&mut self) -> u64 {
        match self.byte() {
            255 => u64::MAX,
            254 => u64::MAX - 1,
            small => u64::from(small % 64),
        }
    }
}

type Owned = (u64, RecordKind, u64, u64, Vec<u8>);

/// None: a file is of an unknown version, for all one can tell.
fn open(disk: &mut MemoryDisk) -> Option<(Recovery, Vec<Owned>)> {
    let mut found = Vec::new();
    let recovery = recover(disk, &CONFIG, 5, &mut |record| {
        // What the log writes by itself.
        if record.group == NODE_GROUP {
            return;
        }
        found.push((
            record.group,
            record.kind,
            record.index,
            record.term,
            record.body.to_vec(),
        ));
    });
    match recovery {
        Ok(recovery) => Some((recovery, found)),
        Err(RecoverError::Version { .. }) => None,
        Err(error) => panic!("the disk has no faults: {error}"),
    }
}

fn append(recovery: &mut Recovery, input: &mut Input<'_>, appended: &mut Vec<Owned>) {
    use RecordKind::{Drop, Entry, Founding as Founded, HardState as Stated};
    let kind = [Entry, Stated, Drop, Founded][usize::from(input.byte() % 4)];
    let (group, index, term) = (u64::from(input.byte() % 60), input.index(), input.index());
    let body = match kind {
        Stated => {
            let snapshot = SnapshotName {
                index: input.index(),
                ..SnapshotName::default()
            };
            let hard_state = HardState {
                commit: input.index(),
                snapshot,
                ..HardState::default()
            };
            hard_state.encode().to_vec()
        }
        Founded => Founding {
            voters: vec![index; usize::from(input.byte() % 4)],
            ..Founding::default()
        }
        .encode(),
        Entry => {
            let len = usize::try_from(input.word() % 6_000).expect("small");
            let mut body = input.bytes(len.min(64)).to_vec();
            body.resize(len, 0);
            body
        }
        _ => Vec::new(),
    };
    let record = Record {
        group,
        replica: 1,
        kind,
        index,
        term,
        body: &body,
    };
    if recovery.writer.append(&record).is_ok() {
        appended.push((group, kind, index, term, body));
    }
}

/// Names a snapshot of everything for all groups, so that segments become needless.
fn cover(recovery: &mut Recovery, appended: &mut Vec<Owned>) {
    let mut groups: Vec<u64> = appended.iter().map(|(group, ..)| *group).collect();
    groups.sort_unstable();
    groups.dedup();
    let hard_state = HardState {
        snapshot: SnapshotName {
            index: u64::MAX,
            ..SnapshotName::default()
        },
        ..HardState::default()
    };
    for group in groups {
        let record = Record {
            group,
            replica: 1,
            kind: RecordKind::HardState,
            index: 0,
            term: 0,
            body: &hard_state.encode(),
        };
        if recovery.writer.append(&record).is_ok() {
            let body = hard_state.encode().to_vec();
            appended.push((group, RecordKind::HardState, 0, 0, body));
        }
    }
}

/// Damages a file of the log as the input says.
fn rot(disk: &mut MemoryDisk, input: &mut Input<'_>) {
    let files = disk.list().expect("no faults");
    let Some(file) = files.get(usize::from(input.byte()) % files.len().max(1)) else {
        return;
    };
    let at = input.word() * 8 % file.len.max(1);
    match input.byte() % 6 {
        0 => {
            disk.flip_bit(&file.name, at, u32::from(input.byte()));
        }
        1 => {
            let len = usize::from(input.byte());
            let bytes = input.bytes(len);
            disk.overwrite(&file.name, at, bytes);
        }
        2 => {
            disk.overwrite(&file.name, at / 512 * 512, &[input.byte(); 512]);
        }
        3 => {
            disk.set_file_len(&file.name, at);
        }
        4 => {
            disk.delete_file(&file.name);
        }
        _ => {
            let name = format!("wal/{:010}.log", input.index());
            drop(disk.create(&name, input.word()));
            let len = usize::from(input.byte());
            disk.overwrite(&name, 0, input.bytes(len));
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let mut disk = MemoryDisk::new();
    let Some((mut recovery, _)) = open(&mut disk) else {
        return;
    };
    let (mut appended, mut acked, mut rotten, mut reclaimed) = (Vec::new(), 0, false, false);
    while !input.0.is_empty() {
        match input.byte() % 16 {
            0..7 => append(&mut recovery, &mut input, &mut appended),
            step @ 7..11 => {
                let write = match step {
                    7 => recovery.writer.idle_mark(),
                    _ => recovery.writer.seal(),
                };
                let Some(write) = write else { continue };
                match run_write(&mut disk, &write) {
                    Ok(()) => {
                        recovery.writer.on_written(write.ticket);
                        acked = appended.len();
                    }
                    Err(error) => {
                        assert!(rotten, "the file is there: {error}");
                        recovery.writer.on_write_failed(&error.to_string());
                    }
                }
                recovery.writer.recycle(write);
            }
            11 => {
                while let Some(job) = recovery.writer.take_job() {
                    let result = run_job(&mut disk, &job);
                    recovery.writer.on_job(job.tag(), &result);
                }
            }
            12 => {
                if input.byte() % 2 == 0 {
                    cover(&mut recovery, &mut appended);
                }
                recovery.writer.reclaim();
                recovery.writer.pinned_by();
                reclaimed = true;
            }
            13 => {
                rot(&mut disk, &mut input);
                rotten = true;
            }
            _ => {
                // A commit is on its way when the power goes.
                if let Some(write) = recovery.writer.seal() {
                    disk.crash_after(disk.operations() + u64::from(input.byte() % 4));
                    drop(run_write(&mut disk, &write));
                }
                disk = disk.crash(input.word());
                let Some((opened, found)) = open(&mut disk) else {
                    return;
                };
                let (again, same) = open(&mut disk.crash(1)).expect("it could be opened");
                assert!(found.ends_with(&same), "opening twice differs");
                if !rotten {
                    assert!(opened.report.damage.is_empty(), "{:?}", opened.report);
                    assert!(again.report.torn.is_none(), "{:?}", again.report);
                    let whole =
                        (acked..=appended.len()).any(|end| appended[..end].ends_with(&found));
                    assert!(
                        whole,
                        "something acknowledged is gone, or something is there that never was"
                    );
                    assert!(
                        reclaimed || found.len() >= acked,
                        "nothing was to be removed"
                    );
                }
                recovery = opened;
                acked = found.len();
                appended = found;
            }
        }
    }
    drop(check(&mut disk.clone(), &()).map(|report| report.to_string()));
    drop(dump(
        &mut disk,
        DumpFilter::default(),
        &mut |body, out| out(&String::from_utf8_lossy(body)),
        &mut |_| {},
    ));
    open(&mut disk);
    let drawn = Drawn {
        salt_seed: 6,
        node: 7,
        nonce: 8,
    };
    drop(domp_log::open(&mut disk, &CONFIG, &drawn, &mut |_| {}));
});
