//! Entries applied by the plan they were formed with: the same state and the same answers as when they
//! are read and verified.

mod state_support;

use domp_protocol::{
    Guard, ItemKind, Operation, Transaction, TransactionBuilder, ValueRef, items_of_batch,
};
use domp_state::entry::{BatchHead, BatchKind, EntryBuilder, Plan};
use domp_state::{Reply, Sink, State, StateConfig};

use state_support::{bytes_of, item};

/// What was answered, by position.
#[derive(Default, Debug, PartialEq)]
struct Told(Vec<(u32, String)>);

impl Sink for Told {
    const WANTS_EFFECTS: bool = true;

    fn reply(&mut self, position: u32, reply: &Reply<'_>) {
        self.0.push((position, format!("{reply:?}")));
    }

    fn effects(&mut self, position: u32, effects: &[u8]) {
        self.0.push((position, format!("{effects:?}")));
    }
}

fn payload(number: u64) -> Vec<u8> {
    let key = format!("key/{:04}", number * 7919 % 53);
    let other = format!("key/{:04}", number * 104_729 % 53);
    let (key, other) = (key.as_bytes(), other.as_bytes());
    let add = |key, delta| Operation::Add {
        key,
        delta,
        floor: Some(-20),
        ceiling: None,
    };
    let builder = TransactionBuilder::new(1);
    let builder = match number % 5 {
        0 => builder
            .guard(Guard::AtLeast { key, number: 0 })
            .then(add(key, -7))
            .then(add(other, 7))
            .otherwise(Operation::Delete { key: other }),
        1 => builder.then(Operation::Put {
            key,
            value: ValueRef::Number(5),
            expire_after_ms: number.is_multiple_of(2).then_some(40),
        }),
        2 => builder
            .then(add(key, 1))
            .then(Operation::Delete { key: other })
            .then(Operation::Get { key }),
        3 => builder.guard(Guard::Absent { key }).then(add(key, 2)),
        _ => builder.then(Operation::DeleteRange {
            from: key,
            to: Some(other),
        }),
    };
    builder.finish()
}

fn head(number: u64, entry: u64) -> BatchHead {
    BatchHead {
        kind: BatchKind::Session,
        birth: 1,
        nonce: number % 3,
        principal: 1,
        epoch: 1,
        acked_below: entry.saturating_sub(3) * 16,
    }
}

/// An entry of verified items, and its plan.
fn formed(builder: &mut EntryBuilder, entry: u64, lease_ms: u64) -> (Vec<u8>, Option<Plan>) {
    for number in entry * 16..(entry + 1) * 16 {
        builder.begin_batch(&head(number, entry));
        let bytes = item(number + 1, ItemKind::Transaction, &payload(number));
        let item = items_of_batch(&bytes, 1)
            .next()
            .and_then(Result::ok)
            .expect("one item");
        let transaction = Transaction::parse(item.payload).expect("just built");
        builder.push_transaction(&item, transaction.outline());
    }
    builder.finish_planned(entry * 100, lease_ms)
}

#[test]
fn a_planned_entry_does_what_the_verified_one_does() {
    let mut verified = State::new(StateConfig::default());
    let mut planned = State::new(StateConfig::default());
    let mut builder = EntryBuilder::new();
    for entry in 1..120 {
        let (bytes, plan) = formed(&mut builder, entry, entry * 10);
        let plan = plan.expect("all items were verified");
        let (mut told, mut told_planned) = (Told::default(), Told::default());
        verified.apply(entry, &bytes, &mut told).expect("in order");
        planned
            .apply_planned(entry, &bytes, &plan, &mut told_planned)
            .expect("in order");
        assert_eq!(told, told_planned);
        assert!(told.0.len() >= 16);
        builder.recycle(plan);
    }
    assert_eq!(bytes_of(&mut verified), bytes_of(&mut planned));
}

#[test]
fn the_plan_of_another_entry_is_not_used() {
    let mut builder = EntryBuilder::new();
    let (first, first_plan) = formed(&mut builder, 1, 0);
    let (second, second_plan) = formed(&mut builder, 2, 0);
    let (first_plan, second_plan) = (
        first_plan.expect("all items were verified"),
        second_plan.expect("all items were verified"),
    );
    let mut verified = State::new(StateConfig::default());
    let mut crossed = State::new(StateConfig::default());
    for (index, bytes, wrong) in [(1, &first, &second_plan), (2, &second, &first_plan)] {
        let (mut told, mut told_crossed) = (Told::default(), Told::default());
        verified.apply(index, bytes, &mut told).expect("in order");
        crossed
            .apply_planned(index, bytes, wrong, &mut told_crossed)
            .expect("in order");
        assert_eq!(told, told_crossed);
    }
    assert!(
        crossed
            .apply_planned(2, &second, &second_plan, &mut Told::default())
            .is_err(),
        "an index is applied once"
    );
}

#[test]
fn an_item_that_nobody_verified_takes_the_plan_away() {
    let mut builder = EntryBuilder::new();
    builder.begin_batch(&head(0, 0));
    builder.push_item(&item(1, ItemKind::Transaction, b"not a transaction"));
    let (bytes, plan) = builder.finish_planned(1, 0);
    assert!(plan.is_none());
    let mut state = State::new(StateConfig::default());
    assert!(state.apply(1, &bytes, &mut Told::default()).is_err());
    let (_, plan) = formed(&mut builder, 1, 0);
    assert!(plan.is_some(), "the next entry has one again");
}
