//! DOMP: frames of one or several transactions in WebSocket messages.
//!
//! Transactions are built once by the protocol crate's own builder; the loop
//! copies them and patches keys, values and amounts where their bytes stand.

use crate::codec::Codec;
use crate::codec::flat::Table;
use crate::fault::{Fault, Result};
use crate::operation::{
    ACCOUNT_START, Answer, KEY_BYTES, KEY_DIGITS_AT, Kind, Operation, VALUE_BYTES, account_key,
    entry_key, write_digits, write_value,
};
use crate::outstanding::Outstanding;
use crate::recorder::Recorder;
use crate::websocket;
use domp_protocol::frame::{
    FRAME_HEADER_BYTES, MAGIC, REPLY_HEADER_BYTES, frame_header, item_header,
};
use domp_protocol::{
    ErrorCode, Frame, FrameKind, Guard, Hello, ItemKind, Operation as Step, TransactionBuilder,
    ValueRef, encode_hello, parse_error_detail, parse_goodbye, parse_welcome,
};
use std::cell::OnceCell;
use std::io::Write;
use std::net::TcpStream;
use std::rc::Rc;

/// How long a request may wait at the server.
const TIMEOUT_MS: u32 = 30_000;
/// Bytes of the header of an item whose sequence is patched.
const SEQUENCE_BYTES: usize = 8;

/// Numbers that occur nowhere else in a transaction, to find the places to patch.
const FROM: u32 = 71_717_171;
const TO: u32 = 93_939_393;
const FLOOR_MARK: i64 = 0x51ca_1ab1_e0dd_ba11;
const TAKE_MARK: i64 = 0x3eed_0ff1_ce5e_ed01;
const GIVE_MARK: i64 = 0x7001_bea7_1f1e_d501;
const VALUE_MARK: [u8; VALUE_BYTES] = [0xa5; VALUE_BYTES];

/// One item, and where its parts stand.
struct Template {
    bytes: Vec<u8>,
    /// Digits of the key, wherever it occurs.
    keys: Vec<usize>,
    /// Digits of the other key.
    others: Vec<usize>,
    value: Option<usize>,
    /// Places of the amount, and of the amount taken (negative).
    amounts: Vec<usize>,
    taken: Vec<usize>,
}

impl Template {
    fn new(transaction: &[u8]) -> Self {
        let length = u32::try_from(transaction.len()).expect("a transaction of a few operations");
        let mut bytes = item_header(0, ItemKind::Transaction, length).to_vec();
        bytes.extend_from_slice(transaction);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let digits = |number: u32| {
            let mut text = [0; KEY_BYTES - KEY_DIGITS_AT];
            write_digits(number, &mut text);
            find(&bytes, &text)
        };
        Self {
            keys: digits(FROM),
            others: digits(TO),
            value: find(&bytes, &VALUE_MARK).first().copied(),
            amounts: [
                find(&bytes, &FLOOR_MARK.to_le_bytes()),
                find(&bytes, &GIVE_MARK.to_le_bytes()),
            ]
            .concat(),
            taken: find(&bytes, &TAKE_MARK.to_le_bytes()),
            bytes,
        }
    }

    #[inline]
    fn append(&self, sequence: u64, operation: &Operation, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let item = &mut out[start..];
        item[..SEQUENCE_BYTES].copy_from_slice(&sequence.to_le_bytes());
        for &place in &self.keys {
            write_digits(operation.key, &mut item[place..]);
        }
        for &place in &self.others {
            write_digits(operation.other, &mut item[place..]);
        }
        if let Some(place) = self.value {
            write_value(operation.key, operation.stamp, &mut item[place..]);
        }
        let amount = i64::from(operation.amount);
        for &place in &self.amounts {
            item[place..place + 8].copy_from_slice(&amount.to_le_bytes());
        }
        for &place in &self.taken {
            item[place..place + 8].copy_from_slice(&(-amount).to_le_bytes());
        }
    }
}

/// Every place at which `wanted` stands.
fn find(bytes: &[u8], wanted: &[u8]) -> Vec<usize> {
    (0..bytes.len())
        .filter(|&place| bytes[place..].starts_with(wanted))
        .collect()
}

/// The items, built once and shared by all connections.
pub struct Templates {
    space: u32,
    put: Template,
    get: Template,
    transfer: Template,
    open_account: Template,
    read_account: Template,
}

