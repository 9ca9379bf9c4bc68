//! How the cases write replicas, entries, hard states and messages.
//!
//! ```text
//! a b c ...      replicas: their ids are 1, 2, 3 ...; `-` is none
//! 6/1="x"        the entry of index 6 and term 1 that holds x; 6/1 holds nothing
//! ```

use domp_consensus::{Entry, HardState, Message, ReadContext};
use raft::eraftpb::MessageType;

/// The id of a replica.
pub fn id(name: &str) -> u64 {
    match name.as_bytes() {
        b"-" => 0,
        &[letter @ b'a'..=b'z'] => u64::from(letter - b'a' + 1),
        _ => panic!("`{name}` is no replica"),
    }
}

pub fn name(id: u64) -> String {
    match u8::try_from(id) {
        Ok(0) => "-".into(),
        Ok(id @ 1..=26) => char::from(b'a' + id - 1).into(),
        _ => panic!("no replica has the id {id}"),
    }
}

pub fn number(word: &str) -> u64 {
    word.parse()
        .unwrap_or_else(|_| panic!("`{word}` is no number that fits"))
}

/// (index, term) of `6/1`.
pub fn position(word: &str) -> (u64, u64) {
    let (index, term) = word
        .split_once('/')
        .unwrap_or_else(|| panic!("`{word}` is no INDEX/TERM"));
    (number(index), number(term))
}

/// The bytes of `"x"`.
pub fn data(word: &str) -> &[u8] {
    word.strip_prefix('"')
        .and_then(|word| word.strip_suffix('"'))
        .unwrap_or_else(|| panic!("`{word}` does not stand in quotation marks"))
        .as_bytes()
}

pub fn entry(word: &str) -> Entry {
    let (place, held) = word.split_once('=').unwrap_or((word, "\"\""));
    let (index, term) = position(place);
    Entry {
        index,
        term,
        data: data(held).to_vec().into(),
        ..Entry::default()
    }
}

pub fn show_entries<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> String {
    let all: Vec<String> = entries.into_iter().map(show_entry).collect();
    all.join(" ")
}

fn show_entry(entry: &Entry) -> String {
    let Entry { index, term, .. } = entry;
    if entry.data.is_empty() {
        format!("{index}/{term}")
    } else {
        let held = String::from_utf8_lossy(&entry.data);
        format!("{index}/{term}=\"{held}\"")
    }
}

pub fn show_hard_state(state: HardState) -> String {
    let HardState { term, vote, commit } = state;
    format!("term {term} vote {} commit {commit}", name(vote))
}

pub fn show_message(message: &Message) -> String {
    let Message {
        term,
        index,
        log_term,
        commit,
        reject,
        reject_hint: hint,
        ..
    } = *message;
    let granted = if reject { "refused" } else { "granted" };
    let context = || match ReadContext::from_bytes(&message.context) {
        Some(context) => format!(" context {}", context.count),
        None => String::new(),
    };
    match message.get_msg_type() {
        MessageType::MsgRequestPreVote => {
            format!("request_pre_vote term {term} last {index}/{log_term}")
        }
        MessageType::MsgRequestPreVoteResponse => {
            format!("pre_vote_response term {term} {granted}")
        }
        MessageType::MsgRequestVote => format!("request_vote term {term} last {index}/{log_term}"),
        MessageType::MsgRequestVoteResponse => format!("vote_response term {term} {granted}"),
        MessageType::MsgAppend => {
            let entries = show_entries(&message.entries);
            let colon = if entries.is_empty() { "" } else { ": " };
            format!("append term {term} commit {commit} behind {index}/{log_term}{colon}{entries}")
        }
        MessageType::MsgAppendResponse if reject => {
            format!("append_response term {term} refused {index}, has {hint}/{log_term}")
        }
        MessageType::MsgAppendResponse => format!("append_response term {term} has {index}"),
        MessageType::MsgHeartbeat => {
            format!("heartbeat term {term} commit {commit}{}", context())
        }
        MessageType::MsgHeartbeatResponse => {
            format!("heartbeat_response term {term}{}", context())
        }
        _ => format!("{message:?}"),
    }
}
