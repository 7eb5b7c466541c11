//! The metrics are named as is the custom, and told of where users look.

use super::{ALL, Kind, Unit};

#[test]
fn names_say_what_is_counted_in_which_unit() {
    for metric in ALL {
        let name = metric.name;
        assert!(name.starts_with("greenroom_") && name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
        assert_eq!(name.ends_with("_seconds"), metric.unit == Unit::Seconds, "{name}");
        assert_eq!(ALL.iter().filter(|other| other.name == name).count(), 1, "{name}");
    }
}

#[test]
fn every_metric_is_in_the_page_that_tells_of_them() {
    let page = include_str!("../../docs/metrics.md");
    for metric in ALL {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let row = format!("| `{}` | {kind} | {} | {} |", metric.name, labels.join(", "), metric.help);
        assert!(page.contains(&row), "missing in docs/metrics.md:\n{row}");
    }
    assert_eq!(page.matches("| `greenroom_").count(), ALL.len(), "a metric is told of that does not exist");
}
