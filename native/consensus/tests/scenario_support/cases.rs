//! Runs a file of cases and compares what comes out line by line.
//!
//! ```text
//! # a comment
//! case NAME          begins a case: no replica is there yet
//! STEP               what is done (see `world`)
//! < ...              what comes out of the step above, every line of it
//! ```
//!
//! A case that fails is run to its end and printed as it came out: whoever writes a case writes its
//! steps, and takes over the answers once they are what they should be.

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::world::World;

struct Case<'a> {
    name: &'a str,
    steps: Vec<Step<'a>>,
}

struct Step<'a> {
    line: usize,
    text: &'a str,
    /// The answers with their lines.
    expected: Vec<(usize, &'a str)>,
}

/// Runs all cases of a file; what is wrong with those that fail.
///
/// # Panics
/// When the file holds no case, or something before its first.
pub fn run(file: &str, text: &str) -> Vec<String> {
    let cases = read(file, text);
    assert!(!cases.is_empty(), "{file} holds no case");
    cases.iter().filter_map(|case| case.run(file)).collect()
}

fn read<'a>(file: &str, text: &'a str) -> Vec<Case<'a>> {
    let mut cases: Vec<Case> = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim_end();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if let Some(name) = text.strip_prefix("case ") {
            let steps = Vec::new();
            cases.push(Case { name, steps });
            continue;
        }
        let steps = cases.last_mut().map(|case| &mut case.steps);
        let steps = steps.unwrap_or_else(|| panic!("{file}:{line}: a file begins with a case"));
        if text.starts_with('<') {
            let step = steps.last_mut();
            let step = step.unwrap_or_else(|| panic!("{file}:{line}: an answer follows a step"));
            step.expected.push((line, text));
        } else {
            let expected = Vec::new();
            steps.push(Step {
                line,
                text,
                expected,
            });
        }
    }
    cases
}

impl Case<'_> {
    /// What is wrong: the first line that differs, then all that came out.
    fn run(&self, file: &str) -> Option<String> {
        let mut world = World::default();
        let mut wrong = None;
        let mut transcript = format!("    case {}\n", self.name);
        for step in &self.steps {
            let _ = writeln!(transcript, "    {}", step.text);
            // A step that panics ends its case, not those behind it.
            let came = catch_unwind(AssertUnwindSafe(|| world.step(step.text)));
            let answers: Vec<String> = match came {
                Ok(answers) => answers.iter().map(|one| format!("< {one}")).collect(),
                Err(payload) => {
                    let text = payload.downcast_ref::<String>().map(String::as_str);
                    let text = text.or(payload.downcast_ref::<&str>().copied());
                    let text = text.unwrap_or("a panic without words");
                    wrong.get_or_insert((step.line, format!("`{}`: {text}", step.text)));
                    break;
                }
            };
            for answer in &answers {
                let _ = writeln!(transcript, "    {answer}");
            }
            if let Some(differs) = step.compare(&answers) {
                wrong.get_or_insert(differs);
            }
        }
        let (line, what) = wrong?;
        Some(format!(
            "{file}:{line}: case {}\n{what}\nthe case as it came out:\n{transcript}",
            self.name
        ))
    }
}

impl Step<'_> {
    /// The first line that is not as expected.
    fn compare(&self, answers: &[String]) -> Option<(usize, String)> {
        for at in 0..self.expected.len().max(answers.len()) {
            let answer = answers.get(at).map(String::as_str);
            let expected = self.expected.get(at);
            if expected.map(|&(_, text)| text) != answer {
                let before = self.expected.last().map_or(self.line, |&(line, _)| line);
                let line = expected.map_or(before, |&(line, _)| line);
                let expected = expected.map_or("nothing more", |&(_, text)| text);
                let answer = answer.unwrap_or("nothing more");
                return Some((line, format!("expected  {expected}\ngot       {answer}")));
            }
        }
        None
    }
}
