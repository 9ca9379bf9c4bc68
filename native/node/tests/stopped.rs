//! A shard whose log holds an entry that can't be applied: it is stopped, the others go on, and nothing of
//! it is lost. Here a later program wrote it.

mod support;

use domp_log::memory::commit_entry;
use domp_node::{Config, ControlReply, ControlRequest, check};
use domp_protocol::error::ErrorCode;
use domp_protocol::frame::{Frame, FrameBuilder, FrameKind, ItemKind};
use domp_protocol::parse_results;
use domp_protocol::transaction::{META_SPACE, Operation, TransactionBuilder};
use domp_state::entry::{APPLY_VERSION, BatchHead, EntryBuilder};

use support::{Bench, SPACE, config, log_of, put};

/// The space whose shard is stopped.
const OTHER: u32 = SPACE + 1;
const SEGMENT_BYTES: u64 = 1 << 20;
const SNAPSHOT_AFTER_BYTES: u64 = 512 << 10;

fn small(apply_version_known: u16) -> Config {
    let mut config = config();
    config.log = log_of(SEGMENT_BYTES);
    config.snapshot_after_bytes = SNAPSHOT_AFTER_BYTES;
    config.apply_version_known = apply_version_known;
    config
}

fn value(bench: &mut Bench, space: u32, key: &[u8]) -> Vec<u8> {
    let (head, results) = bench.ask(space, vec![Operation::Get { key }]);
    assert_eq!(head.code, None);
    results
}

/// An entry of the next apply version with a put in it.
fn newer_entry(number: u64, value: &[u8]) -> Vec<u8> {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.to_le_bytes());
    let transaction = TransactionBuilder::new(OTHER)
        .then(put(&key, value)[0])
        .idempotency_key(&key)
        .finish();
    let mut frame = FrameBuilder::new(FrameKind::Submit);
    frame.push_item(1, ItemKind::Transaction, &transaction);
    let bytes = frame.finish(0, 1, OTHER);
    let mut builder = EntryBuilder::new();
    builder.set_apply_version(APPLY_VERSION + 1);
    builder.begin_batch(&BatchHead::stateless(1));
    for item in Frame::parse(&bytes).expect("it is one").items() {
        builder.push_item(item.bytes);
    }
    builder.finish(0, 0)
}

/// Two spaces with a value; the log of the second goes on with an entry of the next apply version.
fn stopped() -> Bench {
    stopped_with(&[])
}

/// The same, and more entries behind it, with such values.
fn stopped_with(values: &[Vec<u8>]) -> Bench {
    let mut bench = Bench::with(small(APPLY_VERSION));
    let create = vec![Operation::SpaceCreate { name: b"other" }];
    assert_eq!(bench.ask(META_SPACE, create).0.code, None);
    for space in [SPACE, OTHER] {
        assert_eq!(bench.ask(space, put(b"k", b"v")).0.code, None);
    }
    let mut builder = EntryBuilder::new();
    builder.set_apply_version(APPLY_VERSION + 1);
    let entry = builder.finish(0, 0);
    let config = small(APPLY_VERSION);
    let newer = (1..)
        .zip(values)
        .map(|(number, value)| newer_entry(number, value));
    for entry in std::iter::once(entry).chain(newer) {
        let (log, drawn) = (&config.log, &config.drawn);
        let index = commit_entry(&mut bench.disk, log, drawn, OTHER.into(), &entry);
        assert!(index.is_some());
    }
    bench.restart_as(config)
}

/// Writes to the space that serves until the log has been used up several times.
fn outlive(bench: &mut Bench) {
    let bytes = vec![7; 4096];
    for round in 0..1_536_u32 {
        let key = (round % 16).to_le_bytes();
        assert_eq!(bench.ask(SPACE, put(&key, &bytes)).0.code, None);
    }
}

/// Asks for snapshots and waits until they are taken.
fn snapshot(bench: &mut Bench) -> ControlReply {
    bench.turn(|node, turn| node.on_control(5, ControlRequest::Snapshot, turn));
    if bench.turn.controls.is_empty() {
        bench.until(|bench| !bench.turn.controls.is_empty());
    }
    bench.turn.controls.remove(0).1
}

#[test]
fn it_serves_nothing_and_the_others_do() {
    let mut bench = stopped();
    assert!(bench.node.is_ready());
    let get = vec![Operation::Get { key: b"k" }];
    for operations in [get, put(b"k", b"w")] {
        let (head, _) = bench.ask(OTHER, operations);
        assert_eq!(head.code, Some(ErrorCode::ShardDamaged));
    }
    assert_eq!(bench.ask(SPACE, put(b"k", b"w")).0.code, None);
    let told = bench.statistics();
    let stopped: Vec<(u64, &str)> = told
        .stopped
        .iter()
        .map(|stopped| (stopped.group, stopped.name.as_str()))
        .collect();
    assert_eq!(stopped, [(OTHER.into(), "other")]);
    let why = &told.stopped[0].why;
    assert!(why.contains("can't be applied"), "{why}");
}

