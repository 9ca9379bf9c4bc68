//! Records alone: contents, size classes, rewriting in place and not.

use super::*;

fn stamps(seed: u64, expires_at_ms: Option<u64>) -> Stamps {
    Stamps {
        created: seed,
        modified: seed + 1,
        version: seed + 2,
        expires_at_ms,
    }
}

#[test]
fn classes_are_the_smallest_that_fit() {
    let mut last = 0;
    for class in 0..=class_of(BLOCK_BYTES_MAX) {
        let bytes = class_bytes(class);
        assert!(
            bytes > last && bytes % 16 == 8,
            "class {class}: {bytes} after {last}"
        );
        assert_eq!(class_of(bytes), class);
        assert_eq!(class_of(last + 1), class);
        // At most an eighth is lost to the class, beyond the small steps.
        assert!(last == 0 || bytes - last <= 16 + last / 8);
        last = bytes;
    }
}

#[test]
fn a_record_returns_what_it_was_given() {
    for key in [&b""[..], b"k", &[0xff; 1024], &vec![0; 65535]] {
        for value in [
            Value::Bytes(b""),
            Value::Bytes(&[7; 1]),
            Value::Bytes(&[9; 5000]),
            Value::Number(i64::MIN),
            Value::Number(-1),
        ] {
            for expiry in [None, Some(0), Some(u64::MAX)] {
                let record = Record::new(key, value, stamps(5, expiry)).expect("within limits");
                for record in [&record, &record.clone()] {
                    assert_eq!(record.key(), key);
                    assert_eq!(record.value(), value);
                    assert_eq!(record.stamps(), stamps(5, expiry));
                    assert_eq!(
                        (record.created(), record.modified(), record.version()),
                        (5, 6, 7)
                    );
                }
            }
        }
    }
}

#[test]
fn too_large_is_refused_and_changes_nothing() {
    assert_eq!(
        Record::new(&vec![0; 65536], Value::Number(1), Stamps::default()).err(),
        Some(RecordTooLarge)
    );
    let mut number = Record::new(b"n", Value::Number(3), stamps(1, None)).expect("small");
    assert_eq!(
        number.append(b"x", stamps(2, None)),
        Err(AppendError::NotBytes)
    );
    assert_eq!(number.value(), Value::Number(3));
    assert_eq!(number.stamps(), stamps(1, None));
}

#[test]
fn rewriting_within_the_class_keeps_the_block() {
    let mut record = Record::new(b"key", Value::Bytes(&[1; 64]), stamps(1, None)).expect("small");
    let address = record.address();
    let bytes = record.bytes();
    for (value, expiry) in [
        (&[2; 64][..], None),
        (&[3; 10], Some(5)),
        (&[4; 60], Some(6)),
        (&[5; 68], None),
    ] {
        record
            .write(Value::Bytes(value), stamps(9, expiry))
            .expect("small");
        assert_eq!(record.address(), address);
        assert_eq!(record.value(), Value::Bytes(value));
        assert_eq!(record.expires_at_ms(), expiry);
    }
    assert_eq!(record.bytes(), bytes);
    // An expiry that no longer fits beside the value moves the record.
    record
        .write(Value::Bytes(&[6; 68]), stamps(9, Some(1)))
        .expect("small");
    assert!(record.bytes() > bytes);
    assert_eq!(record.value(), Value::Bytes(&[6; 68]));
    assert_eq!(record.expires_at_ms(), Some(1));
}

#[test]
fn a_much_smaller_value_gives_memory_back() {
    let mut record =
        Record::new(b"key", Value::Bytes(&vec![1; 100_000]), stamps(1, None)).expect("ok");
    record
        .write(Value::Bytes(b"small"), stamps(2, Some(3)))
        .expect("small");
    assert!(record.bytes() < 64);
    assert_eq!(
        (record.key(), record.value()),
        (&b"key"[..], Value::Bytes(b"small"))
    );
}

#[test]
fn appends_accumulate_across_blocks() {
    let mut record = Record::new(b"log", Value::Bytes(b""), stamps(1, Some(9))).expect("small");
    let mut expected = Vec::new();
    let rounds = if cfg!(miri) { 60 } else { 400 };
    for round in 0..rounds {
        let tail = vec![u8::try_from(round % 251).expect("below 256"); round % 97];
        expected.extend_from_slice(&tail);
        let expiry = (round % 3 == 0).then_some(round as u64);
        record
            .append(&tail, stamps(round as u64, expiry))
            .expect("far below the limit");
        assert_eq!(record.value(), Value::Bytes(&expected));
        assert_eq!(record.stamps(), stamps(round as u64, expiry));
        assert_eq!(record.key(), b"log");
    }
}
