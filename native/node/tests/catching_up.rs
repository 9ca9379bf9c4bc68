//! Who was away for longer than its leader keeps entries is brought up by a snapshot, and whatever strikes that
//! ends well.

mod support;

use std::cell::RefCell;
use std::io::ErrorKind;
use std::rc::Rc;

use domp_log::memory::{Fault, MemoryDisk, Tear};
use domp_log::snapshot::{ContentDigest, SnapshotHead, SnapshotReader, list, read_name};
use domp_log::{Disk, Job};
use domp_node::{Config, ControlRequest, Lane};
use domp_protocol::error::ErrorCode;
use domp_protocol::generated::layout::snapshot_message as place;
use domp_protocol::transaction::{META_SPACE, Operation};

use support::trio::Trio;
use support::{SPACE, put};

const GROUP: u64 = SPACE as u64;
/// Words of messages, as `schemas/peer.fbs` numbers them.
const OFFER: u8 = 1;
const PIECE: u8 = 2;
const INSTALLED: u8 = 6;

/// Nothing that is applied is kept.
fn forgetful(config: &mut Config) {
    config.entries_kept_bytes_max = 0;
    config.snapshot_rest_us = 0;
}

/// Writes at the leader, whoever that is.
fn write(trio: &mut Trio, times: usize, value: &[u8]) {
    for time in 0..times {
        let key = format!("key {:03}", time % 200);
        for attempt in 0.. {
            assert!(attempt < 500, "nobody leads");
            let Some(leader) = trio.leader() else {
                trio.round();
                continue;
            };
            let (head, _) = trio.ask(leader, put(key.as_bytes(), value));
            match head.code {
                None => break,
                Some(ErrorCode::Unavailable | ErrorCode::LeaderChanged) => trio.round(),
                Some(code) => panic!("{code:?}"),
            }
        }
    }
}

/// A trio one of whose followers is cut off and lacks what the others have forgotten. With the follower.
fn trio_with(configure: fn(&mut Config), times: usize, value: &[u8]) -> (Trio, usize) {
    let mut trio = Trio::configured(configure);
    let follower = (trio.leader().expect("one leads") + 1) % 3;
    write(&mut trio, 3, b"before");
    trio.isolate(follower);
    write(&mut trio, times, value);
    (trio, follower)
}

fn trio() -> (Trio, usize) {
    trio_with(forgetful, 20, b"while it was away")
}

fn installed(trio: &Trio, at: usize) -> u64 {
    trio.benches[at].node.transfer_counters().installed
}

fn is_receiving(trio: &Trio, at: usize) -> bool {
    trio.benches[at].node.transfers_under_way().1 > 0
}

/// Whether a file that was received has not got its name.
fn has_received(disk: &MemoryDisk) -> bool {
    let files = disk.clone().list().expect("it lists");
    files
        .iter()
        .any(|file| file.name.strip_suffix(".recv").is_some())
}

/// All hold the same, and go on.
fn agree(trio: &mut Trio) {
    trio.cut.clear();
    trio.filter = None;
    write(trio, 1, b"after");
    let told =
        |trio: &Trio, at: usize| -> Vec<_> { trio.benches[at].node.named_snapshots().collect() };
    for _ in 0..100 {
        for _ in 0..200 {
            trio.round();
        }
        for bench in &mut trio.benches {
            bench.turn(|node, turn| node.on_control(5, ControlRequest::Snapshot, turn));
        }
        for _ in 0..100 {
            trio.round();
        }
        let first = told(trio, 0);
        let is_there = first.iter().any(|(group, _)| *group == GROUP);
        if is_there && first == told(trio, 1) && first == told(trio, 2) {
            return;
        }
    }
    panic!("they do not come to agree");
}

#[test]
fn who_was_away_for_long_is_brought_up_by_a_snapshot_in_pieces() {
    // More than may be under way at a time.
    let (mut trio, follower) = trio_with(forgetful, 300, &[7; 9_000]);
    let longest = Rc::new(RefCell::new(0));
    let seen = Rc::clone(&longest);
    trio.filter = Some(Box::new(move |_, _, lane, bytes| {
        if lane == Lane::Bulk {
            let mut most = seen.borrow_mut();
            *most = bytes.len().max(*most);
        }
        true
    }));
    trio.cut.clear();
    trio.until(|trio| installed(trio, follower) > 0);
    assert!(*longest.borrow() < 2 << 20, "{longest:?}");
    agree(&mut trio);
    assert!(!has_received(&trio.benches[follower].disk));
    trio.restart(follower);
    agree(&mut trio);
}

