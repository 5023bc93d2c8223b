//! A crash map as text: points × modes, counts, and how much of the space it is.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::class::Class;
use super::{CrashMap, Mode, Point};

/// The whole map. Equal maps give equal texts: how long it took is not in it.
pub fn text(map: &CrashMap) -> String {
    let mut text = String::new();
    // A String takes everything.
    let _ = grid(map, &mut text).and_then(|()| counts(map, &mut text));
    text
}

fn grid(map: &CrashMap, text: &mut String) -> std::fmt::Result {
    let longest = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or_default();
    let step = longest(&mut map.points.iter().map(|point| point.step.len()));
    let call = longest(&mut map.points.iter().map(|point| point.call.len()));
    let name = |class: &Class| class.name();
    let columns = Mode::ALL.map(|mode| {
        let classes = map.pairs().filter(|(_, _, other, _)| *other == mode);
        let width = longest(&mut classes.map(|(_, _, _, class)| name(class).len()));
        (mode, width.max(mode.name().len()))
    });
    let mut line = format!("{:>4}  {:step$}  {:call$}", "", "step", "call");
    for (mode, width) in columns {
        write!(line, "  {:width$}", mode.name())?;
    }
    writeln!(text, "{}", line.trim_end())?;
    for (number, point) in (1..).zip(&map.points) {
        let mut line = format!("{number:>4}  {:step$}  {:call$}", point.step, point.call);
        for (mode, width) in columns {
            write!(line, "  {:width$}", point.classes.get(&mode).map_or("-", name))?;
        }
        writeln!(text, "{}", line.trim_end())?;
    }
    writeln!(text)
}

fn counts(map: &CrashMap, text: &mut String) -> std::fmt::Result {
    let mut counts: BTreeMap<&str, BTreeMap<Mode, usize>> = BTreeMap::new();
    for (_, _, mode, class) in map.pairs() {
        *counts.entry(class.name()).or_default().entry(mode).or_default() += 1;
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
    for (number, Point { call, .. }, mode, class) in map.pairs() {
        if let Class::Unexplained(reason) = class {
            writeln!(text, "UNEXPLAINED {} at {number} ({call}): {reason}", mode.name())?;
        }
    }
    writeln!(
        text,
        "covered: {} of {} pairs of a call and a mode, at {} calls",
        map.covered,
        map.total,
        map.points.len()
    )
}
