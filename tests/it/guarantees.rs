//! The page of guarantees names tests that exist, and a few for each promise.

use std::fs;
use std::path::Path;

/// What is wrong with `page`; a test is looked for in the file that the page named last.
fn findings(page: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut findings = Vec::new();
    for section in page.split("\n## ").skip(1) {
        let title = section.lines().next().unwrap_or_default();
        let mut source = None;
        let mut tests = 0;
        for code in section.split('`').skip(1).step_by(2) {
            if code.ends_with(".rs") {
                source = read(code).map(|text| (code, text));
                if source.is_none() {
                    findings.push(format!("{title}: there is no {code}"));
                }
            } else if is_test(code) {
                tests += 1;
                match &source {
                    Some((_, text)) if text.contains(&format!("fn {code}(")) => {}
                    Some((file, _)) => findings.push(format!("{title}: there is no {code} in {file}")),
                    None => findings.push(format!("{title}: {code} is in no file")),
                }
            }
        }
        if tests == 0 && title != "How it is tested" {
            findings.push(format!("{title}: nothing holds it"));
        }
    }
    findings
}

/// Tests have sentences for names; nothing else on the page is that long.
fn is_test(code: &str) -> bool {
    let is_name = code.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_');
    is_name && code.matches('_').count() >= 3
}

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guarantees.md")).unwrap()
}

#[test]
fn every_test_that_the_page_names_exists() {
    let read = |file: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).ok();
    assert_eq!(findings(&page(), read), Vec::<String>::new());
}

#[test]
fn each_guarantee_has_its_place_on_the_page() {
    let page = page();
    for number in 1..=12 {
        assert_eq!(page.matches(&format!("\n## G{number}: ")).count(), 1, "G{number}");
    }
    for part in ["**Promise.**", "**How.**", "**Not promised.**"] {
        assert_eq!(page.matches(part).count(), 17, "{part}");
    }
}

#[test]
fn a_page_that_names_what_is_not_there_is_found_out() {
    let read = |file: &str| (file == "a.rs").then(|| "fn a_claim_that_holds() {}".to_owned());
    assert!(findings("\n## G1\n`a.rs`: `a_claim_that_holds`.", read).is_empty());
    for (wrong, finding) in [
        ("\n## G1\n`b.rs`: `a_claim_that_holds`.", "G1: there is no b.rs"),
        ("\n## G1\n`a.rs`: `a_claim_that_hold`.", "G1: there is no a_claim_that_hold in a.rs"),
        ("\n## G1\n`a_claim_that_holds`.", "G1: a_claim_that_holds is in no file"),
        ("\n## G1\n`a.rs`, `max_attempts`.", "G1: nothing holds it"),
    ] {
        assert!(findings(wrong, read).contains(&finding.to_owned()), "{wrong}");
    }
}
