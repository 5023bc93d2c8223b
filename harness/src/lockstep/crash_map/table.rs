//! A crash map as text: points × modes, counts, and how much of the space it is.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{CrashMap, Mode};

/// The whole map. Equal maps give equal texts: how long it took is not in it.
pub fn text(map: &CrashMap) -> String {
    let mut text = String::new();
    // A String takes everything.
    let _ = grid(map, &mut text).and_then(|()| counts(map, &mut text));
    text
}

fn grid(map: &CrashMap, text: &mut String) -> std::fmt::Result {
    write!(text, "{:>4}  {:16} {:44}", "", "step", "call")?;
    Mode::ALL.iter().try_for_each(|mode| write!(text, " {:16}", mode.name()))?;
    writeln!(text)?;
    for (number, point) in map.points.iter().enumerate() {
        write!(text, "{:>4}  {:16} {:44}", number + 1, point.step, point.call)?;
        for mode in Mode::ALL {
            let name = point.classes.get(&mode).map_or("-", super::class::Class::name);
            write!(text, " {name:16}")?;
        }
        text.truncate(text.trim_end().len());
        writeln!(text)?;
    }
    writeln!(text)
}

fn counts(map: &CrashMap, text: &mut String) -> std::fmt::Result {
    let mut counts: BTreeMap<&str, BTreeMap<Mode, usize>> = BTreeMap::new();
    for (mode, class) in map.points.iter().flat_map(|point| &point.classes) {
        *counts.entry(class.name()).or_default().entry(*mode).or_default() += 1;
    }
    write!(text, "{:28}", "")?;
    Mode::ALL.iter().try_for_each(|mode| write!(text, "{:>9}", mode.name()))?;
    writeln!(text)?;
    for (class, by_mode) in counts {
        write!(text, "{class:28}")?;
        for mode in Mode::ALL {
            write!(text, "{:>9}", by_mode.get(&mode).copied().unwrap_or_default())?;
        }
        writeln!(text)?;
    }
    for (number, mode, reason) in map.unexplained() {
        let call = &map.points[number].call;
        writeln!(text, "UNEXPLAINED {} at {} ({call}): {reason}", mode.name(), number + 1)?;
    }
    writeln!(
        text,
        "covered: {} of {} pairs of a call and a mode, at {} calls",
        map.covered(),
        map.total,
        map.points.len()
    )
}
