use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::*;

const SMALL: u32 = 4096;

fn small() -> (Arc<Memory>, RingWriter, RingReader) {
    with_capacity(SMALL)
}

fn with_capacity(bytes: u32) -> (Arc<Memory>, RingWriter, RingReader) {
    let memory = Arc::new(Memory::new(bytes, SMALL).expect("memory for a test"));
    let writer = RingWriter::new(memory.clone(), Direction::Inbound);
    let reader = RingReader::new(memory.clone(), Direction::Inbound);
    (memory, writer, reader)
}

fn push(writer: &mut RingWriter, slot: u32, body: &[u8]) -> bool {
    let length = u32::try_from(body.len()).expect("test bodies are short");
    let Some(mut record) = writer.begin(slot, slot ^ 7, kind::FRAME, length) else {
        return false;
    };
    record.write(body);
    record.finish();
    true
}

fn drain(reader: &mut RingReader, bytes_max: u32) -> Vec<(u32, Vec<u8>)> {
    let mut chunk = Chunk::new();
    let mut seen = Vec::new();
    while reader
        .fill_chunk(&mut chunk, bytes_max)
        .expect("an honest writer")
    {
        while let Some(record) = chunk.next() {
            assert_eq!(record.generation, record.slot ^ 7);
            assert_eq!(record.body.as_ptr() as usize % 8, 0, "bodies are aligned");
            seen.push((record.slot, record.body.to_vec()));
        }
    }
    seen
}

/// Writes a raw header where the next record would stand and publishes `advance` bytes.
fn forge(memory: &Memory, offset: u32, length: u32, kind: u8, advance: u32) {
    let mut header = [0; 16];
    header[8..12].copy_from_slice(&length.to_le_bytes());
    header[12] = kind;
    memory.copy_in(Direction::Inbound, offset, &header);
    let tail = memory.word(Word::InboundTail);
    tail.fetch_add(advance, Ordering::SeqCst);
}

#[test]
fn records_come_out_as_they_went_in_whatever_the_chunk_size() {
    for bytes_max in [1, 16, 17, 64, 1000, 100_000] {
        let (_memory, mut writer, mut reader) = small();
        let bodies: Vec<Vec<u8>> = (0..40_u8).map(|n| vec![n; usize::from(n)]).collect();
        for (slot, body) in (0..).zip(&bodies) {
            assert!(push(&mut writer, slot, body));
        }
        assert!(drain(&mut reader, bytes_max).is_empty(), "not published");
        assert!(writer.publish());
        assert!(!writer.publish(), "nothing new");
        let expected: Vec<(u32, Vec<u8>)> = (0..).zip(bodies).collect();
        assert_eq!(drain(&mut reader, bytes_max), expected);
        assert!(reader.is_empty());
    }
}

#[test]
fn a_full_ring_refuses_and_accepts_again_after_reading() {
    let (memory, mut writer, mut reader) = small();
    let mut pushed = 0;
    while push(&mut writer, pushed, &[1; 100]) {
        pushed += 1;
    }
    assert_eq!(pushed, SMALL / 128, "every byte of the ring is usable");
    writer.publish();
    assert!(!writer.wait_for_room(128));
    assert_eq!(drain(&mut reader, 300).len(), pushed as usize);
    assert!(memory.take_flag(Word::InboundBlocked), "the wish was left");
    assert!(!memory.take_flag(Word::InboundBlocked), "and is taken once");
    assert!(writer.wait_for_room(128));
    assert!(push(&mut writer, 0, &[2; 100]));
}

#[test]
fn records_never_wrap_and_the_marker_leads_to_the_start() {
    let (_memory, mut writer, mut reader) = small();
    let mut next = 0_u32;
    let mut expected = Vec::new();
    // Lengths that divide nothing, over many rounds of the ring.
    for round in 0..2000_u32 {
        let body = vec![round.to_le_bytes()[0]; (round as usize * 37) % 700];
        if push(&mut writer, next, &body) {
            expected.push((next, body));
            next += 1;
        } else {
            writer.publish();
            assert_eq!(drain(&mut reader, 500), expected);
            expected.clear();
        }
    }
    writer.publish();
    assert_eq!(drain(&mut reader, 500), expected);
    assert!(next > 1000);
}

#[test]
fn a_record_over_half_the_ring_gets_in_once_the_marker_is_read() {
    let (_memory, mut writer, mut reader) = small();
    assert!(push(&mut writer, 1, &[1; 2000]));
    writer.publish();
    assert_eq!(drain(&mut reader, 100).len(), 1);
    // 2016 bytes in, 2080 to the end: 3000 fit neither before nor after at once.
    assert!(!push(&mut writer, 2, &[2; 3000]));
    writer.publish();
    assert!(drain(&mut reader, 100).is_empty(), "only the marker");
    assert!(push(&mut writer, 2, &[2; 3000]));
    writer.publish();
    assert_eq!(drain(&mut reader, 100), vec![(2, vec![2; 3000])]);
}

