//! The engine with its threads, disk and rings, driven as the gateway drives it.

mod support;

use std::time::{Duration, Instant};

use domp_engine::rings::{Direction, RingWriter, kind};
use domp_engine::{Control, Engine, LogMode, Options};
use domp_protocol::ErrorCode;
use support::{Gateway, PATIENCE, TestDirectory, get, put};

fn open(options: Options) -> Gateway {
    Gateway::open(options).expect("the engine opens")
}

fn modes(directory: &TestDirectory) -> [Options; 2] {
    let inline = directory.options();
    let threaded = Options {
        log_mode: LogMode::Threaded,
        ..inline.clone()
    };
    [inline, threaded]
}

#[test]
fn a_put_is_answered_and_read_back_after_a_restart() {
    for at in 0..2 {
        let directory = TestDirectory::new();
        let mut gateway = open(modes(&directory)[at].clone());
        gateway.attach(1, 1, &[]);
        gateway.submit(1, 1, 1, &[put(b"key", b"value")]);
        let reply = gateway.replies(1, 1, 1).remove(0);
        assert!(reply.head.applied && reply.head.code.is_none() && reply.head.revision > 0);
        assert_eq!(gateway.get(1, 1, 2, b"key"), Some(b"value".to_vec()));
        assert_eq!(gateway.get(1, 1, 3, b"other"), None);
        gateway.close();

        // The other mode reads what the first wrote.
        let mut gateway = open(modes(&directory)[1 - at].clone());
        gateway.attach(1, 1, &[]);
        assert_eq!(gateway.get(1, 1, 1, b"key"), Some(b"value".to_vec()));
        gateway.close();
    }
}

#[test]
fn an_engine_that_is_dropped_without_closing_keeps_what_it_acknowledged() {
    let directory = TestDirectory::new();
    for round in 0..5_u32 {
        let mut gateway = open(modes(&directory)[round as usize % 2].clone());
        gateway.attach(1, 1, &[]);
        for before in 0..round {
            let key = before.to_le_bytes();
            assert_eq!(
                gateway.get(1, 1, 1 + u64::from(before), &key),
                Some(key.to_vec())
            );
        }
        let key = round.to_le_bytes();
        gateway.submit(1, 1, 100, &[put(&key, &key)]);
        gateway.replies(1, 1, 1);
        drop(gateway);
    }
}

#[test]
fn a_session_is_resumed_after_a_restart_and_a_retry_is_answered_not_repeated() {
    let directory = TestDirectory::new();
    let mut gateway = open(directory.options());
    let welcome = gateway.attach(1, 1, &[]);
    gateway.submit(1, 1, 1, &[put(b"key", b"once")]);
    let first = gateway.replies(1, 1, 1).remove(0);
    gateway.close();

    let mut gateway = open(directory.options());
    let again = gateway.attach(9, 4, &welcome.session.to_bytes());
    assert!(again.resumed && again.epoch > welcome.epoch);
    gateway.submit(9, 4, 1, &[put(b"key", b"once")]);
    let second = gateway.replies(9, 4, 1).remove(0);
    assert!(second.head.replayed);
    assert_eq!(second.head.revision, first.head.revision);
    gateway.close();
}

#[test]
fn many_connections_in_one_turn_get_their_own_answers_in_one_frame_each() {
    let directory = TestDirectory::new();
    for options in modes(&directory) {
        let mut gateway = open(options);
        for slot in 0..50 {
            gateway.attach(slot, 1, &[]);
        }
        for round in 0..20_u64 {
            for slot in 0..50_u32 {
                let payloads: Vec<Vec<u8>> = (0..5_u32)
                    .map(|n| put(&[slot.to_le_bytes(), n.to_le_bytes()].concat(), &[1; 64]))
                    .collect();
                gateway.submit(slot, 1, 1 + round * 5, &payloads);
            }
            for slot in 0..50_u32 {
                let sequences: Vec<u64> = gateway
                    .replies(slot, 1, 5)
                    .iter()
                    .map(|reply| {
                        assert!(reply.head.applied, "{:?}", reply.head);
                        reply.head.sequence
                    })
                    .collect();
                let expected: Vec<u64> = (1 + round * 5..6 + round * 5).collect();
                assert_eq!(sequences, expected);
            }
        }
        let statistics = gateway
            .control(Control::Statistics)
            .wait()
            .expect("statistics");
        assert!(
            statistics.contains("\"outboundReplies\":5000"),
            "{statistics}"
        );
        assert!(statistics.contains("\"inboundFaults\":0"), "{statistics}");
        gateway.close();
    }
}

