//! Runs a file of cases.
//!
//! ```text
//! # a comment
//! case NAME                          begins a case: a new state
//! config WORD N ...                  the limits, set by an entry before all others:
//!                                    ttl, window, sessions, idempotency_ttl, idempotency_keys
//! meta                               the state is the meta state
//! session NAME WORD N ...            birth, nonce, principal, epoch, acked: of the session's batches
//! at MS                              lease time of the entries to come
//! stamped REVISION                   the next entry is stamped with that
//! > NAME SEQUENCE: TRANSACTION       an entry of one item (see `language`)
//! > NAME SEQUENCE key K: ...         ... under an idempotency key as well
//! > NAME SEQUENCE key K keep R: ...  ... with R to keep (`-`: nothing, but kept)
//! > NAME SEQUENCE: outcome N         asks about a sequence of the same session
//! > NAME SEQUENCE: outcome OTHER N   ... of another session
//! > stateless SEQUENCE [key ...]: ... without a session (stateless/PRINCIPAL for another's)
//! > system limits WORD N ...         an item of the system; words not named are as founded
//! > system wanted_limits WORD N ...
//! > system signing_key ID
//! entry                              the `>` lines up to `end` are one entry
//! end
//! tick                               an entry of no items
//! read TRANSACTION                   reads without the log
//! outcome_of K                       what became of it (K/PRINCIPAL for another's)
//! snapshot                           goes on with a state restored from a snapshot
//! due                                tells when something expires next
//! stats                              tells what the state holds
//! limits                             tells the limits; wanted_limits, signing_keys and stamps as well
//! < ...                              the answers to what stands above, in order
//! * ...                              the effects, before the answer they belong to
//! ```
//!
//! The n-th entry of a case has revision 10 n - 1 for its sweep, its items 10 n, 10 n + 1 and so on.

use std::collections::BTreeMap;

use domp_protocol::{ItemKind, OutcomeRequest, SessionToken, encode_outcome_request};
use domp_state::entry::{BatchHead, BatchKind, EntryBuilder};
use domp_state::{SigningKey, State, StateConfig, StateKind, StateLimits, SystemItem};

use super::language::{transaction, transaction_under};
use super::show::{Shown, show_key_outcome, show_limits, show_read};
use super::{bytes_of, entry_of_limits, item, parsed, restore, snapshot};

/// Runs all cases of a file; how many there were.
///
/// # Panics
/// With the first case whose answers are not those expected.
pub fn run(file: &str, text: &str) -> usize {
    let mut cases = 0;
    let mut case: Option<Case> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("case ") {
            if let Some(case) = case.take() {
                case.finish();
            }
            cases += 1;
            case = Some(Case::new(format!("{file}:{number}: case {name}")));
        } else {
            case.as_mut()
                .expect("a file begins with a case")
                .line(number, line);
        }
    }
    if let Some(case) = case {
        case.finish();
    }
    cases
}

struct Case {
    name: String,
    config: StateConfig,
    limits: Option<StateLimits>,
    space: u32,
    state: Option<State>,
    sessions: BTreeMap<String, BatchHead>,
    lease_ms: u64,
    entries: u64,
    stamp: Option<u64>,
    /// An entry of several items, being gathered.
    gathered: Option<EntryBuilder>,
    /// What came of the last step, not yet seen among the expected lines.
    answers: std::collections::VecDeque<String>,
    transcript: Vec<String>,
}

impl Case {
    fn new(name: String) -> Self {
        Self {
            name,
            config: StateConfig::default(),
            limits: None,
            space: 1,
            state: None,
            sessions: BTreeMap::new(),
            lease_ms: 0,
            entries: 0,
            stamp: None,
            gathered: None,
            answers: std::collections::VecDeque::new(),
            transcript: Vec::new(),
        }
    }

