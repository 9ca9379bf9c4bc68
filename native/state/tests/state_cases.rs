//! The cases of `tests/cases`, one file a subject. Their language is described in
//! `state_support/cases.rs` and `state_support/language.rs`.

mod state_support;

use state_support::cases::run;

macro_rules! cases {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                let file = concat!("cases/", stringify!($name), ".txt");
                let cases = run(file, include_str!(concat!("cases/", stringify!($name), ".txt")));
                assert!(cases >= 3, "{file} holds {cases} cases");
            }
        )*
    };
}

cases! {
    guards operations numbers ranges atomicity expiry sessions outcome idempotency spaces limits
    system
}