#[test]
fn a_check_says_what_a_start_says() {
    let mut bench = stopped();
    let report = check(&mut bench.disk, APPLY_VERSION).expect("it reads");
    assert!(!report.is_healthy());
    let served: Vec<(u64, bool)> = report
        .groups
        .iter()
        .map(|group| (group.group, group.served))
        .collect();
    assert_eq!(served, [(0, true), (1, true), (2, false)]);
    let newer = check(&mut bench.disk, APPLY_VERSION + 1).expect("it reads");
    assert!(newer.is_healthy(), "{newer}");
}

#[test]
fn it_does_not_hold_up_the_log() {
    let mut bench = stopped();
    for _ in 0..3 {
        outlive(&mut bench);
        bench.until(|bench| bench.jobs.is_empty() && !bench.node.is_snapshotting());
        let segments = bench.statistics().segments;
        let usual = 2 * SNAPSHOT_AFTER_BYTES / SEGMENT_BYTES + 4;
        assert!(segments <= usual, "{segments} segments");
        bench = bench.restart_as(small(APPLY_VERSION));
        let report = check(&mut bench.disk, APPLY_VERSION).expect("it reads");
        let stopped = report.findings.iter().filter(|finding| {
            finding.groups.contains(OTHER.into()) && finding.what.contains("can't be applied")
        });
        assert_eq!(stopped.count(), 1, "{report}");
    }
    // Whoever knows what the entry means finds everything.
    let mut bench = bench.restart_as(small(APPLY_VERSION + 1));
    assert!(bench.statistics().stopped.is_empty());
    let value = value(&mut bench, OTHER, b"k");
    assert!(value.windows(1).any(|window| window == b"v"), "{value:?}");
    assert_eq!(bench.ask(OTHER, put(b"k", b"w")).0.code, None);
}

/// A newer program was here for long before it was replaced: its entries are more than one turn, or one
/// segment, can take.
#[test]
fn it_does_not_hold_up_the_log_however_much_is_left_of_it() {
    let values: Vec<Vec<u8>> = (0..60).map(|number| vec![number; 50_000]).collect();
    let bytes: u64 = values.iter().map(|value| value.len() as u64).sum();
    let mut bench = stopped_with(&values);
    for _ in 0..4 {
        outlive(&mut bench);
        outlive(&mut bench);
        bench.until(|bench| bench.jobs.is_empty() && !bench.node.is_snapshotting());
        let usual = 2 * SNAPSHOT_AFTER_BYTES / SEGMENT_BYTES + 4;
        // What is left is there once, and perhaps half written again.
        let most = usual + 3 * bytes / SEGMENT_BYTES;
        let told = bench.statistics();
        let segments = told.segments;
        assert!(segments <= most, "{segments} segments, at most {most}");
        // Not again and again: the others' writes are most of it.
        let written = told.written_bytes;
        assert!(written < 32 * bytes, "{written} bytes were written");
        bench = bench.restart_as(small(APPLY_VERSION));
        assert_eq!(bench.statistics().stopped.len(), 1);
    }
    let mut bench = bench.restart_as(small(APPLY_VERSION + 1));
    assert!(bench.statistics().stopped.is_empty());
    let (head, results) = bench.ask(
        OTHER,
        vec![Operation::Count {
            from: b"",
            to: None,
        }],
    );
    assert_eq!(head.code, None);
    let results = parse_results(&results).expect("results");
    assert_eq!(results.results[0].count, 1 + values.len() as u64);
}

#[test]
fn a_snapshot_of_it_is_taken_when_asked_for_and_holds_what_was_applied() {
    let mut bench = stopped();
    let ControlReply::Snapshotted(taken) = snapshot(&mut bench) else {
        panic!("it was not taken");
    };
    assert!(taken.iter().any(|taken| taken.group == OTHER.into()));
    let mut bench = bench.restart_as(small(APPLY_VERSION));
    assert_eq!(bench.statistics().stopped.len(), 1);
    let mut bench = bench.restart_as(small(APPLY_VERSION + 1));
    assert!(bench.statistics().stopped.is_empty());
    assert!(!value(&mut bench, OTHER, b"k").is_empty());
}

#[test]
fn its_space_can_be_dropped_and_leaves_nothing() {
    let mut bench = stopped();
    let ControlReply::Snapshotted(_) = snapshot(&mut bench) else {
        panic!("it was not taken");
    };
    let drop = vec![Operation::SpaceDrop { name: b"other" }];
    assert_eq!(bench.ask(META_SPACE, drop).0.code, None);
    assert_eq!(
        bench.ask(OTHER, put(b"k", b"w")).0.code,
        Some(ErrorCode::UnknownSpace)
    );
    assert!(bench.statistics().stopped.is_empty());
    let mut bench = bench.restart_as(small(APPLY_VERSION));
    assert!(bench.statistics().stopped.is_empty());
    let report = check(&mut bench.disk, APPLY_VERSION).expect("it reads");
    assert!(report.is_healthy(), "{report}");
}

#[test]
fn it_is_no_reason_to_stay_when_the_node_drains() {
    let mut bench = stopped();
    bench.turn(|node, turn| node.on_control(5, ControlRequest::Drain, turn));
    bench.until(|bench| bench.turn.drained);
}