impl Templates {
    /// Builds them for a space.
    pub fn new(space: u32) -> Rc<Self> {
        let entry = entry_key(FROM);
        let (from, to) = (account_key(FROM), account_key(TO));
        let one =
            |step: Step<'_>| Template::new(&TransactionBuilder::new(space).then(step).finish());
        let put = |key, value| Step::Put {
            key,
            value,
            expire_after_ms: None,
        };
        let add = |key, delta, floor| Step::Add {
            key,
            delta,
            floor,
            ceiling: None,
        };
        let transfer = TransactionBuilder::new(space)
            .guard(Guard::AtLeast {
                key: &from,
                number: FLOOR_MARK,
            })
            .then(add(&from, TAKE_MARK, Some(0)))
            .then(add(&to, GIVE_MARK, None));
        Rc::new(Self {
            space,
            put: one(put(&entry, ValueRef::Bytes(&VALUE_MARK))),
            get: one(Step::Get { key: &entry }),
            transfer: Template::new(&transfer.finish()),
            open_account: one(put(&from, ValueRef::Number(ACCOUNT_START))),
            read_account: one(Step::Get { key: &from }),
        })
    }

    #[inline]
    fn of(&self, kind: Kind) -> &Template {
        match kind {
            Kind::Put => &self.put,
            Kind::Get => &self.get,
            Kind::Transfer => &self.transfer,
            Kind::OpenAccount => &self.open_account,
            Kind::ReadAccount => &self.read_account,
            Kind::Answered => unreachable!("a drawn operation is something to do"),
        }
    }

    /// Bytes of a frame with `count` operations of a kind.
    #[inline]
    pub fn frame_bytes(&self, kind: Kind, count: usize) -> usize {
        FRAME_HEADER_BYTES + self.of(kind).bytes.len() * count
    }
}

/// The templates of a system's connections; the first that learns the space builds them.
pub type Shared = Rc<OnceCell<Rc<Templates>>>;

/// One connection to DOMP.
pub struct Domp {
    path: Rc<str>,
    shared: Shared,
}

impl Domp {
    /// A connection that asks for the upgrade at `path`.
    pub fn new(path: Rc<str>, shared: Shared) -> Self {
        Self { path, shared }
    }
}

impl Codec for Domp {
    fn open(&mut self, stream: &mut TcpStream) -> Result<()> {
        websocket::open(stream, &self.path)?;
        let hello = encode_hello(&Hello {
            client: Some("domp-load"),
            ..Hello::default()
        });
        let mut message = Vec::new();
        websocket::push_header(websocket::BINARY, hello.len(), &mut message);
        message.extend_from_slice(&hello);
        stream.write_all(&message)?;
        let answer = websocket::read_message(stream)?;
        match Frame::parse(&answer).map_err(refused)?.kind {
            FrameKind::Welcome => {
                let welcome = parse_welcome(&answer).map_err(refused)?;
                self.shared
                    .get_or_init(|| Templates::new(welcome.default_space));
                Ok(())
            }
            _ => Err(unexpected(&answer)),
        }
    }

    #[inline]
    fn encode(
        &mut self,
        number: u64,
        answered_below: u64,
        operations: &[Operation],
        out: &mut Vec<u8>,
    ) {
        let templates = self.shared.get().expect("open() has set the templates");
        let count = u32::try_from(operations.len()).expect("a message holds at most a window");
        let length = templates.frame_bytes(operations[0].kind, operations.len());
        websocket::push_header(websocket::BINARY, length, out);
        // Sequences begin at 1, numbers at 0.
        let acked_below = answered_below + 1;
        let space = templates.space;
        let header = frame_header(FrameKind::Submit, count, acked_below, TIMEOUT_MS, space);
        out.extend_from_slice(&header);
        for (sequence, operation) in (number + 1..).zip(operations) {
            templates
                .of(operation.kind)
                .append(sequence, operation, out);
        }
    }

    #[inline]
    fn decode(
        &mut self,
        input: &[u8],
        outstanding: &mut Outstanding,
        recorder: &mut Recorder,
        out: &mut Vec<u8>,
    ) -> Result<usize> {
        let mut used = 0;
        while let Some(message) = websocket::parse(&input[used..])? {
            used += message.length;
            match message.opcode {
                websocket::BINARY => replies(message.payload, outstanding, recorder)?,
                websocket::PING => {
                    websocket::push_header(websocket::PONG, message.payload.len(), out);
                    out.extend_from_slice(message.payload);
                }
                websocket::PONG => {}
                _ => return Err(Fault::new("DOMP closed the WebSocket")),
            }
        }
        Ok(used)
    }
}

