//! The small language of the cases: transactions as a person writes them.
//!
//! ```text
//! transaction  [if GUARD, GUARD ... then] OPERATION; OPERATION ... [else OPERATION; ...]
//! guard        exists K | absent K | version K N | modified K N | modified_at_most K N
//!              | value K V | at_least K N | unchanged FROM TO REVISION COUNT
//! operation    get K | range FROM TO [limit N] [reverse] [keys] | count FROM TO
//!              | put K V [expire MS] | delete K | delete_range FROM TO
//!              | add K N [floor N] [ceiling N] | append K V | space_create K | space_drop K
//!              | each N OPERATION       N times, # in words replaced by 00000, 00001, ...
//! K            a word; `-` is open as FROM and TO; word*N repeats a word
//! V            "text" or "text"*N for bytes, a bare integer for a number
//! ```

use domp_protocol::{Guard, Operation, TransactionBuilder, ValueRef};

/// A value of its own.
#[derive(Clone, Debug)]
enum Value {
    Bytes(Vec<u8>),
    Number(i64),
}

impl Value {
    fn borrow(&self) -> ValueRef<'_> {
        match self {
            Self::Bytes(bytes) => ValueRef::Bytes(bytes),
            Self::Number(number) => ValueRef::Number(*number),
        }
    }
}

/// Encodes a transaction written in the language.
pub fn transaction(space: u32, text: &str) -> Vec<u8> {
    transaction_under(space, text, None, None)
}

/// The same under an idempotency key, with what is to be kept.
pub fn transaction_under(
    space: u32,
    text: &str,
    key: Option<&[u8]>,
    result: Option<&[u8]>,
) -> Vec<u8> {
    // So that nothing may stand behind `then`.
    let text = format!("{} ", text.trim());
    let mut builder = TransactionBuilder::new(space);
    let mut rest = text.as_str();
    if let Some(conditional) = text.strip_prefix("if ") {
        let (guards, after) = conditional.split_once(" then ").expect("`if` has a `then`");
        for one in guards.split(',') {
            builder = guard(builder, &words(one));
        }
        rest = after;
    }
    let (then, otherwise) = match rest.split_once(" else ") {
        Some((then, otherwise)) => (then, Some(otherwise)),
        None => (rest, None),
    };
    for words in operations(then) {
        builder = with_operation(&words, |operation| builder.then(operation));
    }
    for words in otherwise.into_iter().flat_map(operations) {
        builder = with_operation(&words, |operation| builder.otherwise(operation));
    }
    if let Some(key) = key {
        builder = builder.idempotency_key(key);
    }
    if let Some(result) = result {
        builder = builder.result(result);
    }
    builder.finish()
}

fn operations(text: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for one in text.split(';').filter(|one| !one.trim().is_empty()) {
        let one = words(one);
        if one[0] == "each" {
            for number in 0..number(&one[1]) {
                let numbered = |word: &String| word.replace('#', &format!("{number:05}"));
                all.push(one[2..].iter().map(numbered).collect());
            }
        } else {
            all.push(one);
        }
    }
    all
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn number<N: std::str::FromStr>(word: &str) -> N {
    word.parse()
        .unwrap_or_else(|_| panic!("`{word}` is no number that fits"))
}

fn repeated(word: &str) -> (&str, usize) {
    match word.rsplit_once('*') {
        Some((word, times)) => (word, number(times)),
        None => (word, 1),
    }
}

fn key(word: &str) -> Vec<u8> {
    if word == "-" {
        return Vec::new();
    }
    let (word, times) = repeated(word);
    word.as_bytes().repeat(times)
}

fn end(word: &str) -> Option<Vec<u8>> {
    (word != "-").then(|| key(word))
}

fn value(word: &str) -> Value {
    let (word, times) = repeated(word);
    match word
        .strip_prefix('"')
        .and_then(|word| word.strip_suffix('"'))
    {
        Some(text) => Value::Bytes(text.as_bytes().repeat(times)),
        None => Value::Number(number(word)),
    }
}

fn guard(builder: TransactionBuilder, words: &[String]) -> TransactionBuilder {
    let named = key(&words[1]);
    let key_ = named.as_slice();
    match words[0].as_str() {
        "exists" => builder.guard(Guard::Exists { key: key_ }),
        "absent" => builder.guard(Guard::Absent { key: key_ }),
        "version" => {
            let version = number(&words[2]);
            builder.guard(Guard::Version { key: key_, version })
        }
        "modified" => {
            let revision = number(&words[2]);
            builder.guard(Guard::Modified {
                key: key_,
                revision,
            })
        }
        "modified_at_most" => {
            let revision = number(&words[2]);
            builder.guard(Guard::ModifiedAtMost {
                key: key_,
                revision,
            })
        }
        "value" => {
            let value = value(&words[2]);
            builder.guard(Guard::Value {
                key: key_,
                value: value.borrow(),
            })
        }
        "at_least" => {
            let number = number(&words[2]);
            builder.guard(Guard::AtLeast { key: key_, number })
        }
        "unchanged" => {
            let to = end(&words[2]);
            let (revision, count) = (number(&words[3]), number(&words[4]));
            let to = to.as_deref();
            builder.guard(Guard::Unchanged {
                from: key_,
                to,
                revision,
                count,
            })
        }
        other => panic!("`{other}` is no guard"),
    }
}

fn with_operation<T>(words: &[String], build: impl FnOnce(Operation<'_>) -> T) -> T {
    let named = key(&words[1]);
    let named = named.as_slice();
    let to = words.get(2).and_then(|word| end(word));
    let to = to.as_deref();
    let option = |name: &str| {
        let at = words.iter().position(|word| word == name)?;
        words.get(at + 1)
    };
    let flag = |name: &str| words.iter().any(|word| word == name);
    match words[0].as_str() {
        "get" => build(Operation::Get { key: named }),
        "range" => build(Operation::Range {
            from: named,
            to,
            limit: option("limit").map_or(4096, |word| number(word)),
            reverse: flag("reverse"),
            keys_only: flag("keys"),
        }),
        "count" => build(Operation::Count { from: named, to }),
        "put" => {
            let value = value(&words[2]);
            build(Operation::Put {
                key: named,
                value: value.borrow(),
                expire_after_ms: option("expire").map(|word| number(word)),
            })
        }
        "delete" => build(Operation::Delete { key: named }),
        "delete_range" => build(Operation::DeleteRange { from: named, to }),
        "add" => build(Operation::Add {
            key: named,
            delta: number(&words[2]),
            floor: option("floor").map(|word| number(word)),
            ceiling: option("ceiling").map(|word| number(word)),
        }),
        "append" => {
            let Value::Bytes(tail) = value(&words[2]) else {
                panic!("append takes bytes");
            };
            build(Operation::Append {
                key: named,
                value: &tail,
            })
        }
        "space_create" => build(Operation::SpaceCreate { name: named }),
        "space_drop" => build(Operation::SpaceDrop { name: named }),
        other => panic!("`{other}` is no operation"),
    }
}
