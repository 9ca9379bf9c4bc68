//! Just enough JSON to report: objects and arrays of numbers, strings, booleans and null.

use std::fmt::Write;

/// A value to be printed.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`, also what a number that is not finite becomes.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(u64),
    /// A number with a fraction, printed with four digits after the point.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// An object; names in the order given.
    Object(Vec<(&'static str, Json)>),
}

impl Json {
    /// The value as one line.
    pub fn line(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Int(value) => push(out, format_args!("{value}")),
            Self::Float(value) if value.is_finite() => push(out, format_args!("{value:.4}")),
            Self::Null | Self::Float(_) => out.push_str("null"),
            Self::Text(text) => write_text(text, out),
            Self::List(values) => {
                out.push('[');
                for (position, value) in values.iter().enumerate() {
                    if position > 0 {
                        out.push(',');
                    }
                    value.write(out);
                }
                out.push(']');
            }
            Self::Object(fields) => {
                out.push('{');
                for (position, (name, value)) in fields.iter().enumerate() {
                    if position > 0 {
                        out.push(',');
                    }
                    write_text(name, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

fn push(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments)
        .expect("writing to a String does not fail");
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if control < ' ' => push(out, format_args!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::Json;

    #[test]
    fn escapes_what_json_does_not_allow() {
        let value = Json::Object(vec![
            ("a", Json::Text("say \"hi\"\n\\".into())),
            ("b", Json::List(vec![Json::Int(1), Json::Float(0.5)])),
            ("c", Json::Float(f64::NAN)),
        ]);
        assert_eq!(
            value.line(),
            r#"{"a":"say \"hi\"\u000a\\","b":[1,0.5000],"c":null}"#
        );
    }
}
