//! What the encoder writes, the stock reader accepts and reads back.

use super::*;

fn entry(value: Option<ValueRef<'static>>, expires_in_ms: Option<u64>) -> EntryRef<'static> {
    EntryRef {
        key: b"player/1",
        value,
        created: 1,
        modified: u64::MAX,
        version: 3,
        expires_in_ms,
    }
}

fn owned(entry: &EntryRef<'_>) -> OwnedEntry {
    OwnedEntry {
        key: entry.key.to_vec(),
        value: entry.value.map(|value| match value {
            ValueRef::Bytes(bytes) => EntryValue::Bytes(bytes.to_vec()),
            ValueRef::Number(number) => EntryValue::Number(number),
        }),
        created: entry.created,
        modified: entry.modified,
        version: entry.version,
        expires_in_ms: entry.expires_in_ms,
    }
}

fn get_result(entry: Option<&EntryRef<'_>>) -> ResultValue {
    ResultValue {
        entry: entry.map(owned),
        ..ResultValue::default()
    }
}

/// Entries of every layout, with keys and values of every length up to a few alignments.
fn every_entry() -> Vec<EntryRef<'static>> {
    const BYTES: &[u8] = b"0123456789abcdef!";
    let mut entries = Vec::new();
    for expires_in_ms in [None, Some(0), Some(u64::MAX)] {
        for value in [None, Some(ValueRef::Number(0)), Some(ValueRef::Number(-1))] {
            entries.push(entry(value, expires_in_ms));
        }
        for key_bytes in 0..=9 {
            for value_bytes in 0..=BYTES.len() {
                let value = Some(ValueRef::Bytes(&BYTES[..value_bytes]));
                let key = &BYTES[..key_bytes];
                entries.push(EntryRef {
                    key,
                    ..entry(value, expires_in_ms)
                });
            }
        }
    }
    entries
}

#[test]
fn a_lone_get_reads_back_alone_and_after_it_was_joined() {
    let mut encoder = ResultsEncoder::new();
    for entry in every_entry() {
        let mut alone = Vec::new();
        encoder.begin();
        encoder.push_get(Some(&entry));
        assert_eq!(encoder.bytes(), {
            encoder.finish(None, &mut alone);
            alone.len()
        });
        let results = parse_results(&alone).expect("the stock reader accepts it");
        assert_eq!(results.results, [get_result(Some(&entry))]);
        assert_eq!(results.failed_guard, None);

        let mut joined = Vec::new();
        encoder.begin();
        encoder.push_get(Some(&entry));
        encoder.push_count(5);
        encoder.finish(None, &mut joined);
        let count = ResultValue {
            count: 5,
            ..ResultValue::default()
        };
        let results = parse_results(&joined).expect("valid").results;
        assert_eq!(results, [get_result(Some(&entry)), count]);
    }
}

#[test]
fn a_lone_get_that_finds_nothing_is_one_empty_result() {
    let mut encoder = ResultsEncoder::new();
    let mut out = b"before".to_vec();
    encoder.begin();
    encoder.push_get(None);
    encoder.finish(None, &mut out);
    let results = parse_results(&out[6..]).expect("valid");
    assert_eq!(results.results, [ResultValue::default()]);
}

#[test]
fn puts_alone_say_nothing() {
    let mut encoder = ResultsEncoder::new();
    let mut out = Vec::new();
    encoder.begin();
    encoder.push_none();
    encoder.push_none();
    encoder.finish(None, &mut out);
    assert!(out.is_empty());
    encoder.begin();
    encoder.push_none();
    encoder.finish(Some(3), &mut out);
    assert_eq!(
        parse_results(&out),
        Ok(Results {
            results: vec![],
            failed_guard: Some(3)
        })
    );
}

#[test]
fn mixed_results_keep_their_places() {
    let bytes = entry(Some(ValueRef::Bytes(b"v")), None);
    let number = entry(Some(ValueRef::Number(9)), Some(7));
    let mut encoder = ResultsEncoder::new();
    // The second round runs in memory that the first has dirtied.
    for _ in 0..2 {
        let mut out = Vec::new();
        encoder.begin();
        encoder.push_none();
        encoder.push_get(Some(&bytes));
        encoder.begin_range();
        encoder.range_entry(&number);
        encoder.range_entry(&bytes);
        encoder.end_range(true);
        encoder.begin_range();
        encoder.end_range(false);
        encoder.push_number(-4);
        encoder.push_get(None);
        assert!(encoder.bytes() > 0);
        encoder.finish(Some(0), &mut out);
        let results = parse_results(&out).expect("valid");
        let page = ResultValue {
            entries: vec![owned(&number), owned(&bytes)],
            more: true,
            ..ResultValue::default()
        };
        let sum = ResultValue {
            number: Some(-4),
            ..ResultValue::default()
        };
        let nothing = ResultValue::default();
        let expected = [
            nothing.clone(),
            get_result(Some(&bytes)),
            page,
            nothing.clone(),
            sum,
            nothing,
        ];
        assert_eq!(results.results, expected);
        assert_eq!(results.failed_guard, Some(0));
    }
}

#[test]
fn a_lone_get_with_a_failed_guard_keeps_both() {
    let entry = entry(None, None);
    let mut encoder = ResultsEncoder::new();
    let mut out = Vec::new();
    encoder.begin();
    encoder.push_get(Some(&entry));
    encoder.finish(Some(1), &mut out);
    let results = parse_results(&out).expect("valid");
    assert_eq!(results.results, [get_result(Some(&entry))]);
    assert_eq!(results.failed_guard, Some(1));
}