fn refused(code: ErrorCode) -> Fault {
    Fault::new(format!("DOMP's answer can't be read: {code}"))
}

/// Takes the replies of one frame. The walk is the protocol crate's
/// `parse_replies` without its second pass; `tests` holds them against each other.
#[inline]
fn replies(frame: &[u8], outstanding: &mut Outstanding, recorder: &mut Recorder) -> Result<()> {
    let Some((header, mut rest)) = frame.split_first_chunk::<FRAME_HEADER_BYTES>() else {
        return Err(Fault::new("DOMP sent half a frame"));
    };
    let magic = u16::from_le_bytes([header[0], header[1]]);
    if magic != MAGIC || header[3] != FrameKind::Replies as u8 {
        return Err(unexpected(frame));
    }
    let mut count = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    while let Some((head, after)) = rest.split_first_chunk::<REPLY_HEADER_BYTES>() {
        let (sequence, length, code, flags) = reply_head(head);
        let padded = length.next_multiple_of(8);
        let (Some(payload), Some(next)) = (after.get(..length), after.get(padded..)) else {
            return Err(Fault::new("DOMP sent half a reply"));
        };
        if code != 0 {
            return Err(failed(code, payload));
        }
        let number = sequence.wrapping_sub(1);
        let kind = outstanding.kind(number)?;
        let answer = answer(kind, flags & 1 != 0, payload)?;
        outstanding.answer(number, answer, recorder)?;
        count = count.wrapping_sub(1);
        rest = next;
    }
    if count == 0 && rest.is_empty() {
        Ok(())
    } else {
        Err(Fault::new("DOMP sent a frame whose count is wrong"))
    }
}

/// Sequence, length of the payload, error and flags of a `ReplyHeader`.
#[inline]
fn reply_head(head: &[u8; REPLY_HEADER_BYTES]) -> (u64, usize, u16, u8) {
    let [
        s0,
        s1,
        s2,
        s3,
        s4,
        s5,
        s6,
        s7,
        ..,
        l0,
        l1,
        l2,
        l3,
        c0,
        c1,
        flags,
        _,
    ] = *head;
    (
        u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
        u32::from_le_bytes([l0, l1, l2, l3]) as usize,
        u16::from_le_bytes([c0, c1]),
        flags,
    )
}

/// What a reply's payload says to an operation of that kind.
#[inline]
fn answer(kind: Kind, applied: bool, payload: &[u8]) -> Result<Answer<'_>> {
    match kind {
        Kind::Transfer if applied => Ok(Answer::Applied),
        Kind::Transfer => Ok(Answer::Refused),
        _ if !applied => Ok(Answer::Refused),
        Kind::Get => Ok(entry(payload)?
            .and_then(|entry| entry.bytes(1).transpose())
            .transpose()?
            .map_or(Answer::Absent, Answer::Bytes)),
        Kind::ReadAccount => Ok(entry(payload)?
            .map(|entry| entry.number(2))
            .transpose()?
            .flatten()
            .map_or(Answer::Absent, Answer::Number)),
        _ => Ok(Answer::Done),
    }
}

/// The entry of the only result: fields `results`, then `entry`, of the schema.
#[inline]
fn entry(payload: &[u8]) -> Result<Option<Table<'_>>> {
    match Table::root(payload)?.only_table(0)? {
        None => Ok(None),
        Some(result) => result.table(0),
    }
}

#[cold]
fn failed(code: u16, payload: &[u8]) -> Fault {
    let name = ErrorCode::from_number(code).map_or("an unknown error", ErrorCode::name);
    let detail =
        parse_error_detail(payload).map_or_else(|_| String::new(), |detail| detail.message);
    Fault::new(format!("DOMP answered {name} {detail}"))
}

#[cold]
fn unexpected(frame: &[u8]) -> Fault {
    match Frame::parse(frame).map(|frame| frame.kind) {
        Ok(FrameKind::Goodbye) => match parse_goodbye(frame) {
            Ok(goodbye) => Fault::new(format!("DOMP says goodbye: {}", goodbye.message)),
            Err(code) => refused(code),
        },
        Ok(kind) => Fault::new(format!("DOMP sent a {kind:?}, which was not expected")),
        Err(code) => refused(code),
    }
}

#[cfg(test)]
mod tests;
