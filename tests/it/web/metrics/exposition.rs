//! Reads the text format of Prometheus, strictly.

use std::collections::BTreeMap;

type Labels = BTreeMap<String, String>;

/// All samples of one metric.
#[derive(Default)]
pub(super) struct Family {
    pub(super) name: String,
    pub(super) help: String,
    pub(super) kind: String,
    samples: Vec<(String, Labels, f64)>,
}

impl Family {
    pub(super) fn labels(&self) -> impl Iterator<Item = (String, String)> {
        self.samples.iter().flat_map(|(_, labels, _)| labels.clone())
    }
}

pub(super) struct Exposition(Vec<Family>);

impl Exposition {
    pub(super) fn parse(text: &str) -> Self {
        let mut families: Vec<Family> = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                families.push(Family { name: name.to_owned(), help: help.to_owned(), ..Family::default() });
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(matches!(kind, "counter" | "gauge" | "histogram" | "summary"), "{line}");
                if families.last().is_none_or(|family| family.name != name) {
                    families.push(Family { name: name.to_owned(), ..Family::default() });
                }
                families.last_mut().unwrap().kind = kind.to_owned();
            } else {
                let (name, labels, value) = sample(line);
                let family = families.last_mut().unwrap_or_else(|| panic!("a sample of nothing: {line}"));
                let suffix = name.strip_prefix(&family.name).unwrap_or_else(|| panic!("of another metric: {line}"));
                let known: &[&str] = if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
                assert!(known.contains(&suffix), "{line}");
                family.samples.push((name, labels, value));
            }
        }
        Self(families)
    }

    pub(super) fn families(&self) -> impl Iterator<Item = &Family> {
        self.0.iter()
    }

    /// The value of the sample that has exactly these labels.
    pub(super) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels: Labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut samples = self.0.iter().flat_map(|family| &family.samples);
        samples.find(|(other, theirs, _)| other == name && *theirs == labels).map(|(_, _, value)| *value)
    }
}

fn sample(line: &str) -> (String, Labels, f64) {
    let (head, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = match head.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').unwrap()),
        None => (head, ""),
    };
    let labels = labels.split_terminator(',').map(|label| {
        let (name, value) = label.split_once('=').unwrap();
        (name.to_owned(), value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap().to_owned())
    });
    (name.to_owned(), labels.collect(), value.parse().unwrap())
}