    fn line(&mut self, number: usize, line: &str) {
        if line.starts_with("< ") || line.starts_with("* ") {
            let answer = self.answers.pop_front();
            self.transcript.push(line.to_owned());
            if answer.as_deref() != Some(line) {
                self.fail(
                    number,
                    &format!(
                        "expected  {line}\ngot       {}",
                        answer.as_deref().unwrap_or("nothing more")
                    ),
                );
            }
            return;
        }
        if let Some(answer) = self.answers.front() {
            let answer = answer.clone();
            self.fail(
                number,
                &format!("got, and did not expect\n          {answer}"),
            );
        }
        self.transcript.push(line.to_owned());
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "config" => self.limits = Some(limits_of(rest)),
            "meta" => {
                self.config.kind = StateKind::Meta;
                self.space = 0;
            }
            "session" => self.session(rest),
            "at" => self.lease_ms = rest.parse().expect("`at` takes a number"),
            "stamped" => self.stamp = Some(rest.parse().expect("`stamped` takes a number")),
            "entry" => self.gathered = Some(EntryBuilder::new()),
            "end" => {
                let builder = self.gathered.take().expect("`entry` comes before `end`");
                self.apply(builder);
            }
            "tick" => self.apply(EntryBuilder::new()),
            ">" => self.request(rest),
            "read" => self.read(rest),
            "snapshot" => self.snapshot(),
            "outcome_of" => {
                let (key, principal) = rest.split_once('/').unwrap_or((rest, "1"));
                let principal = principal.parse().expect("a principal is a number");
                let outcome = self.state().outcome_of(principal, key.as_bytes());
                let line = show_key_outcome(outcome);
                self.answers.push_back(line);
            }
            "limits" => {
                let line = show_limits(self.state().limits());
                self.answers.push_back(line);
            }
            "wanted_limits" => {
                let wanted = self.state().wanted_limits().map(show_limits);
                self.answers.push_back(wanted.unwrap_or("< none".into()));
            }
            "signing_keys" => {
                let keys = format!("< {:?}", self.state().signing_keys());
                self.answers.push_back(keys);
            }
            "stamps" => {
                let state = self.state();
                let line = format!("< @{} lease {}", state.revision(), state.lease_ms());
                self.answers.push_back(line);
            }
            "due" => {
                let due = self.state().next_due_ms();
                self.answers
                    .push_back(due.map_or("< never".into(), |ms| format!("< {ms}")));
            }
            "stats" => {
                let all = self.state().statistics();
                self.answers.push_back(format!(
                    "< keys {} expiring {} sessions {} answers {} idempotency_keys {}",
                    all.keys,
                    all.expiring_keys,
                    all.sessions,
                    all.session_answers,
                    all.idempotency_keys
                ));
            }
            other => self.fail(number, &format!("`{other}` is no step")),
        }
    }

    fn finish(self) {
        if let Some(answer) = self.answers.front() {
            self.fail(0, &format!("got, and did not expect\n          {answer}"));
        }
    }

    fn fail(&self, number: usize, what: &str) -> ! {
        let transcript = self.transcript.join("\n    ");
        panic!("{}\n    {transcript}\nline {number}: {what}", self.name);
    }

    fn state(&mut self) -> &mut State {
        if self.state.is_none() {
            let mut state = State::new(self.config);
            if let Some(limits) = self.limits {
                let entry = entry_of_limits(limits, 7, self.lease_ms);
                state
                    .apply(1, &entry, &mut Shown::default())
                    .expect("limits are in order");
            }
            self.state = Some(state);
        }
        self.state.as_mut().expect("just made")
    }

    fn session(&mut self, rest: &str) {
        let (name, settings) = rest.split_once(' ').unwrap_or((rest, ""));
        let head = self.head(name);
        for (word, number) in pairs(settings) {
            match word {
                "birth" => head.birth = number,
                "nonce" => head.nonce = number,
                "principal" => head.principal = number,
                "epoch" => head.epoch = number,
                "acked" => head.acked_below = number,
                other => panic!("a session has no `{other}`"),
            }
        }
    }

    /// A session's batches; one named for the first time has a nonce made of its name.
    fn head(&mut self, name: &str) -> &mut BatchHead {
        let nonce = name
            .bytes()
            .fold(0, |nonce, byte| nonce * 256 + u64::from(byte));
        self.sessions.entry(name.to_owned()).or_insert(BatchHead {
            kind: BatchKind::Session,
            birth: 1,
            nonce,
            principal: 1,
            epoch: 1,
            acked_below: 1,
        })
    }

    fn request(&mut self, rest: &str) {
        if let Some(system) = rest.strip_prefix("system ") {
            let item = system_item(system);
            if let Some(builder) = &mut self.gathered {
                builder.push_system(&item);
            } else {
                let mut builder = EntryBuilder::new();
                builder.push_system(&item);
                self.apply(builder);
            }
            return;
        }
        let (who, what) = rest.split_once(": ").expect("`> NAME SEQUENCE: ...`");
        let words: Vec<&str> = who.split_whitespace().collect();
        let &[name, sequence, ref under @ ..] = words.as_slice() else {
            panic!("`> NAME SEQUENCE: ...`");
        };
        let head = match name.strip_prefix("stateless") {
            Some("") => BatchHead::stateless(1),
            Some(principal) => {
                let principal = principal[1..].parse().expect("a principal is a number");
                BatchHead::stateless(principal)
            }
            None => *self.head(name),
        };
        let (key, kept) = match *under {
            [] => (None, None),
            ["key", key] => (Some(key), None),
            ["key", key, "keep", "-"] => (Some(key), Some("")),
            ["key", key, "keep", kept] => (Some(key), Some(kept)),
            _ => panic!("`> NAME SEQUENCE key KEY keep RESULT: ...`"),
        };
        let sequence = sequence.parse().expect("a sequence is a number");
        let item = match what.strip_prefix("outcome ") {
            None => item(
                sequence,
                ItemKind::Transaction,
                &transaction_under(
                    self.space,
                    what,
                    key.map(str::as_bytes),
                    kept.map(str::as_bytes),
                ),
            ),
            Some(about) => {
                let (other, about) = match about.split_once(' ') {
                    Some((other, about)) => (Some(*self.head(other)), about),
                    None => (None, about),
                };
                let request = encode_outcome_request(&OutcomeRequest {
                    space: self.space,
                    key: b"any",
                    sequence: about.parse().expect("a sequence is a number"),
                    session: other.map(|other| SessionToken {
                        birth: other.birth,
                        nonce: other.nonce,
                        principal: other.principal,
                        epoch: other.epoch,
                        key: 1,
                        mac: [0; 16],
                    }),
                });
                item(sequence, ItemKind::Outcome, &request)
            }
        };
        if let Some(builder) = &mut self.gathered {
            builder.begin_batch(&head);
            builder.push_item(&item);
        } else {
            let mut builder = EntryBuilder::new();
            builder.begin_batch(&head);
            builder.push_item(&item);
            self.apply(builder);
        }
    }

    fn apply(&mut self, mut builder: EntryBuilder) {
        self.entries += 1;
        let revision = self.stamp.take().unwrap_or(self.entries * 10 - 1);
        let entry = builder.finish(revision, self.lease_ms);
        let mut shown = Shown::default();
        let index = self.index();
        self.state()
            .apply(index, &entry, &mut shown)
            .expect("the case's entry is in order");
        self.answers.extend(shown.lines);
    }

    /// Of the last entry: one was for the limits.
    fn index(&self) -> u64 {
        self.entries + u64::from(self.limits.is_some())
    }

    fn read(&mut self, text: &str) {
        let payload = transaction(self.space, text);
        let mut out = vec![7; 3];
        let answer = self.state().read(&parsed(&payload), &mut out);
        self.answers.push_back(show_read(answer, &out));
    }

    fn snapshot(&mut self) {
        let config = self.config;
        let slices = snapshot(self.state(), 64);
        let mut restored = restore(config, &slices);
        assert_eq!(
            bytes_of(&mut restored),
            bytes_of(self.state()),
            "{}",
            self.name
        );
        assert_eq!(
            restored.next_due_ms(),
            self.state().next_due_ms(),
            "{}",
            self.name
        );
        assert_eq!(
            restored.revision(),
            self.state().revision(),
            "{}",
            self.name
        );
        assert_eq!(restored.applied_index(), self.index(), "{}", self.name);
        self.state = Some(restored);
    }
}

