//! What the encoder writes, the stock reader accepts and reads back.

use super::scalars::SCALARS_MAX;
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
            failed_guard: Some(3),
            kept: None,
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

/// What the builder makes of results that are numbers, counts or nothing.
fn built(values: &[Scalar], failed_guard: Option<u32>) -> Vec<u8> {
    let mut encoder = ResultsEncoder::new();
    encoder.build();
    for value in values {
        encoder.push(&scalar_arguments(*value));
    }
    let mut out = Vec::new();
    encoder.finish(failed_guard, &mut out);
    out
}

fn encoded(encoder: &mut ResultsEncoder, values: &[Scalar], failed_guard: Option<u32>) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin();
    for value in values {
        match *value {
            Scalar::Nothing => encoder.push_none(),
            Scalar::Count(count) => encoder.push_count(count),
            Scalar::Number(number) => encoder.push_number(number),
        }
    }
    encoder.finish(failed_guard, &mut out);
    out
}

#[test]
fn numbers_and_counts_are_laid_out_as_the_builder_does() {
    const KINDS: [Scalar; 4] = [
        Scalar::Nothing,
        Scalar::Count(u64::MAX),
        Scalar::Number(0),
        Scalar::Number(-2),
    ];
    // One encoder, so that each runs in memory that the one before has dirtied.
    let mut encoder = ResultsEncoder::new();
    for len in 1..=5 {
        for mut choice in 0..KINDS.len().pow(len) {
            let mut values = Vec::new();
            for _ in 0..len {
                values.push(KINDS[choice % KINDS.len()]);
                choice /= KINDS.len();
            }
            if values.iter().all(|value| *value == Scalar::Nothing) {
                continue;
            }
            for failed_guard in [None, Some(0), Some(7)] {
                let own = encoded(&mut encoder, &values, failed_guard);
                assert_eq!(own, built(&values, failed_guard), "{values:?}");
                // The same kinds at once again: only the values are written.
                let others: Vec<Scalar> = values
                    .iter()
                    .map(|value| match *value {
                        Scalar::Nothing => Scalar::Nothing,
                        Scalar::Count(count) => Scalar::Count(count / 3),
                        Scalar::Number(number) => Scalar::Number(number + 1),
                    })
                    .collect();
                let own = encoded(&mut encoder, &others, failed_guard);
                assert_eq!(own, built(&others, failed_guard), "{others:?}");
            }
        }
    }
}

#[test]
fn many_numbers_and_counts_are_laid_out_as_the_builder_does() {
    let mut encoder = ResultsEncoder::new();
    for len in 1..=SCALARS_MAX + 3 {
        for step in 1..=7_usize {
            let values: Vec<Scalar> = (0..len)
                .map(|at| match at * step % 5 {
                    0 | 3 => Scalar::Number(-i64::from(at.count_ones())),
                    1 => Scalar::Nothing,
                    _ => Scalar::Count(at as u64 + 1),
                })
                .collect();
            for failed_guard in [None, Some(3)] {
                let own = encoded(&mut encoder, &values, failed_guard);
                assert_eq!(own, built(&values, failed_guard), "{values:?}");
                assert!(parse_results(&own).is_ok());
            }
        }
    }
}

#[test]
fn a_count_of_zero_alone_is_one_empty_result() {
    let mut encoder = ResultsEncoder::new();
    encoder.begin();
    encoder.push_count(0);
    let mut out = Vec::new();
    encoder.finish(None, &mut out);
    assert_eq!(out, built(&[Scalar::Nothing], None));
}

#[test]
fn a_failed_guard_alone_is_laid_out_as_the_builder_does() {
    let mut encoder = ResultsEncoder::new();
    for guard in [0, 1, 63] {
        assert_eq!(
            encoded(&mut encoder, &[], Some(guard)),
            built(&[], Some(guard))
        );
    }
}
