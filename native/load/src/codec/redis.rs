//! Redis: RESP2, pipelined commands, answers in order.

use crate::codec::Codec;
use crate::fault::{Fault, Result};
use crate::operation::{
    ACCOUNT_START, Answer, KEY_BYTES, KEY_DIGITS_AT, Kind, Operation, VALUE_BYTES, account_key,
    entry_key, write_amount, write_digits, write_value,
};
use crate::outstanding::Outstanding;
use crate::recorder::Recorder;
use std::net::TcpStream;
use std::rc::Rc;

/// Moves an amount if the first account has that much: the same guard as everywhere.
const TRANSFER: &str = "local n=tonumber(ARGV[1]) \
if tonumber(redis.call('GET',KEYS[1]))>=n then \
redis.call('DECRBY',KEYS[1],n) redis.call('INCRBY',KEYS[2],n) return 1 end return 0";

/// A command with places to patch.
struct Template {
    bytes: Vec<u8>,
    places: Vec<usize>,
}

impl Template {
    /// A command of these words; the places of the words in `patched` are kept.
    fn new(words: &[&[u8]], patched: &[usize]) -> Self {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        let mut places = Vec::new();
        for (position, word) in words.iter().enumerate() {
            bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            if patched.contains(&position) {
                places.push(bytes.len());
            }
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
        Self { bytes, places }
    }

    /// Appends the command and hands out its bytes to be patched.
    #[inline]
    fn append<'a>(&self, out: &'a mut Vec<u8>) -> &'a mut [u8] {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        &mut out[start..]
    }
}

/// The commands, built once and shared by all connections.
pub struct Templates {
    put: Template,
    get: Template,
    transfer: Template,
    open_account: Template,
    read_account: Template,
}

impl Templates {
    /// Builds them.
    pub fn new() -> Rc<Self> {
        let entry = entry_key(0);
        let account = account_key(0);
        let start = ACCOUNT_START.to_string();
        Rc::new(Self {
            put: Template::new(&[b"SET", &entry, &[0; VALUE_BYTES]], &[1, 2]),
            get: Template::new(&[b"GET", &entry], &[1]),
            transfer: Template::new(
                &[
                    b"EVAL",
                    TRANSFER.as_bytes(),
                    b"2",
                    &account,
                    &account,
                    b"00",
                ],
                &[3, 4, 5],
            ),
            open_account: Template::new(&[b"SET", &account, start.as_bytes()], &[1]),
            read_account: Template::new(&[b"GET", &account], &[1]),
        })
    }
}

/// One connection to Redis.
pub struct Redis {
    templates: Rc<Templates>,
}

impl Redis {
    /// A connection with these commands.
    pub fn new(templates: Rc<Templates>) -> Self {
        Self { templates }
    }
}

#[inline]
fn patch_key(command: &mut [u8], place: usize, number: u32) {
    write_digits(
        number,
        &mut command[place + KEY_DIGITS_AT..place + KEY_BYTES],
    );
}

impl Codec for Redis {
    fn open(&mut self, stream: &mut TcpStream) -> Result<()> {
        use std::io::{Read, Write};
        stream.write_all(b"*1\r\n$4\r\nPING\r\n")?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer)?;
        if &answer == b"+PONG\r\n" {
            Ok(())
        } else {
            Err(Fault::new("this is not Redis, or it is still loading"))
        }
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
            let template = match operation.kind {
                Kind::Put => &templates.put,
                Kind::Get => &templates.get,
                Kind::Transfer => &templates.transfer,
                Kind::OpenAccount => &templates.open_account,
                Kind::ReadAccount => &templates.read_account,
                Kind::Answered => unreachable!("a drawn operation is something to do"),
            };
            let command = template.append(out);
            patch_key(command, template.places[0], operation.key);
            match operation.kind {
                Kind::Put => {
                    write_value(
                        operation.key,
                        operation.stamp,
                        &mut command[template.places[1]..],
                    );
                }
                Kind::Transfer => {
                    patch_key(command, template.places[1], operation.other);
                    write_amount(operation.amount, &mut command[template.places[2]..]);
                }
                _ => {}
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
        while let Some((reply, length)) = parse(&input[used..])? {
            let (number, operation) = outstanding.oldest()?;
            let answer = match (reply, operation.kind) {
                (Reply::Simple, _) => Answer::Done,
                (Reply::Integer(1), Kind::Transfer) => Answer::Applied,
                (Reply::Integer(0), Kind::Transfer) => Answer::Refused,
                (Reply::Integer(other), _) => {
                    return Err(Fault::new(format!("Redis answered the number {other}")));
                }
                (Reply::Bulk(bytes), Kind::ReadAccount) => Answer::Number(parse_number(bytes)?),
                (Reply::Bulk(bytes), _) => Answer::Bytes(bytes),
                (Reply::Null, _) => Answer::Absent,
            };
            outstanding.answer(number, answer, recorder)?;
            used += length;
        }
        Ok(used)
    }
}