/// Clients are answered and nobody is elected meanwhile.
#[test]
fn the_others_go_on_meanwhile() {
    let (mut trio, follower) = trio_with(forgetful, 200, &[7; 9_000]);
    let led: Vec<_> = (0..3).map(|at| trio.leads(at)).collect();
    trio.cut.clear();
    trio.until(|trio| is_receiving(trio, follower));
    trio.benches[follower].holds_jobs = true;
    write(&mut trio, 30, b"meanwhile");
    assert_eq!(installed(&trio, follower), 0);
    assert_eq!(led, (0..3).map(|at| trio.leads(at)).collect::<Vec<_>>());
    trio.benches[follower].holds_jobs = false;
    trio.until(|trio| installed(trio, follower) > 0);
    agree(&mut trio);
}

#[test]
fn the_leader_hears_installed_only_when_it_is_durable() {
    let (mut trio, follower) = trio();
    let said = Rc::new(RefCell::new(0));
    let heard = Rc::clone(&said);
    trio.filter = Some(Box::new(move |from, _, lane, bytes| {
        if from == follower && lane == Lane::Bulk && bytes[place::WORD] == INSTALLED {
            *heard.borrow_mut() += 1;
        }
        true
    }));
    trio.cut.clear();
    trio.until(|trio| has_received(&trio.benches[follower].disk));
    trio.benches[follower].holds_writes = true;
    for _ in 0..300 {
        trio.round();
    }
    assert_eq!((*said.borrow(), installed(&trio, follower)), (0, 0));
    let sends = |trio: &Trio| {
        let nodes = trio.benches.iter();
        nodes
            .map(|bench| bench.node.transfers_under_way().0)
            .sum::<usize>()
    };
    assert!(sends(&trio) > 0, "the leader waits for it");
    trio.benches[follower].holds_writes = false;
    trio.until(|trio| installed(trio, follower) > 0 && sends(trio) == 0);
    agree(&mut trio);
}

/// Every state that the disk is in on the way is one that a start accepts, and from which it is brought up.
#[test]
fn power_may_fail_between_any_two_steps() {
    let (mut trio, follower) = trio();
    trio.cut.clear();
    trio.watched = Some((follower, Vec::new()));
    trio.until(|trio| installed(trio, follower) > 0 && !has_received(&trio.benches[follower].disk));
    let (_, disks) = trio.watched.take().expect("it was watched");
    assert!(disks.iter().any(has_received), "of {}", disks.len());
    for disk in disks {
        for tear in [Tear::All, Tear::Nothing, Tear::Sector] {
            trio.benches[follower].disk = disk.clone();
            trio.restart_torn(follower, tear);
            for group in [0, GROUP] {
                assert!(trio.benches[follower].node.describe(group).is_some());
            }
            let mut statistics = trio.benches[follower].statistics();
            assert!(statistics.stopped.drain(..).next().is_none());
        }
    }
    agree(&mut trio);
}

#[test]
fn a_spoilt_piece_is_found_and_another_attempt_made() {
    let (mut trio, follower) = trio();
    let mut is_spoilt = false;
    trio.filter = Some(Box::new(move |_, to, lane, bytes| {
        if to == follower && lane == Lane::Bulk && bytes[place::WORD] == PIECE && !is_spoilt {
            bytes[place::STRUCT_BYTES + 300] ^= 4;
            is_spoilt = true;
        }
        true
    }));
    trio.cut.clear();
    trio.until(|trio| installed(trio, follower) > 0);
    assert!(trio.benches[follower].node.transfer_counters().given_up > 0);
    agree(&mut trio);
}

#[test]
fn what_is_lost_is_said_again() {
    let (mut trio, follower) = trio();
    let mut left = 4;
    trio.filter = Some(Box::new(move |from, to, lane, _| {
        let is_lost = lane == Lane::Bulk && (from == follower || to == follower) && left > 0;
        left -= i32::from(is_lost);
        !is_lost
    }));
    trio.cut.clear();
    trio.until(|trio| installed(trio, follower) > 0);
    agree(&mut trio);
}

#[test]
fn a_job_that_fails_at_either_end_is_made_up_for() {
    for (nth, kind) in [
        (1, ErrorKind::StorageFull),
        (2, ErrorKind::Other),
        (3, ErrorKind::Other),
    ] {
        let (mut trio, follower) = trio();
        trio.cut.clear();
        trio.until(|trio| is_receiving(trio, follower));
        let bench = &mut trio.benches[follower];
        bench.holds_jobs = true;
        let is_write = |job: &Job| matches!(job, Job::SnapshotWrite { .. });
        trio.until(|trio| {
            trio.benches[follower]
                .jobs
                .iter()
                .any(|(_, job)| is_write(job))
        });
        let bench = &mut trio.benches[follower];
        bench.jobs.retain(|(_, job)| is_write(job));
        let operation = bench.disk.operations() + nth;
        bench.disk.inject(operation, Fault::Fail(kind));
        bench.holds_jobs = false;
        trio.until(|trio| installed(trio, follower) > 0);
        agree(&mut trio);
    }
    let (mut trio, follower) = trio();
    let leader = trio.leader().expect("one leads");
    trio.cut.clear();
    trio.benches[leader].holds_jobs = true;
    let mut has_failed = false;
    for _ in 0..2_000 {
        trio.round();
        let bench = &mut trio.benches[leader];
        for (_, job) in &mut bench.jobs {
            if let Job::SnapshotRead { info, .. } = job
                && !has_failed
            {
                info.file = "snap/gone".into();
                has_failed = true;
            }
        }
        bench.holds_jobs = false;
        bench.turn(|_, _| {});
        trio.pass_on(leader);
        trio.benches[leader].holds_jobs = true;
    }
    trio.benches[leader].holds_jobs = false;
    assert!(has_failed);
    trio.until(|trio| installed(trio, follower) > 0);
    agree(&mut trio);
}