#[test]
fn a_later_generation_of_a_slot_never_sees_the_earlier_ones_replies() {
    let directory = TestDirectory::new();
    let mut gateway = open(directory.options());
    for generation in 1..200_u32 {
        gateway.attach(5, generation, &[]);
        let tag = generation.to_le_bytes();
        gateway.submit(5, generation, 1, &[put(b"slot", &tag), get(b"slot")]);
        if generation % 3 == 0 {
            // Waits for its answers; the others are gone before theirs come.
            gateway.replies(5, generation, 2);
        }
        gateway.detach(5, generation);
    }
    for ((slot, generation), frames) in gateway.close() {
        assert_eq!(slot, 5);
        for frame in frames {
            for (head, _) in domp_protocol::reply::parse_replies(&frame).expect("replies") {
                assert!(head.sequence <= 2, "generation {generation}: {head:?}");
            }
        }
    }
}

#[test]
fn a_gateway_that_does_not_drain_for_a_while_loses_nothing() {
    let directory = TestDirectory::new();
    let mut gateway = open(directory.options());
    gateway.attach(1, 1, &[]);
    // Twice what the ring holds.
    let value = vec![9; 64 << 10];
    gateway.submit(1, 1, 1, &[put(b"key", &value)]);
    gateway.replies(1, 1, 1);
    for sequence in 2..=512_u64 {
        gateway.submit(1, 1, sequence, &[get(b"key")]);
    }
    std::thread::sleep(Duration::from_secs(2));
    assert!(
        gateway.frames.values().all(Vec::is_empty),
        "nothing was drained meanwhile"
    );
    let statistics = gateway
        .control(Control::Statistics)
        .wait()
        .expect("statistics");
    assert!(
        !statistics.contains("\"queued\":0,") && statistics.contains("\"outboundBlocked\":0,"),
        "most is not even answered, so that it stands before nobody's answers: {statistics}"
    );
    let replies = gateway.replies(1, 1, 511);
    for (sequence, reply) in (2..).zip(&replies) {
        assert_eq!(reply.head.sequence, sequence, "in order, none missing");
        assert!(reply.results.results[0].entry.is_some());
    }
    gateway.close();
}

#[test]
fn closing_under_traffic_answers_everything_one_way_or_the_other() {
    for at in 0..2 {
        let directory = TestDirectory::new();
        let mut gateway = open(modes(&directory)[at].clone());
        for slot in 0..10 {
            gateway.attach(slot, 1, &[]);
        }
        for sequence in 1..=200_u64 {
            for slot in 0..10_u32 {
                gateway.submit(
                    slot,
                    1,
                    sequence,
                    &[put(&slot.to_le_bytes(), &sequence.to_le_bytes())],
                );
            }
        }
        let frames = gateway.close();
        let mut acknowledged = [0; 10];
        for ((slot, _), frames) in frames {
            for frame in frames {
                for (head, _) in domp_protocol::reply::parse_replies(&frame).expect("replies") {
                    if head.code.is_none() {
                        let last = &mut acknowledged[slot as usize];
                        assert_eq!(head.sequence, *last + 1, "in order");
                        *last = head.sequence;
                    }
                }
            }
        }
        assert!(acknowledged.iter().any(|last| *last > 0));
        let mut gateway = open(directory.options());
        gateway.attach(0, 2, &[]);
        for (slot, last) in (0_u32..).zip(acknowledged) {
            let held = gateway.get(0, 2, u64::from(slot) + 1, &slot.to_le_bytes());
            let held = held.map_or(0, |bytes| {
                u64::from_le_bytes(bytes.try_into().expect("eight"))
            });
            assert!(
                held >= last,
                "slot {slot}: {held} held, {last} acknowledged"
            );
        }
        gateway.close();
    }
}

