//! Snapshots end, always: whatever strikes them, the next one comes, and whoever asked hears of it.

mod support;

use std::io::ErrorKind;

use domp_log::memory::Fault;
use domp_log::{Disk, Job, LogConfig};
use domp_node::{ControlReply, ControlRequest, Notice};
use domp_protocol::error::ErrorCode;
use domp_protocol::limits;
use domp_protocol::reply::parse_error_detail;
use domp_protocol::transaction::{META_SPACE, Operation};

use support::{Bench, SPACE, put};

/// The next space that is created.
const OTHER: u32 = SPACE + 1;
const RETRY_US: u64 = 5_000_000;

fn bench() -> Bench {
    let mut bench = Bench::new();
    let (head, _) = bench.ask(SPACE, put(b"k", b"v"));
    assert_eq!(head.code, None);
    bench
}

/// Asks for snapshots and waits for the answer.
fn snapshot(bench: &mut Bench) -> ControlReply {
    bench.turn(|node, turn| node.on_control(5, ControlRequest::Snapshot, turn));
    answer(bench)
}

fn answer(bench: &mut Bench) -> ControlReply {
    if bench.turn.controls.is_empty() {
        bench.until(|bench| !bench.turn.controls.is_empty());
    }
    let (id, reply) = bench.turn.controls.remove(0);
    assert_eq!(id, 5);
    reply
}

/// Lets every job that is out or follows end.
fn finish_jobs(bench: &mut Bench) {
    bench.until(|bench| bench.jobs.is_empty() && !bench.node.is_snapshotting());
    for _ in 0..20 {
        bench.turn(|_, _| {});
    }
}

fn files(bench: &mut Bench, group: u64) -> Vec<String> {
    let files = bench.disk.list().expect("it lists");
    files
        .into_iter()
        .map(|file| file.name)
        .filter(|name| name.starts_with(&format!("snap/{group:010}-")))
        .collect()
}

fn is_finish(job: &Job) -> bool {
    matches!(job, Job::SnapshotFinish { .. })
}

fn is_write(job: &Job) -> bool {
    matches!(job, Job::SnapshotWrite { .. })
}

fn is_removal(job: &Job) -> bool {
    matches!(job, Job::Remove { .. })
}

/// Turns until such a job comes next.
fn until_next(bench: &mut Bench, is: fn(&Job) -> bool) {
    if !bench.jobs.front().is_some_and(|(_, job)| is(job)) {
        bench.until(|bench| bench.jobs.front().is_some_and(|(_, job)| is(job)));
    }
}

#[test]
fn who_asks_hears_what_was_taken() {
    let mut bench = bench();
    let ControlReply::Snapshotted(taken) = snapshot(&mut bench) else {
        panic!("it was not taken");
    };
    let groups: Vec<u64> = taken.iter().map(|taken| taken.group).collect();
    assert_eq!(groups, [0, 1]);
    assert_eq!(snapshot(&mut bench), ControlReply::Snapshotted(Vec::new()));
}

/// Tells jobs of a kind.
type Is = fn(&Job) -> bool;

/// An operation of a snapshot's file fails: its jobs, and which of a job's operations.
const STRIKES: [(Is, u64, &str); 5] = [
    (is_write, 1, "create"),
    (is_write, 2, "write"),
    (is_finish, 1, "sync"),
    (is_finish, 2, "rename"),
    (is_finish, 3, "directory sync"),
];

#[test]
fn a_snapshot_that_failed_is_said_and_taken_again_whatever_struck_it() {
    for (is, nth, what) in STRIKES {
        for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
            let mut bench = bench();
            snapshot(&mut bench);
            finish_jobs(&mut bench);
            bench.ask(SPACE, put(b"k", b"w"));
            let before = files(&mut bench, 1);
            bench.turn(|node, turn| node.on_control(5, ControlRequest::Snapshot, turn));
            until_next(&mut bench, is);
            let operation = bench.disk.operations() + nth;
            bench.disk.inject(operation, Fault::Fail(kind));
            let ControlReply::Failed(why) = answer(&mut bench) else {
                panic!("{what}: it did not fail");
            };
            assert!(why.contains("shard 1: injected failure"), "{why}");
            let Notice::SnapshotFailed {
                group: 1,
                space,
                retry_ms,
                ..
            } = &bench.notices[0]
            else {
                panic!("{:?}", bench.notices);
            };
            assert_eq!((space.as_str(), *retry_ms), ("default", RETRY_US / 1000));
            finish_jobs(&mut bench);
            assert_eq!(
                files(&mut bench, 1),
                before,
                "{what}: nothing is left of it"
            );
            let told = bench.statistics();
            assert_eq!(told.snapshots_failed, 1);
            assert_eq!(told.snapshot_last_failure.map(|last| last.group), Some(1));
            // Nothing happens but that time passes.
            let wake_us = bench.turn.wake_at_us.expect("it will be tried again");
            assert!(wake_us <= bench.clock.monotonic_us + RETRY_US);
            bench.clock.monotonic_us += RETRY_US;
            bench.until(|bench| bench.node.is_snapshotting());
            finish_jobs(&mut bench);
            assert_eq!(bench.statistics().snapshots, told.snapshots + 1);
            let after = files(&mut bench, 1);
            assert!(after.len() == 1 && after != before, "{what}: {after:?}");
        }
    }
}

