//! PostgreSQL: protocol 3, prepared statements, one transaction an operation,
//! pipelined as Bind, Execute, Sync; answers in order.

use crate::codec::Codec;
use crate::fault::{Fault, Result};
use crate::operation::{
    Answer, KEY_BYTES, KEY_DIGITS_AT, Kind, Operation, VALUE_BYTES, entry_key, write_digits,
    write_value,
};
use crate::outstanding::Outstanding;
use crate::recorder::Recorder;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;

const PUT: &str = "INSERT INTO entries (key, value) VALUES ($1, $2) \
ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value";
const GET: &str = "SELECT value FROM entries WHERE key = $1";
const TRANSFER: &str = "SELECT transfer($1, $2, $3)";
const READ_ACCOUNT: &str = "SELECT balance FROM accounts WHERE id = $1";

/// OIDs of the parameter types.
const BYTEA: u32 = 17;
const INT4: u32 = 23;

/// What a connection is prepared for: the tables that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// None yet.
    None,
    /// `entries`.
    Entries,
    /// `accounts` and the function `transfer`.
    Accounts,
}

/// Bind, Execute and Sync of one statement, with the places of its parameters.
struct Template {
    bytes: Vec<u8>,
    places: Vec<usize>,
}

impl Template {
    fn new(statement: &str, parameters: &[&[u8]]) -> Self {
        let mut body = Vec::new();
        let mut places = Vec::new();
        body.push(0);
        body.extend_from_slice(statement.as_bytes());
        body.push(0);
        push_u16(&mut body, 1);
        push_u16(&mut body, 1); // parameters are binary
        push_u16(&mut body, parameters.len());
        for parameter in parameters {
            push_u32(&mut body, parameter.len());
            places.push(5 + body.len());
            body.extend_from_slice(parameter);
        }
        push_u16(&mut body, 1);
        push_u16(&mut body, 1); // results are binary
        let mut bytes = message(b'B', &body);
        bytes.extend_from_slice(&message(b'E', &[0; 5]));
        bytes.extend_from_slice(&message(b'S', &[]));
        Self { bytes, places }
    }

    #[inline]
    fn append<'a>(&self, out: &'a mut Vec<u8>) -> &'a mut [u8] {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        &mut out[start..]
    }
}

/// The messages, built once and shared by all connections.
pub struct Templates {
    put: Template,
    get: Template,
    transfer: Template,
    read_account: Template,
}

impl Templates {
    /// Builds them.
    pub fn new() -> Rc<Self> {
        let key = entry_key(0);
        Rc::new(Self {
            put: Template::new("put", &[&key, &[0; VALUE_BYTES]]),
            get: Template::new("get", &[&key]),
            transfer: Template::new("transfer", &[&[0; 4], &[0; 4], &[0; 4]]),
            read_account: Template::new("read", &[&[0; 4]]),
        })
    }
}

/// One connection to PostgreSQL.
pub struct Postgres {
    templates: Rc<Templates>,
    tables: Tables,
    user: Rc<str>,
}

impl Postgres {
    /// A connection for `user`, prepared for these tables.
    pub fn new(templates: Rc<Templates>, tables: Tables, user: Rc<str>) -> Self {
        Self {
            templates,
            tables,
            user,
        }
    }
}

impl Codec for Postgres {
    fn open(&mut self, stream: &mut TcpStream) -> Result<()> {
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        for word in [
            "user",
            &self.user,
            "database",
            "postgres",
            "application_name",
            "domp-load",
        ] {
            body.extend_from_slice(word.as_bytes());
            body.push(0);
        }
        body.push(0);
        let mut start = Vec::new();
        push_u32(&mut start, body.len() + 4);
        start.extend_from_slice(&body);
        stream.write_all(&start)?;
        until_ready(stream, &mut |_, _| Ok(()))?;
        let statements: &[(&str, &str, &[u32])] = match self.tables {
            Tables::None => &[],
            Tables::Entries => &[("put", PUT, &[BYTEA, BYTEA]), ("get", GET, &[BYTEA])],
            Tables::Accounts => &[
                ("transfer", TRANSFER, &[INT4, INT4, INT4]),
                ("read", READ_ACCOUNT, &[INT4]),
            ],
        };
        for (name, text, types) in statements {
            let mut body = Vec::new();
            for word in [name, text] {
                body.extend_from_slice(word.as_bytes());
                body.push(0);
            }
            push_u16(&mut body, types.len());
            for oid in *types {
                body.extend_from_slice(&oid.to_be_bytes());
            }
            stream.write_all(&message(b'P', &body))?;
            stream.write_all(&message(b'S', &[]))?;
            until_ready(stream, &mut |_, _| Ok(()))?;
        }
        Ok(())
    }

