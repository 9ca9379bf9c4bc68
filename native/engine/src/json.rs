//! Writing JSON. Reports and statistics leave the engine as text that the
//! control plane parses; nothing here is hot.

use std::fmt;

/// A JSON value to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A count; identities and revisions, which may pass 2^53, are written as text.
    Number(u64),
    /// Text
    Text(String),
    /// `[…]`
    List(Vec<Json>),
    /// `{…}`, in the order given
    Object(Vec<(&'static str, Json)>),
}

impl Json {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Text, or `null`.
    pub fn optional_text(text: Option<impl Into<String>>) -> Self {
        text.map_or(Self::Null, Self::text)
    }

    /// A 64-bit identity or revision, as decimal text.
    pub fn wide(number: u64) -> Self {
        Self::Text(number.to_string())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{value}"),
            Self::Text(text) => write_text(f, text),
            Self::List(values) => {
                f.write_str("[")?;
                for (at, value) in values.iter().enumerate() {
                    if at > 0 {
                        f.write_str(",")?;
                    }
                    write!(f, "{value}")?;
                }
                f.write_str("]")
            }
            Self::Object(fields) => {
                f.write_str("{")?;
                for (at, (name, value)) in fields.iter().enumerate() {
                    if at > 0 {
                        f.write_str(",")?;
                    }
                    write_text(f, name)?;
                    write!(f, ":{value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for character in text.chars() {
        match character {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            character if character < ' ' => write!(f, "\\u{:04x}", u32::from(character))?,
            character => write!(f, "{character}")?,
        }
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_json_says() {
        let value = Json::Object(vec![
            ("text", Json::text("a\"b\\c\nd\u{1}é")),
            (
                "list",
                Json::List(vec![Json::Null, Json::Bool(true), Json::Number(7)]),
            ),
            ("wide", Json::wide(u64::MAX)),
            ("empty", Json::Object(vec![])),
        ]);
        assert_eq!(
            value.to_string(),
            "{\"text\":\"a\\\"b\\\\c\\nd\\u0001é\",\"list\":[null,true,7],\
             \"wide\":\"18446744073709551615\",\"empty\":{}}"
        );
    }
}
