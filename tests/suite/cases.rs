//! Every folder in `tests/cases` is a case: `input/` is replayed, `expected.jsonl` holds the last
//! message of each alert. A new case needs no Rust; `LAPWING_WRITE_CASES=1` writes what came out.

use std::fs;

use crate::program::{final_alerts, lapwing, repository};

#[test]
fn every_case_gives_the_alerts_it_expects() {
    let mut cases = 0;
    for entry in fs::read_dir(repository("tests/cases")).expect("the folder of cases") {
        let case = entry.expect("an entry").path();
        let name = case.file_name().expect("a name").to_string_lossy().into_owned();
        let ran = lapwing(&case, &["replay", "input", "-o", "json", "--source", &name]).exits(0);
        let lines: Vec<String> =
            final_alerts(&ran.messages()).iter().map(|a| format!("{a}\n")).collect();
        let found = lines.concat();
        let file = case.join("expected.jsonl");
        if std::env::var_os("LAPWING_WRITE_CASES").is_some() {
            fs::write(&file, &found).expect("the case can be written");
        }
        let expected = fs::read_to_string(&file).expect("expected.jsonl");
        assert_eq!(found, expected, "case {name}");
        cases += 1;
    }
    assert!(cases >= 4, "only {cases} cases were found");
}
