//! What was measured, as a table for people and as JSON for machines.

use serde_json::{Value, json};

/// One figure: a measurement of each round, and what it is compared with.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) rounds: Vec<f64>,
    /// What was measured in the same rounds, by name.
    pub(crate) against: Option<(&'static str, Vec<f64>)>,
    /// What is aimed at.
    pub(crate) aim: &'static str,
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

impl Figure {
    /// The median of the ratios of each round.
    fn ratio(&self) -> Option<f64> {
        let (_, others) = self.against.as_ref()?;
        let ratios: Vec<f64> = self.rounds.iter().zip(others).map(|(one, other)| one / other).collect();
        Some(median(&ratios))
    }

    fn row(&self) -> String {
        let against = self.against.as_ref().zip(self.ratio());
        let against = against.map(|((name, _), ratio)| format!("{ratio:.2} × {name}")).unwrap_or_default();
        let (least, most) = (share(&self.rounds, 0.0), share(&self.rounds, 1.0));
        let (name, unit, median) = (self.name, self.unit, median(&self.rounds));
        format!("| {name} | {median:.2} | {least:.2} | {most:.2} | {unit} | {against} | {} |", self.aim)
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
pub(crate) fn print(bench: &str, figures: &[Figure]) {
    println!("\n| {bench} | median | min | max | unit | ratio | aim |\n|---|---|---|---|---|---|---|");
    figures.iter().for_each(|figure| println!("{}", figure.row()));
    println!("\n{}", json!({"bench": bench, "figures": figures.iter().map(Figure::json).collect::<Vec<_>>()}));
}