#[test]
fn an_emptied_ring_begins_again_at_its_start() {
    let (memory, mut writer, mut reader) = with_capacity(1 << 20);
    for round in 0..5000_u32 {
        assert!(push(&mut writer, round, &[9; 1000]));
        writer.publish();
        assert_eq!(drain(&mut reader, 1 << 20).len(), 1);
    }
    let mut touched = vec![0; 1 << 20];
    memory.copy_out(Direction::Inbound, 0, &mut touched);
    let last = touched.iter().rposition(|byte| *byte != 0);
    assert!(last.is_some_and(|at| at < 520 * 1024), "{last:?}");
}

#[test]
fn what_was_announced_and_not_written_is_zero() {
    let (_memory, mut writer, mut reader) = small();
    while push(&mut writer, 3, &[0xaa; 240]) {}
    writer.publish();
    drain(&mut reader, SMALL);
    let mut record = writer.begin(1, 6, kind::FRAME, 100).expect("room");
    record.write(&[1; 10]);
    record.finish();
    writer.publish();
    let mut expected = vec![0; 100];
    expected[..10].fill(1);
    assert_eq!(drain(&mut reader, SMALL), vec![(1, expected)]);
}

#[test]
fn an_unfinished_record_leaves_no_trace() {
    let (_memory, mut writer, mut reader) = small();
    assert!(
        writer.begin(1, 6, kind::FRAME, 100).is_some(),
        "begun and left"
    );
    assert!(push(&mut writer, 2, b"kept"));
    writer.publish();
    assert_eq!(drain(&mut reader, SMALL), vec![(2, b"kept".to_vec())]);
}

#[test]
fn cursors_wrap_around_at_two_to_the_32() {
    let memory = Arc::new(Memory::new(SMALL, SMALL).expect("memory"));
    let start = 0_u32.wrapping_sub(2 * SMALL);
    memory
        .word(Word::InboundTail)
        .store(start, Ordering::SeqCst);
    memory
        .word(Word::InboundHead)
        .store(start, Ordering::SeqCst);
    let mut writer = RingWriter::new(memory.clone(), Direction::Inbound);
    let mut reader = RingReader::new(memory, Direction::Inbound);
    for round in 0..100 {
        assert!(push(&mut writer, round, &[5; 500]));
        writer.publish();
        assert_eq!(drain(&mut reader, SMALL), vec![(round, vec![5; 500])]);
    }
}

#[test]
fn hostile_lengths_and_cursors_are_faults_and_reading_goes_on() {
    type Case = (&'static str, u32, u8, u32, RingFault);
    let cases: [Case; 7] = [
        ("longest length", u32::MAX, 0, 64, RingFault::Length),
        (
            "just too long",
            BODY_BYTES_MAX + 1,
            0,
            64,
            RingFault::Length,
        ),
        ("past the tail", 100, 0, 64, RingFault::Overrun),
        ("past the ring", 8000, 0, 4096, RingFault::Overrun),
        (
            "marker past the tail",
            0,
            kind::WRAP,
            64,
            RingFault::Overrun,
        ),
        ("unaligned tail", 0, 0, 24, RingFault::Cursor),
        ("tail beyond capacity", 0, 0, SMALL + 16, RingFault::Cursor),
    ];
    for (name, length, record_kind, advance, fault) in cases {
        let (memory, writer, mut reader) = small();
        drop(writer);
        let mut chunk = Chunk::new();
        forge(&memory, 0, length, record_kind, advance);
        assert_eq!(reader.fill_chunk(&mut chunk, 256), Err(fault), "{name}");
        assert!(chunk.next().is_none(), "{name}: nothing comes of it");
        assert!(reader.is_empty(), "{name}: all of it is skipped");
        assert_eq!(reader.fill_chunk(&mut chunk, 256), Ok(false), "{name}");
        if advance.is_multiple_of(16) {
            let mut writer = RingWriter::new(memory, Direction::Inbound);
            assert!(push(&mut writer, 1, b"after"), "{name}");
            writer.publish();
            assert_eq!(drain(&mut reader, 256), vec![(1, b"after".to_vec())]);
        }
    }
}

#[test]
fn random_bytes_in_the_ring_are_never_more_than_faults() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let (memory, _writer, mut reader) = small();
    let mut chunk = Chunk::new();
    let (mut faults, mut records) = (0, 0);
    for _ in 0..20_000 {
        let offset = u32::try_from(draw() % u64::from(SMALL - 16)).expect("below the capacity");
        let mut header = [0; 16];
        for (byte, value) in header.iter_mut().zip(draw().to_le_bytes()) {
            *byte = value;
        }
        // Half of the time a plausible length.
        if draw().is_multiple_of(2) {
            header[8..12].copy_from_slice(&[draw().to_le_bytes()[0], 0, 0, 0]);
        }
        memory.copy_in(Direction::Inbound, offset, &header);
        let step = draw().to_le_bytes();
        let aligned = u32::from(step[0]) * 16;
        let step = if step[1] < 16 { aligned + 4 } else { aligned };
        memory
            .word(Word::InboundTail)
            .fetch_add(step, Ordering::SeqCst);
        for _ in 0..300 {
            match reader.fill_chunk(&mut chunk, 512) {
                Ok(true) => records += 1,
                Ok(false) => break,
                Err(_) => faults += 1,
            }
            while chunk.next().is_some() {}
        }
        assert!(reader.is_empty(), "reading ends");
    }
    assert!(faults > 100 && records > 100, "{faults} {records}");
}

