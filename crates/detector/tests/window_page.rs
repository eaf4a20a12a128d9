//! What docs/what-a-window-means.md says, statement by statement: each test is named for one of
//! them, plays made records to the detector and is exact. Here: page, picture and tests agree.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "window_page/alert.rs"]
mod alert;
#[path = "window_page/bounds.rs"]
mod bounds;
#[path = "window_page/clock.rs"]
mod clock;
#[path = "window_page/hold_for.rs"]
mod hold_for;
#[path = "window_page/kinds.rs"]
mod kinds;
#[path = "window_page/log.rs"]
mod log;
#[path = "window_page/order.rs"]
mod order;
#[path = "window_page/repeats.rs"]
mod repeats;
#[path = "window_page/restart.rs"]
mod restart;
#[path = "window_page/rule.rs"]
mod rule;
#[path = "window_page/silence.rs"]
mod silence;
#[path = "window_page/window.rs"]
mod window;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The tests in a file, as `window::a_burst_across_the_full_hour_is_one_window`.
fn tests_in(file: &Path) -> Vec<String> {
    let source = fs::read_to_string(file).expect("a source file");
    let module = file.file_stem().expect("a file").to_string_lossy().into_owned();
    let tests = source.split("#[test]\nfn ").skip(1);
    tests.filter_map(|t| Some(format!("{module}::{}", t.split_once('(')?.0))).collect()
}

/// Marks such as `[w01]` in a text.
fn marks(text: &str) -> BTreeSet<String> {
    let until = text.split("[w").skip(1).filter_map(|after| after.split_once(']'));
    let is_number = |mark: &&str| !mark.is_empty() && mark.bytes().all(|b| b.is_ascii_digit());
    until.map(|(mark, _)| mark).filter(is_number).map(|mark| format!("w{mark}")).collect()
}

/// The marks of the list at the end of the page with the tests it names.
fn list() -> Vec<(String, String)> {
    let rows = rule::PAGE.lines().filter_map(|line| line.strip_prefix("| w"));
    rows.map(|row| {
        let (mark, test) = row.split_once(" | `").expect("a mark and a test");
        (format!("w{mark}"), test.trim_end_matches("` |").to_owned())
    })
    .collect()
}

#[test]
fn every_test_is_named_on_the_page_and_every_test_named_there_exists() {
    let tests = repository().join("crates/detector/tests");
    let folder = fs::read_dir(tests.join("window_page")).expect("a folder");
    let mut files: Vec<PathBuf> = folder.map(|entry| entry.expect("an entry").path()).collect();
    files.push(tests.join("attacker.rs"));
    let written: BTreeSet<String> = files.iter().flat_map(|file| tests_in(file)).collect();
    let named: BTreeSet<String> = list().into_iter().map(|(_, test)| test).collect();
    let missing: Vec<_> = named.difference(&written).collect();
    assert!(missing.is_empty(), "named on the page, but not written: {missing:#?}");
    let silent: Vec<_> = written.difference(&named).collect();
    assert!(silent.is_empty(), "written, but not named on the page: {silent:#?}");
    assert_eq!(named.len(), list().len(), "a test stands in the list once");
}

#[test]
fn every_mark_in_the_text_of_the_page_stands_in_its_list_once_and_no_other() {
    let (text, _) = rule::PAGE.split_once("\n## The tests\n").expect("the page ends with its list");
    let listed: Vec<String> = list().into_iter().map(|(mark, _)| mark).collect();
    let distinct: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(distinct.len(), listed.len(), "a mark stands in the list once");
    assert_eq!(marks(text), distinct);
}

#[test]
fn tests_elsewhere_that_the_page_names_exist() {
    let mut found = 0;
    for named in rule::PAGE.split('`').filter(|code| code.contains(".rs: ")) {
        let (file, test) = named.split_once(": ").expect("a file and a test");
        let source = fs::read_to_string(repository().join(file)).expect(named);
        assert!(source.contains(&format!("fn {test}(")), "{named}");
        found += 1;
    }
    assert!(found > 0, "the page names a test of the whole program");
}

#[test]
fn the_picture_is_what_its_script_draws() {
    let docs = repository().join("docs");
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("window_picture.py");
    fs::copy(docs.join("window_picture.py"), &script).expect("the script");
    let Ok(output) = Command::new("python3").arg(&script).output() else {
        eprintln!("skipped: there is no python3, so the picture is not drawn again");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let name = "what-a-window-means.svg";
    let drawn = fs::read_to_string(folder.path().join(name)).expect("the script draws it");
    let kept = fs::read_to_string(docs.join(name)).expect("the picture");
    assert!(drawn == kept, "run docs/window_picture.py and look at the picture");
}