#[test]
fn a_second_engine_on_the_directory_is_refused() {
    let directory = TestDirectory::new();
    let first = open(directory.options());
    let Err(why) = Gateway::open(directory.options()) else {
        panic!("a second engine opened");
    };
    assert!(why.contains("is in use by process"), "{why}");
    first.close();
    open(directory.options()).close();
}

#[test]
fn records_that_make_no_sense_are_dropped_and_counted() {
    let directory = TestDirectory::new();
    let mut gateway = open(directory.options());
    gateway.attach(1, 1, &[]);
    gateway.push(1, 1, kind::ATTACH, &[1; 15]);
    gateway.push(1, 1, kind::STATELESS, &[1; 15]);
    gateway.push(1, 1, 4, b"unknown kind");
    gateway.push(1, 1, 254, b"");
    gateway.push(77, 1, kind::FRAME, &[0xff; 1000]);
    gateway.push(u32::MAX, u32::MAX, kind::FRAME, &[0; 24]);
    gateway.push(u32::MAX, 3, kind::DETACH, b"with a body");
    gateway.flush();
    gateway.submit(1, 1, 1, &[put(b"still", b"alive")]);
    gateway.replies(1, 1, 1);
    let statistics = gateway
        .control(Control::Statistics)
        .wait()
        .expect("statistics");
    assert!(
        statistics.contains("\"inboundMalformed\":4"),
        "{statistics}"
    );
    // A frame that is none ends its connection with a goodbye.
    gateway.push(1, 1, kind::FRAME, b"no frame at all");
    gateway.flush();
    let frame = gateway.next_frame(1, 1);
    assert!(domp_protocol::handshake::parse_goodbye(&frame).is_ok());
    gateway.close();
}

#[test]
fn a_snapshot_on_request_is_recovered_from() {
    let directory = TestDirectory::new();
    let mut gateway = open(directory.options());
    gateway.attach(1, 1, &[]);
    for sequence in 1..=500_u64 {
        gateway.submit(1, 1, sequence, &[put(&sequence.to_le_bytes(), &[3; 500])]);
    }
    gateway.replies(1, 1, 500);
    gateway
        .control(Control::Snapshot)
        .wait()
        .expect("a snapshot");
    gateway.submit(1, 1, 501, &[put(b"after", b"it")]);
    gateway.replies(1, 1, 1);
    gateway.close();
    let mut gateway = open(directory.options());
    assert!(
        !gateway.report.contains("\"snapshotKeys\":0,"),
        "{}",
        gateway.report
    );
    gateway.attach(1, 1, &[]);
    assert_eq!(
        gateway.get(1, 1, 1, &500_u64.to_le_bytes()),
        Some(vec![3; 500])
    );
    assert_eq!(gateway.get(1, 1, 2, b"after"), Some(b"it".to_vec()));
    gateway.close();
}

#[test]
fn a_drain_refuses_what_comes_after_and_is_answered() {
    let directory = TestDirectory::new();
    let mut gateway = open(directory.options());
    gateway.attach(1, 1, &[]);
    gateway.submit(1, 1, 1, &[put(b"before", b"1")]);
    gateway.control(Control::Drain).wait().expect("drained");
    gateway.submit(1, 1, 2, &[put(b"after", b"2")]);
    let replies = gateway.replies(1, 1, 2);
    assert!(replies[0].head.applied);
    assert_eq!(replies[1].head.code, Some(ErrorCode::ShuttingDown));
    gateway.close();
}