#[test]
fn a_space_dropped_while_its_snapshot_is_written_leaves_no_file_and_the_next_begins_at_once() {
    for is in [is_write, is_finish] {
        for fails in [false, true] {
            let mut bench = bench();
            bench.ask(META_SPACE, vec![Operation::SpaceCreate { name: b"other" }]);
            bench.ask(OTHER, put(b"k", b"v"));
            snapshot(&mut bench);
            bench.ask(OTHER, put(b"k", b"w"));
            finish_jobs(&mut bench);
            bench.turn(|node, turn| node.on_control(5, ControlRequest::Snapshot, turn));
            until_next(&mut bench, is);
            bench.holds_jobs = true;
            bench.ask(SPACE, put(b"k", b"w"));
            bench.turn(|node, turn| node.on_control(6, ControlRequest::Snapshot, turn));
            bench.ask(META_SPACE, vec![Operation::SpaceDrop { name: b"other" }]);
            let next = bench.jobs.iter().any(|(_, job)| match job {
                Job::SnapshotWrite { file, .. } => !file.starts_with("snap/0000000002-"),
                _ => false,
            });
            assert!(next, "the next waits for the one that was given up");
            if fails {
                bench.disk.inject_next(Fault::Fail(ErrorKind::Other));
            }
            bench.holds_jobs = false;
            finish_jobs(&mut bench);
            assert_eq!(files(&mut bench, u64::from(OTHER)), [""; 0]);
            assert!(bench.notices.is_empty(), "{:?}", bench.notices);
            assert_eq!(bench.statistics().snapshots_failed, 0);
            // And those after it.
            bench.ask(SPACE, put(b"k", b"x"));
            assert!(matches!(snapshot(&mut bench), ControlReply::Snapshotted(_)));
        }
    }
}

#[test]
fn an_older_snapshot_goes_only_after_the_hard_state_that_names_the_newer_is_durable() {
    let mut bench = bench();
    snapshot(&mut bench);
    finish_jobs(&mut bench);
    bench.ask(SPACE, put(b"k", b"w"));
    bench.turn(|node, turn| node.on_control(5, ControlRequest::Snapshot, turn));
    until_next(&mut bench, is_finish);
    bench.holds_writes = true;
    for _ in 0..50 {
        bench.turn(|_, _| {});
        assert!(!bench.jobs.iter().any(|(_, job)| is_removal(job)));
        assert_eq!(bench.turn.controls, [], "it is not done yet");
    }
    assert_eq!(files(&mut bench, 1).len(), 2);
    bench.holds_writes = false;
    assert!(matches!(answer(&mut bench), ControlReply::Snapshotted(_)));
    finish_jobs(&mut bench);
    assert_eq!(files(&mut bench, 1).len(), 1);
}

#[test]
fn the_files_of_a_dropped_space_go_only_after_the_drop_is_durable() {
    let mut bench = bench();
    bench.ask(META_SPACE, vec![Operation::SpaceCreate { name: b"other" }]);
    bench.ask(OTHER, put(b"k", b"v"));
    snapshot(&mut bench);
    finish_jobs(&mut bench);
    let (frame, _) = bench.frame(META_SPACE, &[vec![Operation::SpaceDrop { name: b"other" }]]);
    bench.submit(&frame);
    // The entry is applied in the turn that hears that it is durable; the drop follows it.
    bench.until(|bench| !bench.answers().is_empty());
    bench.holds_writes = true;
    for _ in 0..50 {
        assert!(!bench.jobs.iter().any(|(_, job)| is_removal(job)));
        bench.turn(|_, _| {});
    }
    assert_eq!(files(&mut bench, u64::from(OTHER)).len(), 1);
    bench.holds_writes = false;
    finish_jobs(&mut bench);
    assert_eq!(files(&mut bench, u64::from(OTHER)), [""; 0]);
}

