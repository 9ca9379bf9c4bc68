//! Runs a file of cases.
//!
//! ```text
//! # a comment
//! case NAME                          begins a case: a new state
//! config WORD N ...                  ttl, window, sessions, idempotency_ttl, idempotency_keys
//! meta                               the state is the meta state
//! session NAME WORD N ...            birth, nonce, principal, epoch, acked: of the session's batches
//! at MS                              lease time of the entries to come
//! > NAME SEQUENCE: TRANSACTION       an entry of one item (see `language`)
//! > NAME SEQUENCE: outcome N         asks about a sequence of the same session
//! > NAME SEQUENCE: outcome OTHER N   ... of another session
//! > key NAME SEQUENCE: TRANSACTION   under an idempotency key (key NAME/PRINCIPAL for another's)
//! entry                              the `>` lines up to `end` are one entry
//! end
//! tick                               an entry of no items
//! read TRANSACTION                   reads without the log
//! snapshot                           goes on with a state restored from a snapshot
//! due                                tells when something expires next
//! stats                              tells what the state holds
//! < ...                              the answers to what stands above, in order
//! * ...                              the effects, before the answer they belong to
//! ```
//!
//! The n-th entry of a case has revision 10 n, its items 10 n, 10 n + 1 and so on.

use std::collections::BTreeMap;

use domp_core::entry::{BatchHead, BatchKind, EntryBuilder};
use domp_core::state::{State, StateConfig, StateKind};
use domp_protocol::{ItemKind, OutcomeRequest, SessionToken, encode_outcome_request};

use super::language::transaction;
use super::show::{Shown, show_read};
use super::{bytes_of, item, parsed, restore, snapshot};

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
    space: u32,
    state: Option<State>,
    sessions: BTreeMap<String, BatchHead>,
    lease_ms: u64,
    entries: u64,
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
            space: 1,
            state: None,
            sessions: BTreeMap::new(),
            lease_ms: 0,
            entries: 0,
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
            "config" => self.configure(rest),
            "meta" => {
                self.config.kind = StateKind::Meta;
                self.space = 0;
            }
            "session" => self.session(rest),
            "at" => self.lease_ms = rest.parse().expect("`at` takes a number"),
            "entry" => self.gathered = Some(EntryBuilder::new()),
            "end" => {
                let builder = self.gathered.take().expect("`entry` comes before `end`");
                self.apply(builder);
            }
            "tick" => self.apply(EntryBuilder::new()),
            ">" => self.request(rest),
            "read" => self.read(rest),
            "snapshot" => self.snapshot(),
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
        self.state.get_or_insert_with(|| State::new(self.config))
    }

    fn configure(&mut self, rest: &str) {
        for (word, number) in pairs(rest) {
            let small = u32::try_from(number).expect("fits");
            match word {
                "ttl" => self.config.session_ttl_ms = number,
                "window" => self.config.session_window = small,
                "sessions" => self.config.sessions_max = small,
                "idempotency_ttl" => self.config.idempotency_ttl_ms = number,
                "idempotency_keys" => self.config.idempotency_keys_max = small,
                other => panic!("`{other}` can't be configured"),
            }
        }
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
        let (who, what) = rest.split_once(": ").expect("`> NAME SEQUENCE: ...`");
        let words: Vec<&str> = who.split_whitespace().collect();
        let (head, sequence) = match words[..] {
            ["key", name, sequence] => (idempotent(name), sequence),
            [name, sequence] => (*self.head(name), sequence),
            _ => panic!("`> NAME SEQUENCE: ...`"),
        };
        let sequence = sequence.parse().expect("a sequence is a number");
        let item = match what.strip_prefix("outcome ") {
            None => item(
                sequence,
                ItemKind::Transaction,
                &transaction(self.space, what),
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
        let entry = builder.finish(self.entries * 10, self.lease_ms);
        let mut shown = Shown::default();
        let index = self.entries;
        self.state()
            .apply(index, &entry, &mut shown)
            .expect("the case's entry is in order");
        self.answers.extend(shown.lines);
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
        assert_eq!(restored.applied_index(), self.entries, "{}", self.name);
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

fn idempotent(name: &str) -> BatchHead {
    let (name, principal) = name.split_once('/').unwrap_or((name, "1"));
    BatchHead {
        kind: BatchKind::Idempotent,
        birth: name
            .bytes()
            .fold(0, |half, byte| half * 256 + u64::from(byte)),
        nonce: 77,
        principal: principal.parse().expect("a principal is a number"),
        epoch: 0,
        acked_below: 0,
    }
}