#[test]
fn a_failed_log_write_ends_the_engine_with_a_reason_and_answers_nothing_more() {
    for at in 0..2 {
        let directory = TestDirectory::new();
        let mut gateway = open(modes(&directory)[at].clone());
        gateway.attach(1, 1, &[]);
        gateway.submit(1, 1, 1, &[put(b"key", b"value")]);
        gateway.replies(1, 1, 1);
        // The log's directory goes away; files already open would still take writes,
        // so the log must come to need another: many large values fill the segment.
        let wal = directory.path().join("wal");
        std::fs::remove_dir_all(&wal).expect("removed");
        std::fs::write(&wal, b"no directory any more").expect("written");
        let begun = Instant::now();
        let mut sequence = 2;
        while gateway.engine.fatal().is_none() {
            assert!(
                begun.elapsed() < PATIENCE,
                "the engine goes on without its log"
            );
            gateway.submit(1, 1, sequence, &[put(b"key", &vec![1; 900 << 10])]);
            sequence += 1;
            gateway.drain_for(Duration::from_millis(20));
        }
        let why = gateway.engine.fatal().expect("just looked");
        assert!(!why.is_empty());
        assert_eq!(gateway.control(Control::Statistics).wait(), Err(why));
        let closed = gateway.begin_close().wait();
        assert_eq!(closed, Ok("{\"drained\":false}".to_owned()));
    }
}

#[test]
fn opening_and_dropping_at_once_leaves_no_thread_and_no_lock() {
    let directory = TestDirectory::new();
    for _ in 0..10 {
        let options = directory.options();
        let memory = Engine::memory_for(&options).expect("memory");
        let engine = Engine::open(options, memory, Box::new(|| {}), Box::new(|_outcome| {}));
        drop(engine);
    }
    open(directory.options()).close();
}

#[test]
fn rings_that_hold_no_frame_are_refused() {
    let directory = TestDirectory::new();
    for (inbound, outbound) in [(1 << 20, 1 << 24), (1 << 24, 1 << 23), (3 << 23, 1 << 24)] {
        let options = Options {
            inbound_ring_bytes: inbound,
            outbound_ring_bytes: outbound,
            ..directory.options()
        };
        assert!(
            Engine::memory_for(&options).is_err(),
            "{inbound} {outbound}"
        );
    }
}

#[test]
fn a_panic_of_the_worker_is_reported_and_aborts_nothing() {
    let directory = TestDirectory::new();
    let gateway = open(directory.options());
    gateway.close();
    // The wake-up is called on the worker's thread: one that panics stands for any panic there.
    let options = directory.options();
    let memory = Engine::memory_for(&options).expect("memory");
    let (sender, opened) = std::sync::mpsc::channel();
    let engine = Engine::open(
        options,
        memory.clone(),
        Box::new(|| panic!("on purpose")),
        Box::new(move |outcome| drop(sender.send(outcome))),
    );
    opened
        .recv_timeout(PATIENCE)
        .expect("an answer")
        .expect("the engine opens");
    let mut writer = RingWriter::new(memory.clone(), Direction::Inbound);
    let mut attach = writer.begin(1, 1, kind::ATTACH, 16).expect("room");
    attach.write(&[1; 8]);
    attach.finish();
    writer.publish();
    engine.submit();
    engine.join();
    let why = engine.fatal().expect("the engine failed");
    assert_eq!(why, "the engine panicked: on purpose");
    // The directory is free: nothing is left of the engine.
    open(directory.options()).close();
}

