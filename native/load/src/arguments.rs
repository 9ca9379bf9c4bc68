//! `--name value` arguments; everything after `--` is a command to start.

use crate::fault::{Fault, Result};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::str::FromStr;

/// The parsed command line of a subcommand.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    values: BTreeMap<String, String>,
    command: Vec<String>,
}

impl Arguments {
    /// Reads `--name value` pairs.
    ///
    /// # Errors
    /// A word that is no `--name`, a name without a value, a name given twice.
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Self> {
        let mut words = words;
        let mut arguments = Self::default();
        while let Some(word) = words.next() {
            if word == "--" {
                arguments.command = words.collect();
                break;
            }
            let Some(name) = word.strip_prefix("--") else {
                return Err(Fault::new(format!("expected --name, found `{word}`")));
            };
            let Some(value) = words.next() else {
                return Err(Fault::new(format!("--{name} needs a value")));
            };
            if arguments.values.insert(name.to_owned(), value).is_some() {
                return Err(Fault::new(format!("--{name} is given twice")));
            }
        }
        Ok(arguments)
    }

    /// The text given for a name, if any.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The value of a name that must be there.
    ///
    /// # Errors
    /// The name is missing or its value does not parse.
    pub fn required<T: FromStr>(&self, name: &str) -> Result<T> {
        let Some(text) = self.text(name) else {
            return Err(Fault::new(format!("--{name} is missing")));
        };
        text.parse()
            .map_err(|_| Fault::new(format!("--{name} {text}: not a valid value")))
    }

    /// The value of a name, or a default where it was not given.
    ///
    /// # Errors
    /// The value does not parse.
    pub fn optional<T: FromStr>(&self, name: &str, default: T) -> Result<T> {
        if self.values.contains_key(name) {
            self.required(name)
        } else {
            Ok(default)
        }
    }

    /// The program after `--` with its arguments, which reads and says nothing.
    ///
    /// # Errors
    /// There is none; `purpose` says in a word what for it is missing.
    pub fn program(&self, purpose: &str) -> Result<Command> {
        let [program, words @ ..] = self.command.as_slice() else {
            let what = format!("the command to {purpose} is missing after --");
            return Err(Fault::new(what));
        };
        let mut command = Command::new(program);
        command
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        Ok(command)
    }

    /// Refuses names outside `known`, so that a typing error is not ignored.
    ///
    /// # Errors
    /// A name that the subcommand does not know.
    pub fn allow_only(&self, known: &[&str]) -> Result<()> {
        for name in self.values.keys() {
            if !known.contains(&name.as_str()) {
                return Err(Fault::new(format!("unknown argument --{name}")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Arguments;

    fn parse(words: &[&str]) -> crate::fault::Result<Arguments> {
        Arguments::parse(words.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn reads_names_values_and_a_command() {
        let arguments = parse(&["--keys", "10", "--", "node", "--x"]).expect("valid");
        assert_eq!(arguments.required::<u32>("keys").expect("given"), 10);
        assert_eq!(arguments.optional("seed", 7_u64).expect("default"), 7);
        let program = arguments.program("run").expect("given");
        assert_eq!(program.get_program(), "node");
        assert!(program.get_args().eq(["--x"]));
        let none = parse(&["--keys", "10"]).expect("valid");
        assert!(none.program("run").is_err());
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        assert!(parse(&["keys"]).is_err());
        assert!(parse(&["--keys"]).is_err());
        assert!(parse(&["--keys", "1", "--keys", "2"]).is_err());
        assert!(
            parse(&["--keys", "x"])
                .expect("parses")
                .required::<u32>("keys")
                .is_err()
        );
        assert!(
            parse(&["--kyes", "1"])
                .expect("parses")
                .allow_only(&["keys"])
                .is_err()
        );
    }
}