#[test]
fn a_removal_that_fails_is_said_and_tried_again() {
    let mut bench = bench();
    snapshot(&mut bench);
    finish_jobs(&mut bench);
    bench.ask(SPACE, put(b"k", b"w"));
    snapshot(&mut bench);
    until_next(&mut bench, is_removal);
    bench.disk.inject_next(Fault::Fail(ErrorKind::Other));
    finish_jobs(&mut bench);
    assert!(matches!(
        bench.notices[..],
        [Notice::RemovalFailed {
            retry_ms: 5_000,
            ..
        }]
    ));
    assert_eq!(files(&mut bench, 1).len(), 2);
    bench.clock.monotonic_us += RETRY_US;
    finish_jobs(&mut bench);
    assert_eq!(files(&mut bench, 1).len(), 1);
}

#[test]
fn a_request_while_the_node_drains_is_refused() {
    let mut bench = bench();
    bench.turn(|node, turn| node.on_control(6, ControlRequest::Drain, turn));
    let ControlReply::Failed(why) = snapshot(&mut bench) else {
        panic!("it was taken");
    };
    assert!(why.contains("drains"));
}

const VALUE_BYTES: u64 = 10_000;
static VALUE: [u8; 10_000] = [b'v'; 10_000];

/// Writes so many bytes of log, and little more.
fn write_log(bench: &mut Bench, bytes: u64) {
    for _ in 0..bytes.div_ceil(VALUE_BYTES) {
        let (head, _) = bench.ask(SPACE, put(b"k", &VALUE));
        assert_eq!(head.code, None);
    }
    finish_jobs(bench);
}

#[test]
fn a_shard_rests_after_a_snapshot_unless_it_has_written_much() {
    const AFTER_BYTES: u64 = 200_000;
    let mut bench = Bench::configured(|config| config.snapshot_after_bytes = AFTER_BYTES);
    write_log(&mut bench, AFTER_BYTES);
    assert_eq!(bench.statistics().snapshots, 1, "none was before");
    let begun_us = bench.clock.monotonic_us;
    write_log(&mut bench, AFTER_BYTES);
    assert_eq!(bench.statistics().snapshots, 1, "it rests");
    // Nobody writes any more: the node itself asks for the turn in which it is due.
    let rest_us = limits::SNAPSHOT_REST_MS * 1_000;
    while !bench.node.is_snapshotting() {
        let wake_at_us = bench.turn.wake_at_us.expect("it is due sometime");
        assert!(wake_at_us <= begun_us + rest_us, "it is due before");
        bench.clock.monotonic_us = bench.clock.monotonic_us.max(wake_at_us);
        bench.turn(|_, _| {});
    }
    assert!(
        bench.clock.monotonic_us > begun_us + rest_us - 1_000_000,
        "too early"
    );
    finish_jobs(&mut bench);
    assert_eq!(bench.statistics().snapshots, 2);
    // So much that the log would grow long: at once.
    write_log(
        &mut bench,
        AFTER_BYTES * (limits::SNAPSHOT_AFTER_TIMES_MAX - 1),
    );
    assert_eq!(bench.statistics().snapshots, 2, "not yet");
    write_log(&mut bench, AFTER_BYTES);
    assert_eq!(bench.statistics().snapshots, 3);
}

#[test]
fn no_shard_rests_while_the_disk_is_short_of_space() {
    const AFTER_BYTES: u64 = 300_000;
    const SEGMENT_BYTES: u64 = 768 << 10;
    let mut config = support::config();
    config.snapshot_after_bytes = AFTER_BYTES;
    config.log = LogConfig {
        low_space_bytes: 160 << 10,
        ..support::log_of(SEGMENT_BYTES)
    };
    let mut bench = Bench::with(config);
    write_log(&mut bench, AFTER_BYTES);
    assert_eq!(bench.statistics().snapshots, 1);
    // Room for a snapshot, and for no other segment.
    let used_bytes = bench.disk.used_bytes();
    bench.disk.set_capacity(used_bytes + (64 << 10));
    let refused = (0..SEGMENT_BYTES * 2 / VALUE_BYTES).find(|_| {
        let (head, _) = bench.ask(SPACE, put(b"k", &VALUE));
        head.code == Some(ErrorCode::Overloaded)
    });
    let written = refused.expect("the log comes to its end") * VALUE_BYTES;
    let most = AFTER_BYTES * limits::SNAPSHOT_AFTER_TIMES_MAX;
    assert!(
        (AFTER_BYTES..most).contains(&written),
        "{written}: it would be due anyway"
    );
    finish_jobs(&mut bench);
    // And the meta space's, which was written once and keeps the first segment.
    assert_eq!(bench.statistics().snapshots, 3);
    // What they freed is enough, once a frame says so and the node looks again.
    for _ in 0..2 {
        bench.clock.monotonic_us += 2_000_000;
        finish_jobs(&mut bench);
    }
    assert!(!bench.statistics().disk_low);
    let (head, _) = bench.ask(SPACE, put(b"k", &VALUE));
    assert_eq!(head.code, None);
}

