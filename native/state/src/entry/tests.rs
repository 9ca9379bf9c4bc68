use super::*;

fn head(nonce: u64, acked_below: u64) -> BatchHead {
    BatchHead {
        kind: BatchKind::Session,
        birth: 11,
        nonce,
        principal: 3,
        epoch: 4,
        acked_below,
    }
}

fn batches(bytes: &[u8]) -> Result<Vec<Batch<'_>>, EntryError> {
    Entry::parse(bytes)?.batches().collect()
}

#[test]
fn what_is_built_reads_back() {
    let mut builder = EntryBuilder::new();
    assert!(builder.is_empty());
    builder.begin_batch(&head(1, 5));
    builder.push_item(&[1; 16]);
    builder.push_item(&[2; 24]);
    builder.begin_batch(&head(2, 5));
    builder.begin_batch(&head(3, 5));
    builder.push_item(&[3; 32]);
    assert_eq!(builder.items(), 3);
    assert_eq!(builder.revisions(), 4);
    let length = builder.bytes();
    let entry = builder.finish(1000, 70);
    assert_eq!(entry.len(), length);

    let read = Entry::parse(&entry).expect("just built");
    assert_eq!((read.revision, read.lease_ms, read.items), (1000, 70, 3));
    assert_eq!(read.last_revision(), 1003, "the sweep comes first");
    let batches = batches(&entry).expect("just built");
    assert_eq!(batches.len(), 2, "a batch without items leaves no trace");
    assert_eq!(batches[0].head, head(1, 5));
    assert_eq!(batches[0].items, 2);
    assert_eq!(batches[0].bytes, [[1; 16].as_slice(), &[2; 24]].concat());
    assert_eq!(batches[1].head, head(3, 5));
    assert_eq!(batches[1].bytes, [3; 32]);
}

#[test]
fn a_batch_that_continues_the_one_before_joins_it() {
    let mut builder = EntryBuilder::new();
    builder.begin_batch(&head(1, 5));
    builder.push_item(&[1; 16]);
    builder.begin_batch(&head(1, 5));
    builder.push_item(&[1; 16]);
    builder.begin_batch(&head(1, 6));
    builder.push_item(&[1; 16]);
    let entry = builder.finish(1, 0);
    let counts: Vec<u32> = batches(&entry)
        .expect("just built")
        .iter()
        .map(|b| b.items)
        .collect();
    assert_eq!(
        counts,
        [2, 1],
        "another acknowledgement begins another batch"
    );
}

#[test]
fn batches_without_a_session_never_join() {
    let mut builder = EntryBuilder::new();
    let key = BatchHead::stateless(3);
    for _ in 0..2 {
        builder.begin_batch(&key);
        builder.push_item(&[1; 16]);
    }
    assert_eq!(batches(&builder.finish(1, 0)).expect("just built").len(), 2);
}

#[test]
fn an_entry_of_no_items_is_an_entry() {
    let mut builder = EntryBuilder::new();
    builder.begin_batch(&head(1, 5));
    let entry = builder.finish(9, 10);
    assert_eq!(entry.len(), ENTRY_HEADER_BYTES);
    assert_eq!(batches(&entry).expect("just built").len(), 0);
    assert_eq!(Entry::parse(&entry).expect("just built").last_revision(), 9);
}

#[test]
fn the_builder_can_be_used_again() {
    let mut builder = EntryBuilder::new();
    builder.begin_batch(&head(1, 5));
    builder.push_item(&[1; 16]);
    let first = builder.finish(1, 1);
    builder.begin_batch(&head(1, 5));
    builder.push_item(&[1; 16]);
    assert_eq!(builder.finish(1, 1), first);
}

#[test]
fn every_truncation_is_refused() {
    let mut builder = EntryBuilder::new();
    builder.begin_batch(&head(1, 5));
    builder.push_item(&[1; 16]);
    builder.begin_batch(&head(2, 5));
    builder.push_item(&[2; 16]);
    let mut entry = builder.finish(1, 1);
    for length in 0..entry.len() {
        assert!(batches(&entry[..length]).is_err(), "cut to {length}");
    }
    entry.extend_from_slice(&[0; 8]);
    assert!(batches(&entry).is_err(), "bytes behind the end");
}

#[test]
fn wrong_headers_are_refused() {
    let mut builder = EntryBuilder::new();
    builder.begin_batch(&head(1, 5));
    builder.push_item(&[1; 16]);
    let entry = builder.finish(1, 1);
    // Offset, and a value that is wrong there: versions, reserved bytes, counts, lengths, kind.
    let wrong = [
        (16, 1),
        (31, 1),
        (32, 1),
        (40, 2),
        (40, 0),
        (42, 1),
        (44, 2),
        (44, 0),
        (48, 2),
        (48, 0),
        (52, 1),
        (56 + 40, 0),
        (56 + 40, 2),
        (56 + 44, 8),
        (56 + 44, 17),
        (56 + 48, 0),
        (56 + 48, 2),
        (56 + 48, 3),
        (56 + 48, 4),
        (56 + 49, 1),
        (56 + 55, 1),
    ];
    for (at, value) in wrong {
        let mut bytes = entry.clone();
        bytes[at] = value;
        assert!(batches(&bytes).is_err(), "byte {at} set to {value}");
    }
    let mut version = entry;
    version[40] = 9;
    assert_eq!(batches(&version).err(), Some(EntryError::ApplyVersion(9)));
}

#[test]
fn the_highest_stamp_does_not_overflow() {
    let mut builder = EntryBuilder::new();
    builder.begin_batch(&head(1, 5));
    builder.push_item(&[1; 16]);
    let entry = builder.finish(u64::MAX, 1);
    let read = Entry::parse(&entry).expect("well formed");
    assert_eq!(read.last_revision(), u64::MAX);
}

#[test]
fn headers_are_those_of_the_schema() {
    use domp_protocol::generated::log;
    let mut builder = EntryBuilder::new();
    builder.begin_batch(&head(1, 5));
    builder.push_item(&[1; 16]);
    builder.begin_batch(&BatchHead::stateless(8));
    builder.push_item(&[1; 24]);
    builder.push_system(&SystemItem::Limits(crate::StateLimits::FOUNDING));
    let entry = builder.finish(1000, 70);
    let header = log::EntryHeader::new(1000, 70, 0, 0, 0, 1, 0, 3, 3, 0);
    assert_eq!(entry[..56], header.0);
    let session = log::BatchHeader::new(11, 1, 3, 4, 5, 1, 16, 1, 0, 0, 0);
    assert_eq!(entry[56..112], session.0);
    let stateless = log::BatchHeader::new(0, 0, 8, 0, 0, 1, 24, 2, 0, 0, 0);
    assert_eq!(entry[128..184], stateless.0);
    let system = log::BatchHeader::new(0, 0, 0, 0, 0, 1, 48, 3, 0, 0, 0);
    assert_eq!(entry[208..264], system.0);
}
