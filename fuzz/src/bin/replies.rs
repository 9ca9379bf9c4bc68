//! Replies and what they carry, as a client reads them.
#![no_main]

use domp_protocol::{
    FrameKind, encode_reply, frame_header, parse_error_detail, parse_replies, parse_results,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Payloads are reached without a frame around them, too.
    let _ = parse_results(bytes);
    let _ = parse_error_detail(bytes);
    let Ok(replies) = parse_replies(bytes) else {
        return;
    };
    let mut count = 0;
    let mut again = Vec::new();
    for (head, payload) in replies {
        count += 1;
        encode_reply(&mut again, &head, payload);
        match head.code {
            None => drop(parse_results(payload)),
            Some(_) => drop(parse_error_detail(payload)),
        }
    }
    let header = frame_header(FrameKind::Replies, count, 0, 0);
    assert_eq!(
        [&header[..], &again].concat(),
        bytes,
        "what was read is written alike"
    );
});