#[test]
fn another_leader_begins_anew() {
    let (mut trio, follower) = trio();
    let leader = trio.leader().expect("one leads");
    trio.cut.clear();
    trio.filter = Some(Box::new(|_, _, lane, bytes| {
        lane != Lane::Bulk || bytes[place::WORD] != PIECE
    }));
    trio.until(|trio| is_receiving(trio, follower));
    // For good, as far as the others can tell.
    trio.paused.insert(leader);
    trio.filter = None;
    trio.until(|trio| trio.leader().is_some() && installed(trio, follower) > 0);
    assert!(trio.benches[follower].node.transfer_counters().given_up > 0);
    trio.paused.clear();
    agree(&mut trio);
}

#[test]
fn a_space_that_is_dropped_takes_what_is_on_its_way_with_it() {
    let (mut trio, follower) = trio();
    trio.cut.clear();
    trio.filter = Some(Box::new(|_, _, lane, bytes| {
        lane != Lane::Bulk || bytes[place::WORD] != PIECE || bytes[place::GROUP] == 0
    }));
    trio.until(|trio| is_receiving(trio, follower));
    let meta = (0..3).find(|at| trio.leads_group(*at, META_SPACE.into()));
    let name: &[u8] = b"default";
    let drop = vec![Operation::SpaceDrop { name }];
    trio.submit_to(meta.expect("one leads"), META_SPACE, drop);
    trio.until(|trio| (0..3).all(|at| trio.benches[at].node.describe(GROUP).is_none()));
    for _ in 0..3_000 {
        trio.round();
    }
    for bench in &mut trio.benches {
        assert_eq!(bench.node.transfers_under_way(), (0, 0));
        let files = bench.disk.list().expect("it lists");
        let of_it = |name: &str| name.starts_with(&format!("snap/{GROUP:010}-"));
        assert!(!files.iter().any(|file| of_it(&file.name)), "{files:?}");
    }
}

/// More is written than may be held for the follower: it is tried again, later and later, and ends well.
#[test]
fn what_is_outgrown_is_begun_anew_with_backoff() {
    let configure = |config: &mut Config| {
        forgetful(config);
        config.entries_held_bytes_max = 20_000;
    };
    let (mut trio, follower) = trio_with(configure, 20, b"away");
    trio.cut.clear();
    trio.filter = Some(Box::new(|_, _, lane, bytes| {
        lane != Lane::Bulk || bytes[place::WORD] != PIECE
    }));
    for _ in 0..40 {
        write(&mut trio, 10, &[1; 4_000]);
        for _ in 0..100 {
            trio.round();
        }
    }
    let sum = |trio: &Trio, of: fn(&domp_node::TransferCounters) -> u64| -> u64 {
        let nodes = trio.benches.iter();
        nodes.map(|bench| of(&bench.node.transfer_counters())).sum()
    };
    assert!(sum(&trio, |counters| counters.outgrown) > 0);
    assert!(sum(&trio, |counters| counters.sent) < 20, "in a tight loop");
    trio.filter = None;
    trio.until(|trio| installed(trio, follower) > 0);
    agree(&mut trio);
}

