//! Outcome requests: whatever our verifier accepts, the stock one accepts and reads alike.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../native/protocol/tests/support/stock.rs"]
#[allow(dead_code, reason = "only one of its checks is used here")]
mod stock;

fuzz_target!(|payload: &[u8]| {
    stock::check_outcome_request(payload);
    stock::check_outcome_of_request(payload);
});