#[test]
fn a_shard_that_fails_does_not_take_the_others_turn() {
    let mut config = support::config();
    config.snapshot_after_bytes = 2_000;
    let mut bench = Bench::with(config);
    bench.ask(META_SPACE, vec![Operation::SpaceCreate { name: b"other" }]);
    let value = [b'v'; 1_000];
    let mut covered = 0;
    for round in 1..=3 {
        bench.holds_jobs = true;
        for _ in 0..5 {
            bench.ask(SPACE, put(b"k", &value));
            bench.ask(OTHER, put(b"k", &value));
        }
        bench.holds_jobs = false;
        bench.clock.monotonic_us += 60 * RETRY_US;
        for _ in 0..200 {
            if let Some((_, Job::SnapshotWrite { file, .. })) = bench.jobs.front()
                && file.starts_with("snap/0000000001-")
            {
                bench.disk.inject_next(Fault::Fail(ErrorKind::Other));
            }
            bench.turn(|_, _| {});
        }
        let told = bench.statistics();
        assert_eq!(told.snapshots_failed, round, "it was tried and struck");
        let other = told.shards.iter().find(|shard| shard.name == "other");
        let index = other.map_or(0, |shard| shard.snapshot_index);
        assert!(index > covered, "the other had its turn");
        covered = index;
    }
}

#[test]
fn writes_that_outrun_a_snapshot_wait_and_those_to_other_spaces_do_not() {
    let mut bench = bench();
    bench.ask(META_SPACE, vec![Operation::SpaceCreate { name: b"other" }]);
    let value = vec![b'v'; usize::try_from(limits::VALUE_BYTES_MAX).expect("small")];
    let count = 3 * limits::OVERLAY_BYTES_MAX / limits::VALUE_BYTES_MAX / 2;
    let keys: Vec<String> = (0..count).map(|key| format!("big/{key:04}")).collect();
    for key in &keys {
        let (head, _) = bench.ask(SPACE, put(key.as_bytes(), &value));
        assert_eq!(head.code, None);
    }
    bench.turn(|node, turn| node.on_control(5, ControlRequest::Snapshot, turn));
    bench.until(|bench| {
        let write = bench.jobs.front();
        write.is_some_and(|(_, job)| {
            matches!(job, Job::SnapshotWrite { file, .. } if file.starts_with("snap/0000000001-"))
        })
    });
    // The disk stands still, and what the snapshot has not told yet is overwritten.
    bench.holds_jobs = true;
    let mut refused = None;
    for key in keys.iter().rev() {
        let (head, detail) = bench.ask(SPACE, put(key.as_bytes(), b"small"));
        if let Some(code) = head.code {
            refused = Some((code, detail));
            break;
        }
        if bench.turn.wake_at_us == Some(bench.clock.monotonic_us) {
            // Writes push the walk on, as far as memory goes.
            for _ in 0..200 {
                bench.turn(|_, _| {});
            }
        }
    }
    let (code, detail) = refused.expect("memory is bounded");
    assert_eq!(code, ErrorCode::Overloaded);
    let detail = parse_error_detail(&detail).expect("it says why");
    assert!(
        detail.message.starts_with("snapshot: "),
        "{}",
        detail.message
    );
    assert!(detail.retry_after_ms > 0);
    let (head, _) = bench.ask(OTHER, put(b"k", b"v"));
    assert_eq!(head.code, None, "another space");
    let (head, _) = bench.ask(SPACE, vec![Operation::Get { key: b"k" }]);
    assert_eq!(head.code, None, "reads go on");
    bench.holds_jobs = false;
    assert!(matches!(answer(&mut bench), ControlReply::Snapshotted(_)));
    let (head, _) = bench.ask(SPACE, put(b"k", b"w"));
    assert_eq!(head.code, None);
    assert_eq!(bench.statistics().snapshots_failed, 0);
}

#[test]
fn a_crash_between_a_drop_and_its_removals_leaves_no_file_for_ever() {
    let mut bench = bench();
    bench.ask(META_SPACE, vec![Operation::SpaceCreate { name: b"other" }]);
    bench.ask(OTHER, put(b"k", b"v"));
    snapshot(&mut bench);
    finish_jobs(&mut bench);
    bench.ask(META_SPACE, vec![Operation::SpaceDrop { name: b"other" }]);
    until_next(&mut bench, is_removal);
    // The log falls idle: from then on it says that the drop was committed.
    bench.holds_jobs = true;
    for _ in 0..20 {
        bench.clock.monotonic_us += 10_000;
        bench.turn(|_, _| {});
    }
    assert_eq!(files(&mut bench, u64::from(OTHER)).len(), 1);
    let mut bench = bench.restart();
    finish_jobs(&mut bench);
    assert_eq!(files(&mut bench, u64::from(OTHER)), [""; 0]);
}