    #[inline]
    fn encode(
        &mut self,
        _number: u64,
        _answered_below: u64,
        operations: &[Operation],
        out: &mut Vec<u8>,
    ) {
        let templates = &*self.templates;
        for operation in operations {
            match operation.kind {
                Kind::Put => {
                    let bytes = templates.put.append(out);
                    patch_key(bytes, templates.put.places[0], operation.key);
                    let value = &mut bytes[templates.put.places[1]..];
                    write_value(operation.key, operation.stamp, value);
                }
                Kind::Get => {
                    let bytes = templates.get.append(out);
                    patch_key(bytes, templates.get.places[0], operation.key);
                }
                Kind::Transfer => {
                    let bytes = templates.transfer.append(out);
                    let numbers = [operation.key, operation.other, operation.amount];
                    for (place, number) in templates.transfer.places.iter().zip(numbers) {
                        bytes[*place..place + 4].copy_from_slice(&number.to_be_bytes());
                    }
                }
                Kind::ReadAccount => {
                    let bytes = templates.read_account.append(out);
                    let place = templates.read_account.places[0];
                    bytes[place..place + 4].copy_from_slice(&operation.key.to_be_bytes());
                }
                Kind::OpenAccount | Kind::Answered => {
                    unreachable!("accounts are opened by a statement of their own")
                }
            }
        }
    }

    #[inline]
    fn decode(
        &mut self,
        input: &[u8],
        outstanding: &mut Outstanding,
        recorder: &mut Recorder,
        _out: &mut Vec<u8>,
    ) -> Result<usize> {
        let mut used = 0;
        // An answer counts when ReadyForQuery has come: only then is the transaction committed.
        while let Some((row, length)) = transaction(&input[used..])? {
            let (number, operation) = outstanding.oldest()?;
            let answer = match (operation.kind, row) {
                (Kind::Put, None) => Answer::Done,
                (Kind::Get, Some(value)) => Answer::Bytes(value),
                (Kind::Get, None) => Answer::Absent,
                (Kind::Transfer, Some([0, 0, 0, 1])) => Answer::Applied,
                (Kind::Transfer, Some([0, 0, 0, 0])) => Answer::Refused,
                (Kind::ReadAccount, Some(bytes)) => {
                    let bytes = bytes.try_into();
                    Answer::Number(i64::from_be_bytes(bytes.map_err(|_| {
                        Fault::new("PostgreSQL sent a balance that is no int8")
                    })?))
                }
                (kind, row) => {
                    return Err(Fault::new(format!(
                        "PostgreSQL answered {kind:?} with {row:?}"
                    )));
                }
            };
            outstanding.answer(number, answer, recorder)?;
            used += length;
        }
        Ok(used)
    }
}

#[inline]
fn patch_key(bytes: &mut [u8], place: usize, number: u32) {
    write_digits(number, &mut bytes[place + KEY_DIGITS_AT..place + KEY_BYTES]);
}

/// The row of a finished transaction, if it has one, and the bytes of its messages.
type Finished<'a> = (Option<&'a [u8]>, usize);

/// The messages up to and with the first ReadyForQuery: the one column of the
/// row among them, and their length; `None` until they are whole.
#[inline]
fn transaction(input: &[u8]) -> Result<Option<Finished<'_>>> {
    let mut row = None;
    let mut used = 0;
    while let Some((kind, body)) = next_message(&input[used..])? {
        used += 5 + body.len();
        match kind {
            b'D' => {
                // One column: its count (2 bytes), its length (4), its bytes.
                row = Some(
                    body.get(6..)
                        .ok_or_else(|| Fault::new("PostgreSQL sent an empty row"))?,
                );
            }
            b'Z' => return Ok(Some((row, used))),
            b'E' => return Err(Fault::new(format!("PostgreSQL: {}", error_text(body)))),
            _ => {}
        }
    }
    Ok(None)
}

#[inline]
fn next_message(input: &[u8]) -> Result<Option<(u8, &[u8])>> {
    let Some((head, rest)) = input.split_first_chunk::<5>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let Some(length) = length.checked_sub(4) else {
        return Err(Fault::new("PostgreSQL sent a message of a wrong length"));
    };
    Ok(rest.get(..length).map(|body| (head[0], body)))
}

/// The human-readable field of an ErrorResponse.
fn error_text(body: &[u8]) -> String {
    body.split(|&byte| byte == 0)
        .find_map(|field| field.strip_prefix(b"M"))
        .map_or_else(
            || "an error".into(),
            |text| String::from_utf8_lossy(text).into_owned(),
        )
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    push_u32(&mut bytes, body.len() + 4);
    bytes.extend_from_slice(body);
    bytes
}