/// Who is in a group comes with its snapshot, and stays true over a restart.
#[test]
fn the_membership_is_installed_with_the_state() {
    let (mut trio, follower) = trio();
    let leader = trio.leader().expect("one leads");
    let disk = Rc::new(RefCell::new(MemoryDisk::new()));
    let file = Rc::clone(&disk);
    trio.filter = Some(Box::new(move |from, to, lane, bytes| {
        let is_offer = lane == Lane::Bulk && bytes[place::WORD] == OFFER;
        if (from, to) == (leader, follower) && is_offer && u64::from(bytes[0]) == GROUP {
            join(&mut file.borrow_mut(), bytes);
        }
        true
    }));
    trio.cut.clear();
    for _ in 0..5_000 {
        *disk.borrow_mut() = trio.benches[leader].disk.clone();
        trio.round();
        if installed(&trio, follower) > 1 {
            break;
        }
    }
    let members = |trio: &mut Trio| {
        write(trio, 1, b"more");
        for _ in 0..60 {
            trio.round();
        }
        let bench = &mut trio.benches[follower];
        bench.turn(|node, turn| node.on_control(5, ControlRequest::Snapshot, turn));
        bench.until(|bench| !bench.node.is_snapshotting() && bench.jobs.is_empty());
        let infos = list(&mut bench.disk).expect("it lists");
        let info = infos
            .iter()
            .find(|info| info.group == GROUP)
            .expect("taken");
        let (_, _, head) = read_name(&mut bench.disk, info).expect("it reads");
        head.conf.voters
    };
    assert_eq!(members(&mut trio), [1, 2, 3, 9]);
    trio.restart(follower);
    assert_eq!(members(&mut trio), [1, 2, 3, 9]);
}

/// Changes an offer to one of a group that has another member, which has no word in anything yet.
fn join(disk: &mut MemoryDisk, bytes: &mut Vec<u8>) {
    let infos = list(disk).expect("it lists");
    let info = infos
        .iter()
        .find(|info| info.group == GROUP)
        .expect("a file");
    let length = u32::from_le_bytes(*bytes[place::BYTES..].first_chunk().expect("a field"));
    let portable = &bytes[place::STRUCT_BYTES..][..length as usize];
    let mut head = SnapshotHead::decode(portable).expect("a head");
    head.conf.voters.push(9);
    let portable = head.encode();
    let mut content = ContentDigest::new(portable.clone());
    let mut reader = SnapshotReader::open(disk, info).expect("it opens");
    while let Some((kind, slice)) = reader.next_slice(disk).expect("it reads") {
        content.add(kind, slice);
    }
    bytes[place::DIGEST_LOW..][..16].copy_from_slice(&content.digest().to_le_bytes());
    let length = u32::try_from(portable.len()).expect("short");
    bytes[place::BYTES..][..4].copy_from_slice(&length.to_le_bytes());
    bytes.truncate(place::STRUCT_BYTES);
    bytes.extend_from_slice(&portable);
}

/// The last index of a node's log, and what it has applied.
fn ends(trio: &Trio, at: usize) -> (u64, u64) {
    let said = trio.benches[at].node.describe(GROUP).expect("it is there");
    let number = |before: &str| -> u64 {
        let (_, rest) = said.split_once(before).expect("it says so");
        let digits = rest.split_once("..").map_or(rest, |(_, last)| last);
        let digits = if before == " log " { digits } else { rest };
        let digits = digits.split(' ').next().expect("a number");
        digits.parse().expect("a number")
    };
    (number(" log "), number(" applied "))
}

/// A leader that proposed much which nobody else has, while the others elected another and wrote a little.
fn deposed(configure: fn(&mut Config)) -> (Trio, usize) {
    let mut trio = Trio::configured(configure);
    let old = trio.leader().expect("one leads");
    write(&mut trio, 3, b"before");
    trio.isolate(old);
    for _ in 0..30 {
        trio.submit(old, put(b"k", b"nobody else has it"));
    }
    trio.until(|trio| trio.leader().is_some_and(|leader| leader != old));
    write(&mut trio, 3, b"after");
    let (last, _) = ends(&trio, old);
    trio.cut.clear();
    let end = ends(&trio, (old + 1) % 3).0;
    assert!(last > end, "it has more than {end}");
    (trio, old)
}

/// They would be what it says to hold when it is asked for its vote.
#[test]
fn entries_before_an_installed_snapshot_do_not_come_back() {
    let (mut trio, old) = deposed(forgetful);
    trio.until(|trio| installed(trio, old) > 0);
    trio.isolate(old);
    for _ in 0..100 {
        trio.round();
    }
    for tear in [Tear::Nothing, Tear::All] {
        trio.restart_torn(old, tear);
        let (last, applied) = ends(&trio, old);
        assert!(last <= applied + 1, "{last} behind {applied}");
    }
    agree(&mut trio);
}

#[test]
fn entries_that_were_replaced_do_not_come_back_behind_a_snapshot() {
    let (mut trio, old) = deposed(|_| {});
    let other = (old + 1) % 3;
    trio.until(|trio| ends(trio, old) == ends(trio, other));
    let bench = &mut trio.benches[old];
    bench.turn(|node, turn| node.on_control(5, ControlRequest::Snapshot, turn));
    let end = ends(&trio, old);
    let named = |trio: &Trio| {
        trio.benches[old]
            .node
            .named_snapshots()
            .any(|one| one.0 == GROUP)
    };
    trio.until(named);
    for _ in 0..50 {
        trio.round();
    }
    trio.isolate(old);
    trio.restart(old);
    assert_eq!(ends(&trio, old), end);
}