#[derive(Clone, Copy)]
enum Reply<'a> {
    Simple,
    Integer(i64),
    Bulk(&'a [u8]),
    Null,
}

/// The reply at the start of `input` and its length; `None` until it is whole.
#[inline]
fn parse(input: &[u8]) -> Result<Option<(Reply<'_>, usize)>> {
    let Some(end) = line_end(input) else {
        return Ok(None);
    };
    let line = &input[1..end];
    let after = end + 2;
    match input[0] {
        b'+' => Ok(Some((Reply::Simple, after))),
        b':' => Ok(Some((Reply::Integer(parse_number(line)?), after))),
        b'$' => {
            let length = parse_number(line)?;
            let Ok(length) = usize::try_from(length) else {
                return Ok(Some((Reply::Null, after)));
            };
            if input.len() < after + length + 2 {
                return Ok(None);
            }
            Ok(Some((
                Reply::Bulk(&input[after..after + length]),
                after + length + 2,
            )))
        }
        b'-' => Err(Fault::new(format!(
            "Redis: {}",
            String::from_utf8_lossy(line)
        ))),
        other => Err(Fault::new(format!(
            "Redis sent a reply of kind {:?}",
            other as char
        ))),
    }
}

#[inline]
fn line_end(input: &[u8]) -> Option<usize> {
    let end = input.iter().position(|&byte| byte == b'\r')?;
    (end > 0 && end + 1 < input.len()).then_some(end)
}

fn parse_number(text: &[u8]) -> Result<i64> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Fault::new("Redis sent a number that is none"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Stream;

    fn operation(kind: Kind) -> Operation {
        Operation {
            kind,
            key: 7,
            other: 8,
            amount: 42,
            stamp: 1,
        }
    }

    fn feed(kind: Kind, input: &[u8]) -> Result<(usize, Recorder)> {
        let mut outstanding = Outstanding::new(2, 1)?;
        let mut recorder = Recorder::new();
        let mut stream = Stream::List(vec![operation(kind); 2].into_iter());
        outstanding.draw(&mut stream, 0);
        outstanding.draw(&mut stream, 0);
        let mut redis = Redis::new(Templates::new());
        let used = redis.decode(input, &mut outstanding, &mut recorder, &mut Vec::new())?;
        Ok((used, recorder))
    }

    #[test]
    fn commands_are_patched_in_place() {
        let mut out = Vec::new();
        let mut redis = Redis::new(Templates::new());
        redis.encode(0, 0, &[operation(Kind::Transfer)], &mut out);
        let text = String::from_utf8(out).expect("text");
        assert!(text.starts_with("*6\r\n$4\r\nEVAL\r\n"));
        assert!(text.ends_with(
            "$1\r\n2\r\n$16\r\naccount/00000007\r\n$16\r\naccount/00000008\r\n$2\r\n42\r\n"
        ));
    }

    #[test]
    fn every_cut_of_the_answers_is_waited_for() {
        let answers = b":1\r\n:0\r\n";
        for cut in 0..answers.len() {
            let (used, recorder) = feed(Kind::Transfer, &answers[..cut]).expect("valid");
            assert_eq!(used, cut / 4 * 4);
            assert_eq!(
                recorder.tally().applied + recorder.tally().refused,
                cut as u64 / 4
            );
        }
        let mut value = [0; VALUE_BYTES];
        write_value(7, 1, &mut value);
        let answer = [b"$64\r\n".as_slice(), &value, b"\r\n"].concat();
        for cut in 0..answer.len() {
            assert_eq!(feed(Kind::Get, &answer[..cut]).expect("valid").0, 0);
        }
        assert_eq!(feed(Kind::Get, &answer).expect("right").1.tally().hits, 1);
    }

    #[test]
    fn errors_misses_and_wrong_values_are_faults() {
        assert!(feed(Kind::Put, b"-ERR no\r\n").is_err());
        assert!(feed(Kind::Get, b"$-1\r\n").is_err());
        assert!(feed(Kind::Get, b"$1\r\nx\r\n").is_err());
        assert!(feed(Kind::Transfer, b":2\r\n").is_err());
        assert!(feed(Kind::Put, b"+OK\r\n+OK\r\n+OK\r\n").is_err());
    }
}