fn push_u32(out: &mut Vec<u8>, number: usize) {
    let number = u32::try_from(number).expect("messages are far below 4 GiB");
    out.extend_from_slice(&number.to_be_bytes());
}

fn push_u16(out: &mut Vec<u8>, number: usize) {
    let number = u16::try_from(number).expect("counts are far below 65,536");
    out.extend_from_slice(&number.to_be_bytes());
}

/// Reads messages on a blocking socket until the server is ready again.
fn until_ready(
    stream: &mut TcpStream,
    visit: &mut dyn FnMut(u8, &[u8]) -> Result<()>,
) -> Result<()> {
    loop {
        let (kind, body) = read_message(stream)?;
        match kind {
            b'Z' => return Ok(()),
            b'E' => return Err(Fault::new(format!("PostgreSQL: {}", error_text(&body)))),
            b'R' if body != [0; 4] => {
                return Err(Fault::new(
                    "PostgreSQL wants a password; the bench starts its own with trust",
                ));
            }
            _ => visit(kind, &body)?,
        }
    }
}

fn read_message(stream: &mut TcpStream) -> Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if !(4..=1 << 20).contains(&length) {
        return Err(Fault::new("PostgreSQL sent a message of a wrong length"));
    }
    let mut body = vec![0; length - 4];
    stream.read_exact(&mut body)?;
    Ok((head[0], body))
}

/// Runs one statement or several and waits for their end.
///
/// # Errors
/// What PostgreSQL says, or a lost connection.
pub fn statement(stream: &mut TcpStream, text: &str) -> Result<()> {
    let mut body = text.as_bytes().to_vec();
    body.push(0);
    stream.write_all(&message(b'Q', &body))?;
    until_ready(stream, &mut |_, _| Ok(()))
}

/// Copies rows in binary form; `rows` appends each row's fields with [`copy_field`].
///
/// # Errors
/// What PostgreSQL says, or a lost connection.
pub fn copy(
    stream: &mut TcpStream,
    table: &str,
    fields: u16,
    rows: impl Iterator<Item = impl FnOnce(&mut Vec<u8>)>,
) -> Result<()> {
    /// Bytes of one CopyData message.
    const CHUNK_BYTES: usize = 256 * 1024;
    let mut body = format!("COPY {table} FROM STDIN (FORMAT binary)").into_bytes();
    body.push(0);
    stream.write_all(&message(b'Q', &body))?;
    match read_message(stream)? {
        (b'G', _) => {}
        (b'E', body) => return Err(Fault::new(format!("PostgreSQL: {}", error_text(&body)))),
        (kind, _) => return Err(Fault::new(format!("PostgreSQL answered COPY with {kind}"))),
    }
    let mut chunk = b"PGCOPY\n\xff\r\n\0".to_vec();
    chunk.extend_from_slice(&[0; 8]);
    for row in rows {
        chunk.extend_from_slice(&fields.to_be_bytes());
        row(&mut chunk);
        if chunk.len() >= CHUNK_BYTES {
            stream.write_all(&message(b'd', &chunk))?;
            chunk.clear();
        }
    }
    chunk.extend_from_slice(&u16::MAX.to_be_bytes());
    stream.write_all(&message(b'd', &chunk))?;
    stream.write_all(&message(b'c', &[]))?;
    until_ready(stream, &mut |_, _| Ok(()))
}

/// Appends one field of a copied row.
pub fn copy_field(out: &mut Vec<u8>, bytes: &[u8]) {
    push_u32(out, bytes.len());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_stand_where_they_are_patched() {
        let template = Template::new("get", &[&entry_key(1)]);
        let place = template.places[0];
        assert_eq!(&template.bytes[place..place + KEY_BYTES], &entry_key(1));
        assert_eq!(&template.bytes[place - 4..place], &[0, 0, 0, 16]);
    }

    #[test]
    fn an_answer_waits_for_its_commit() {
        let row = message(b'D', &[0, 1, 0, 0, 0, 4, 0, 0, 0, 1]);
        let complete = message(b'C', b"SELECT 1\0");
        let ready = message(b'Z', b"I");
        let all = [message(b'2', &[]), row, complete, ready].concat();
        for cut in 0..all.len() {
            assert!(transaction(&all[..cut]).expect("valid").is_none());
        }
        let (found, length) = transaction(&all).expect("valid").expect("whole");
        assert_eq!((found, length), (Some([0, 0, 0, 1].as_slice()), all.len()));
    }

    #[test]
    fn an_error_is_told_in_the_servers_words() {
        let error = message(b'E', b"SERROR\0C40P01\0Mdeadlock detected\0\0");
        let fault = transaction(&error).expect_err("an error");
        assert_eq!(fault.to_string(), "PostgreSQL: deadlock detected");
    }
}
