//! Small text files that vouch for themselves: a first line that tells what they are, lines of a name
//! and a value, and a last line with the checksum of all before it.

use std::fmt::Write;

/// The text of a file: its first line, then names and values.
pub fn seal<'a>(first_line: &str, fields: impl Iterator<Item = (&'a str, String)>) -> String {
    let mut text = format!("{first_line}\n");
    for (name, value) in fields {
        text.push_str(name);
        text.push(' ');
        text.push_str(&value);
        text.push('\n');
    }
    let check = crc32c::crc32c(text.as_bytes());
    writeln!(text, "check {check:08x}").expect("writing to a string does not fail");
    text
}

/// The lines of names and values, if the file is whole and of this kind; else what is wrong.
pub fn open<'a>(first_line: &str, text: &'a str) -> Result<Fields<'a>, &'static str> {
    let (covered, check) = text
        .strip_suffix('\n')
        .and_then(|text| text.rsplit_once("check "))
        .ok_or("it has no check line")?;
    let check = u32::from_str_radix(check, 16).map_err(|_| "its check is no number")?;
    if check != crc32c::crc32c(covered.as_bytes()) {
        return Err("its check does not fit");
    }
    let mut lines = covered.lines();
    if lines.next() != Some(first_line) {
        return Err("it is of an unknown version");
    }
    Ok(Fields { lines })
}

/// What is left of a file's names and values.
pub struct Fields<'a> {
    lines: std::str::Lines<'a>,
}

impl<'a> Fields<'a> {
    /// The value of the next line, if that has this name.
    pub fn next(&mut self, name: &str) -> Option<&'a str> {
        self.lines.next()?.strip_prefix(name)?.strip_prefix(' ')
    }
}
