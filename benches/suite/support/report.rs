//! What was measured, as a table for people and as JSON for machines.

use serde_json::{Value, json};

/// One figure: a measurement of each round, and what it is compared with.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    name: String,
    unit: &'static str,
    rounds: Vec<f64>,
    /// What was measured in the same rounds, by name.
    against: Option<(String, Vec<f64>)>,
    /// What is aimed at.
    aim: &'static str,
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// The value below which this share of all lies.
pub(crate) fn share(values: &[f64], share: f64) -> f64 {
    let values = sorted(values);
    values.get((values.len().saturating_sub(1) as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}

pub(crate) fn median(values: &[f64]) -> f64 {
    share(values, 0.5)
}

/// Enough digits for either a rate or a fraction of a millisecond.
fn rounded(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, rounds: Vec<f64>) -> Self {
        Self { name: name.into(), unit, rounds, against: None, aim: "" }
    }

    /// Compares it with what was measured in the same rounds.
    pub(crate) fn against(mut self, name: impl Into<String>, rounds: &[f64]) -> Self {
        self.against = Some((name.into(), rounds.to_vec()));
        self
    }

    pub(crate) const fn aim(mut self, aim: &'static str) -> Self {
        self.aim = aim;
        self
    }

    /// The median of the ratios of each round.
    fn ratio(&self) -> Option<f64> {
        let (_, others) = self.against.as_ref()?;
        let ratios: Vec<f64> = self.rounds.iter().zip(others).map(|(one, other)| one / other).collect();
        Some(median(&ratios))
    }

    fn row(&self) -> String {
        let against = self.against.as_ref().zip(self.ratio());
        let against = against.map(|((name, _), ratio)| format!("{ratio:.2} × {name}")).unwrap_or_default();
        let [least, median, most] = [0.0, 0.5, 1.0].map(|at| rounded(share(&self.rounds, at)));
        let (name, unit) = (&self.name, self.unit);
        format!("| {name} | {median} | {least} | {most} | {unit} | {against} | {} |", self.aim)
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name, "unit": self.unit, "rounds": self.rounds, "median": median(&self.rounds),
            "min": share(&self.rounds, 0.0), "max": share(&self.rounds, 1.0), "ratio": self.ratio(),
            "against": self.against.as_ref().map(|(name, rounds)| json!({"name": name, "rounds": rounds})),
            "aim": self.aim,
        })
    }
}

/// Prints the table, then all of it as one line of JSON.
pub(crate) fn print(group: &str, figures: &[Figure]) {
    println!("\n| {group} | median | min | max | unit | ratio | aim |\n|---|---|---|---|---|---|---|");
    figures.iter().for_each(|figure| println!("{}", figure.row()));
    println!("\n{}", json!({"group": group, "figures": figures.iter().map(Figure::json).collect::<Vec<_>>()}));
}