#[test]
fn limits_that_were_changed_do_not_change_what_was_decided_under_the_former() {
    let directory = TestDirectory::new();
    let put_once = |gateway: &mut Gateway, slot: u32, key: &[u8]| {
        gateway.attach(slot, 1, &[]);
        gateway.submit(slot, 1, 1, &[put(key, b"value")]);
        gateway.replies(slot, 1, 1).remove(0).head.code
    };
    let with = |sessions_max| Options {
        sessions_max: Some(sessions_max),
        ..directory.options()
    };
    let mut gateway = open(with(2));
    assert_eq!(put_once(&mut gateway, 1, b"first"), None);
    assert_eq!(put_once(&mut gateway, 2, b"second"), None);
    let full = Some(ErrorCode::SessionsFull);
    assert_eq!(put_once(&mut gateway, 3, b"third"), full);
    // Not closed: what the log holds is replayed.
    drop(gateway);

    // With room for more, what was refused stays refused, and new sessions come in.
    let mut gateway = open(with(3));
    gateway.attach(9, 1, &[]);
    assert_eq!(gateway.get(9, 1, 1, b"third"), None);
    assert_eq!(gateway.get(9, 1, 2, b"second"), Some(b"value".to_vec()));
    assert_eq!(put_once(&mut gateway, 4, b"fourth"), None);
    assert_eq!(put_once(&mut gateway, 5, b"fifth"), full);
    drop(gateway);

    // With room for fewer, what was accepted stays.
    let mut gateway = open(with(1));
    gateway.attach(9, 1, &[]);
    assert_eq!(gateway.get(9, 1, 1, b"fourth"), Some(b"value".to_vec()));
    drop(gateway);
}

/// Why opening is refused.
fn refused(options: Options) -> String {
    Gateway::open(options).err().expect("it is refused")
}

#[test]
fn a_directory_of_an_older_format_is_refused_by_name() {
    let directory = TestDirectory::new();
    let identity = directory.path().join("identity");
    std::fs::write(&identity, "domp identity 1\nnode 9f86d081884c7d65\n").expect("written");
    let why = refused(directory.options());
    assert!(why.contains("identity has format version 1"), "{why}");
    assert!(why.contains("reads version 3"), "{why}");
    let left = std::fs::read_to_string(&identity).expect("it is there still");
    assert!(left.starts_with("domp identity 1"));
}

#[test]
fn an_identity_without_its_log_is_refused_and_asked_where_the_log_is() {
    let directory = TestDirectory::new();
    open(directory.options()).close();
    let wal = directory.path().join("wal");
    std::fs::rename(&wal, directory.path().join("kept")).expect("moved");
    let why = refused(directory.options());
    assert!(why.contains("identity, but no log"), "{why}");
    assert!(why.contains("log.dir"), "{why}");
    std::fs::create_dir(&wal).expect("made");
    let why = refused(directory.options());
    assert!(
        why.contains("identity, but no log"),
        "an emptied one: {why}"
    );
    assert!(!why.contains("log.dir"), "{why}");
}

#[test]
fn a_log_elsewhere_serves_the_node_it_is_of_and_no_other() {
    let (directory, log) = (TestDirectory::new(), TestDirectory::new());
    let with_log = |directory: &TestDirectory| Options {
        log_directory: Some(log.path().to_owned()),
        ..directory.options()
    };
    let mut gateway = open(with_log(&directory));
    gateway.attach(1, 1, &[]);
    gateway.submit(1, 1, 1, &[put(b"key", b"value")]);
    gateway.replies(1, 1, 1);
    let other = TestDirectory::new();
    assert!(refused(with_log(&other)).contains("is in use by process"));
    gateway.close();
    assert!(!directory.path().join("wal").exists());
    assert!(log.path().join("0000000001.log").exists());

    assert!(refused(with_log(&other)).contains("of its own"));
    open(other.options()).close();
    assert!(refused(with_log(&other)).contains("move its files there"));
    // Of another node, with a log beside it.
    std::fs::remove_dir_all(other.path().join("wal")).expect("removed");
    assert!(refused(with_log(&other)).contains("holds the log of node"));

    let mut gateway = open(with_log(&directory));
    gateway.attach(1, 1, &[]);
    assert_eq!(gateway.get(1, 1, 1, b"key"), Some(b"value".to_vec()));
    gateway.close();
}
