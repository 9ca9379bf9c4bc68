//! The cases of `tests/cases`, one file a subject. Their language is described in
//! `scenario_support/world.rs`.

mod scenario_support;

use std::fs;
use std::path::Path;

use scenario_support::cases::run;

#[test]
fn every_case_comes_out_as_it_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("the folder of the cases is there")
        .map(|file| file.expect("a folder can be read").path())
        .collect();
    files.sort();
    let mut failures = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).expect("a case is text");
        let name = file.strip_prefix(env!("CARGO_MANIFEST_DIR"));
        let name = name.expect("it stands in the folder").display().to_string();
        failures.extend(run(&name, &text));
    }
    assert!(!files.is_empty(), "there are no cases");
    assert!(failures.is_empty(), "\n\n{}\n", failures.join("\n\n"));
}