#[test]
fn a_reader_cursor_out_of_place_frees_nothing() {
    let (memory, mut writer, _reader) = small();
    while push(&mut writer, 3, &[1; 240]) {}
    for head in [1, 8, SMALL + 16, u32::MAX] {
        memory.word(Word::InboundHead).store(head, Ordering::SeqCst);
        assert!(!push(&mut writer, 3, &[1; 240]), "{head}");
    }
}

#[test]
fn capacities_that_are_no_power_of_two_are_refused() {
    for bytes in [0, 1, 2048, 4097, 12_288, u32::MAX] {
        assert!(Memory::new(bytes, SMALL).is_err(), "{bytes}");
        assert!(Memory::new(SMALL, bytes).is_err(), "{bytes}");
    }
}

#[test]
fn a_long_record_is_fetched_whole_and_its_memory_given_back() {
    let (_memory, mut writer, mut reader) = with_capacity(16 << 20);
    let body: Vec<u8> = (0_u32..8 << 20).map(|n| n.to_le_bytes()[0]).collect();
    assert!(push(&mut writer, 1, &body));
    assert!(push(&mut writer, 2, b"small"));
    writer.publish();
    let mut chunk = Chunk::new();
    assert_eq!(reader.fill_chunk(&mut chunk, 1000), Ok(true));
    assert_eq!(chunk.next().map(|record| record.body == body), Some(true));
    assert!(chunk.next().is_none());
    assert_eq!(reader.fill_chunk(&mut chunk, 1000), Ok(true));
    assert_eq!(
        chunk.next().map(|record| record.body.to_vec()),
        Some(b"small".to_vec())
    );
}

/// Two threads, real parking: nothing is lost, reordered or changed, and nobody sleeps for ever.
#[test]
fn a_writer_and_a_reader_thread_lose_nothing() {
    const RECORDS: u32 = 300_000;
    let memory = Arc::new(Memory::new(1 << 14, SMALL).expect("memory"));
    let mut writer = RingWriter::new(memory.clone(), Direction::Inbound);
    let mut reader = RingReader::new(memory.clone(), Direction::Inbound);
    let producer_thread = std::thread::current();
    let consumer = std::thread::spawn(move || {
        let mut chunk = Chunk::new();
        let mut expected = 0_u32;
        while expected < RECORDS {
            if !reader
                .fill_chunk(&mut chunk, 2048)
                .expect("an honest writer")
            {
                memory.announce(Word::Sleeping);
                if reader.is_empty() {
                    std::thread::park();
                }
                memory.take_flag(Word::Sleeping);
                continue;
            }
            if memory.take_flag(Word::InboundBlocked) {
                producer_thread.unpark();
            }
            while let Some(record) = chunk.next() {
                assert_eq!(record.slot, expected);
                let length = expected.wrapping_mul(2_654_435_761) >> 23;
                assert_eq!(record.body.len(), length as usize);
                let tag = expected.to_le_bytes()[0];
                assert!(record.body.iter().all(|byte| *byte == tag));
                expected += 1;
            }
        }
    });
    let consumer_thread = consumer.thread().clone();
    let memory = writer.memory().clone();
    let submit = |writer: &mut RingWriter| {
        writer.publish();
        if memory.take_flag(Word::Sleeping) {
            consumer_thread.unpark();
        }
    };
    for n in 0..RECORDS {
        let length = n.wrapping_mul(2_654_435_761) >> 23;
        let body = vec![n.to_le_bytes()[0]; length as usize];
        while !push(&mut writer, n, &body) {
            submit(&mut writer);
            if !writer.wait_for_room(1024) {
                std::thread::park();
            }
        }
        if n.is_multiple_of(7) {
            submit(&mut writer);
        }
    }
    submit(&mut writer);
    consumer.join().expect("the consumer saw what it expected");
}
