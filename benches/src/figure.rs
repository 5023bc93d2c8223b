//! A figure in words, beside what it should be.

use std::fmt;

/// What a figure should be. Nothing fails if it is not.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// The more, the better.
    AtLeast(f64),
    /// The less, the better.
    AtMost(f64),
    /// Nothing in particular: it helps to read another figure.
    ForComparison,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, "target: at least {bound}"),
            Self::AtMost(bound) => write!(f, "target: at most {bound}"),
            Self::ForComparison => write!(f, "for comparison"),
        }
    }
}

/// A line like `managed : floor = 0.850 (target: at least 0.8)`, if it was measured.
pub fn line(names: &str, figure: Option<f64>, target: Target) -> Option<String> {
    figure.map(|figure| format!("{names} = {} ({target})", digits(figure)))
}

/// How the one stands to the other, if both were measured.
pub fn ratio(figure: Option<f64>, alternative: Option<f64>) -> Option<f64> {
    Some(figure? / alternative?)
}

/// Three digits, or as many as stand before the point.
fn digits(figure: f64) -> String {
    let places = match figure {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    format!("{figure:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_stands_beside_its_target() {
        let told = line("managed : floor", ratio(Some(850.0), Some(1e3)), Target::AtLeast(0.8));
        assert_eq!(told.unwrap(), "managed : floor = 0.850 (target: at least 0.8)");
        assert_eq!([0.01, 1.0, 23.14, 2_345.6].map(digits), ["0.010", "1.00", "23.1", "2346"]);
    }

    #[test]
    fn a_ratio_to_what_was_not_measured_is_not_measured() {
        assert_eq!(ratio(Some(850.0), None), None);
        assert_eq!(ratio(None, Some(1e3)), None);
        assert_eq!(line("managed : floor", None, Target::AtMost(2.0)), None);
    }
}
