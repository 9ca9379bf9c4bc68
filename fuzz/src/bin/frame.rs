//! The envelope: whatever is accepted is walked to its end, and alike in a frame and in a batch;
//! a part holds what it says.
#![no_main]

use domp_protocol::frame::FRAME_HEADER_BYTES;
use domp_protocol::{Frame, FrameKind, Item, items_of_batch, parse_part};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for count in [0, 1, 3] {
        let errors = items_of_batch(bytes, count).filter(Result::is_err).count();
        assert!(errors <= 1, "a walk ends at its first error");
    }
    let Ok(frame) = Frame::parse(bytes) else {
        return;
    };
    let items: Vec<Item<'_>> = frame.items().collect();
    if frame.kind == FrameKind::Submit {
        assert_eq!(items.len(), frame.count as usize);
        let covered: usize = items.iter().map(|item| item.bytes.len()).sum();
        assert_eq!(
            covered + FRAME_HEADER_BYTES,
            bytes.len(),
            "items fill the frame"
        );
        let batch: Result<Vec<_>, _> =
            items_of_batch(&bytes[FRAME_HEADER_BYTES..], frame.count).collect();
        assert_eq!(batch.expect("the same walk"), items);
    } else {
        assert!(items.is_empty());
    }
    let part = parse_part(bytes);
    assert_eq!(part.is_ok(), frame.kind == FrameKind::Part);
    if let Ok((header, part)) = part {
        assert_eq!(part.len(), header.length as usize);
        assert!(header.offset + header.length <= header.frame_bytes);
    }
    let single = matches!(
        frame.kind,
        FrameKind::Hello | FrameKind::Welcome | FrameKind::Goodbye
    );
    assert_eq!(frame.payload().is_some(), single);
});