fn pairs(rest: &str) -> impl Iterator<Item = (&str, u64)> {
    let words: Vec<&str> = rest.split_whitespace().collect();
    assert!(
        words.len().is_multiple_of(2),
        "`{rest}` is words and numbers in turn"
    );
    (0..words.len() / 2).map(move |at| {
        (
            words[2 * at],
            words[2 * at + 1]
                .parse()
                .expect("a word is followed by a number"),
        )
    })
}

fn limits_of(rest: &str) -> StateLimits {
    let mut limits = StateLimits::FOUNDING;
    for (word, number) in pairs(rest) {
        let small = || u32::try_from(number).expect("fits");
        match word {
            "ttl" => limits.session_ttl_ms = number,
            "window" => limits.session_window = small(),
            "sessions" => limits.sessions_max = small(),
            "idempotency_ttl" => limits.idempotency_ttl_ms = number,
            "idempotency_keys" => limits.idempotency_keys_max = small(),
            other => panic!("`{other}` is no limit"),
        }
    }
    limits
}

fn system_item(text: &str) -> SystemItem {
    match text.split_once(' ') {
        Some(("limits", rest)) => SystemItem::Limits(limits_of(rest)),
        Some(("wanted_limits", rest)) => SystemItem::WantedLimits(limits_of(rest)),
        Some(("signing_key", id)) => SystemItem::SigningKey(SigningKey {
            id: id.parse().expect("an id is a number"),
            key: [0x5e; 32],
        }),
        _ => panic!("`{text}` is no item of the system"),
    }
}
