//! Handshake and session token: what is accepted reads alike with the stock reader, and is
//! written and read again unchanged.
#![no_main]

use domp_protocol::generated::wire;
use domp_protocol::{
    Frame, SessionToken, encode_goodbye, encode_hello, encode_welcome, parse_goodbye, parse_hello,
    parse_welcome,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(token) = SessionToken::from_bytes(bytes) {
        assert_eq!(token.to_bytes(), bytes);
    }
    if let Ok(hello) = parse_hello(bytes) {
        let payload = Frame::parse(bytes).expect("it was parsed").payload();
        let payload = payload.expect("a hello has one");
        let stock = flatbuffers::root::<wire::Hello<'_>>(payload)
            .expect("the stock verifier accepts what ours does");
        assert_eq!(hello.versions.max, stock.version_max());
        assert_eq!(hello.versions.min, stock.version_min());
        assert_eq!(hello.token, stock.token());
        let session = hello.session.map(|session| session.to_bytes().to_vec());
        assert_eq!(
            session,
            stock.session().map(|session| session.bytes().to_vec())
        );
        assert_eq!(hello.capabilities, stock.capabilities());
        assert_eq!(hello.client, stock.client());
        assert_eq!(parse_hello(&encode_hello(&hello)), Ok(hello));
    }
    if let Ok(welcome) = parse_welcome(bytes) {
        assert_eq!(parse_welcome(&encode_welcome(&welcome)), Ok(welcome));
    }
    if let Ok(goodbye) = parse_goodbye(bytes) {
        let again = encode_goodbye(goodbye.code, &goodbye.message, goodbye.retry_after_ms);
        // Ours says of an error what the table says; a server may say something else.
        let again = parse_goodbye(&again).expect("just written");
        assert_eq!(
            (again.code, again.message, again.retry_after_ms),
            (goodbye.code, goodbye.message, goodbye.retry_after_ms)
        );
    }
});
