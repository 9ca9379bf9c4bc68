//! Replies and what they carry, as a client reads them.
#![no_main]

use domp_protocol::frame::FRAME_HEADER_BYTES;
use domp_protocol::{
    Frame, encode_reply, parse_error_detail, parse_key_outcome, parse_replies, parse_results,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Payloads are reached without a frame around them, too.
    let _ = parse_results(bytes);
    let _ = parse_error_detail(bytes);
    let _ = parse_key_outcome(bytes);
    let Ok(replies) = parse_replies(bytes) else {
        return;
    };
    let mut count = 0;
    let mut again = bytes[..FRAME_HEADER_BYTES].to_vec();
    for (head, payload) in replies {
        count += 1;
        encode_reply(&mut again, &head, payload);
        match head.code {
            None => drop(parse_results(payload)),
            Some(_) => drop(parse_error_detail(payload)),
        }
    }
    assert_eq!(count, Frame::parse(bytes).expect("it was parsed").count);
    // Of an error, ours says what the table says; a server may say something else.
    let mut read = parse_replies(&again).expect("just written");
    for reply in parse_replies(bytes).expect("it was parsed") {
        assert_eq!(read.next(), Some(reply), "what was read is written alike");
    }
    assert_eq!(again.len(), bytes.len());
});
