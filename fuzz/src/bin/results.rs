//! The encoder of results, driven by the bytes: what it writes reads back, whatever was pushed.
#![no_main]

use std::sync::Mutex;

use domp_protocol::{
    EntryRef, EntryValue, OwnedEntry, ResultValue, Results, ResultsEncoder, ValueRef, parse_results,
};
use libfuzzer_sys::fuzz_target;

/// One encoder for all inputs: what one leaves behind must not show in the next.
static ENCODER: Mutex<Option<ResultsEncoder>> = Mutex::new(None);

/// Takes decisions and bytes off the input; zero and nothing once it is used up.
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
        let byte = u64::from(self.byte());
        if byte == 255 {
            u64::MAX
        } else {
            byte << (byte % 57)
        }
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte() % 40).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }

    fn entry(&mut self) -> EntryRef<'a> {
        let value = match self.byte() % 3 {
            0 => None,
            1 => Some(ValueRef::Number(self.word().cast_signed())),
            _ => Some(ValueRef::Bytes(self.bytes())),
        };
        EntryRef {
            key: self.bytes(),
            value,
            created: self.word(),
            modified: self.word(),
            version: self.word(),
            expires_in_ms: (self.byte() % 2 == 1).then(|| self.word()),
        }
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

/// Pushes one result; what a reader must find.
fn push(encoder: &mut ResultsEncoder, input: &mut Input<'_>) -> ResultValue {
    let mut expected = ResultValue::default();
    match input.byte() % 6 {
        0 => encoder.push_none(),
        1 => encoder.push_get(None),
        2 => {
            let entry = input.entry();
            expected.entry = Some(owned(&entry));
            encoder.push_get(Some(&entry));
        }
        3 => {
            encoder.begin_range();
            for _ in 0..input.byte() % 4 {
                let entry = input.entry();
                expected.entries.push(owned(&entry));
                encoder.range_entry(&entry);
            }
            expected.more = input.byte() % 2 == 1;
            encoder.end_range(expected.more);
        }
        4 => {
            expected.count = input.word();
            encoder.push_count(expected.count);
        }
        _ => {
            let number = input.word().cast_signed();
            expected.number = Some(number);
            encoder.push_number(number);
        }
    }
    expected
}

fuzz_target!(|bytes: &[u8]| {
    let mut encoder = ENCODER.lock().expect("a panic ends the process");
    let encoder = encoder.get_or_insert_default();
    let mut input = Input(bytes);
    let failed_guard = (input.byte() % 4 == 3).then_some(5);
    let pushes = 1 + input.byte() % 4;
    encoder.begin();
    let results: Vec<_> = (0..pushes).map(|_| push(encoder, &mut input)).collect();
    let mut out = Vec::new();
    encoder.finish(failed_guard, &mut out);
    let read = parse_results(&out).expect("the stock reader accepts it");
    if read.results.is_empty() {
        assert!(
            results
                .iter()
                .all(|result| *result == ResultValue::default())
        );
        assert_eq!(read.failed_guard, failed_guard);
    } else {
        assert_eq!(
            read,
            Results {
                results,
                failed_guard,
                kept: None,
            }
        );
    }
});
