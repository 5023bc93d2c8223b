//! Reports of a store as people read them.

use std::fmt::Display;
use std::path::Path;

use indicatif::{BinaryBytes, HumanCount};
use manager::{
    Counts, Evicted, ExportReport, Finding, GcReport, MirrorState, PinnedFeature, Plan, Stats,
    VerifyReport, WindowMode,
};

use super::arguments::{instant, time};

/// The most findings of one kind that are listed; `--json` has them all.
const FINDINGS_MAX: usize = 20;

pub(super) fn verified(report: &VerifyReport) -> String {
    let mut lines = vec![
        row("artefacts", with_bytes(report.artefacts, report.bytes)),
        row("negative entries", HumanCount(report.negative)),
        row("left by evaluators", HumanCount(report.spooled)),
        row(
            "files without a row",
            with_bytes(report.files_without_row, report.files_without_row_bytes),
        ),
        row("keys with two rows", HumanCount(report.duplicate_keys)),
        row("missing", HumanCount(report.missing.len() as u64)),
    ];
    lines.extend(findings(&report.missing));
    lines.push(row("damaged", HumanCount(report.damaged.len() as u64)));
    lines.extend(findings(&report.damaged));
    lines.push(row("left, damaged", HumanCount(report.spool_damaged.len() as u64)));
    lines.extend(report.spool_damaged.iter().take(FINDINGS_MAX).map(|text| format!("  {text}")));
    lines.push(if report.is_sound() {
        "sound".to_owned()
    } else {
        "not sound: what is missing or damaged counts as missing, and is computed again when it is asked for".to_owned()
    });
    lines.join("\n")
}

fn findings(findings: &[Finding]) -> impl Iterator<Item = String> {
    let more = findings.len().saturating_sub(FINDINGS_MAX);
    let more = (0 < more).then(|| format!("  and {more} more"));
    let line =
        |Finding { key, feature, problem }: &Finding| format!("  {key} {feature}: {problem}");
    findings.iter().take(FINDINGS_MAX).map(line).chain(more)
}

pub(super) fn swept(report: &GcReport, dry: bool) -> String {
    let done = if dry { "would be removed" } else { "removed" };
    [
        row("put into the manifest", HumanCount(report.folded)),
        row(&format!("files {done}"), HumanCount(report.files)),
        row(&format!("temporary {done}"), HumanCount(report.temporary)),
        row(&format!("bytes {done}"), BinaryBytes(report.bytes)),
        row("kept for readers", HumanCount(report.kept_for_readers)),
        row("kept for publishers", HumanCount(report.kept_for_publishers)),
    ]
    .join("\n")
}

/// Of all processes: this one has only come to ask.
pub(super) fn counted(stats: &Stats) -> String {
    let Counts {
        hits,
        misses,
        negative,
        coalesced,
        computed,
        damaged,
        evicted,
        hit_bytes,
        saved_us,
        computed_us,
    } = stats.everywhere;
    let count = |name: &str, number: u64| row(name, HumanCount(number));
    let mut lines = vec![
        row("hits", with_bytes(hits, hit_bytes)),
        count("negative entries found", negative),
        count("misses", misses),
        row("computed", format!("{} in {}", HumanCount(computed), time(computed_us))),
        count("computations shared", coalesced),
        count("found damaged", damaged),
        count("evicted", evicted),
        row("computing saved", time(saved_us)),
    ];
    match stats.mirror {
        MirrorState::OverBudget => {
            lines.push(row("answers", "by SQL: too many keys for the mirror"));
        }
        MirrorState::NoGate => lines.push(row("answers", "by SQL: the folder cannot be written")),
        _ => {}
    }
    lines.join("\n")
}

pub(super) fn exported(report: &ExportReport, to: &Path) -> String {
    let mut lines = vec![
        row("artefacts", with_bytes(report.artefacts, report.bytes)),
        row("negative entries", HumanCount(report.negative)),
        row("damaged, left out", HumanCount(report.damaged.len() as u64)),
    ];
    lines.extend(report.damaged.iter().take(FINDINGS_MAX).map(|key| format!("  {key}")));
    lines.push(row("written to", to.display()));
    lines.join("\n")
}

pub(super) fn evicted(evicted: &Evicted) -> String {
    [
        row("evicted", with_bytes(evicted.artefacts, evicted.bytes)),
        row("computing them took", time(evicted.compute_us)),
        row("pinned beyond the bound", BinaryBytes(evicted.pinned_bytes)),
    ]
    .join("\n")
}

pub(super) fn pin(pin: &PinnedFeature) -> String {
    let until =
        pin.until_unix_ms.map_or("for good".to_owned(), |ms| format!("until {}", instant(ms)));
    let note = if pin.note.is_empty() { String::new() } else { format!(": {}", pin.note) };
    format!("{} pinned {until}{note}", named(&pin.feature, pin.version))
}

pub(super) fn unpinned(feature: &str, version: Option<u32>, was_pinned: bool) -> String {
    let outcome = if was_pinned { "is no longer pinned" } else { "was not pinned" };
    format!("{} {outcome}", named(feature, version))
}

fn named(feature: &str, version: Option<u32>) -> String {
    version.map_or(format!("{feature} (all versions)"), |version| {
        format!("{feature} version {version}")
    })
}

pub(super) fn plan(plan: &Plan) -> String {
    let shape = &plan.shape;
    let windows = shape.count().map_or("no windows".to_owned(), |count| {
        format!("window {} of {count} is next", plan.next_window)
    });
    let mode = match shape.mode {
        WindowMode::Rolling => "rolling",
        WindowMode::Expanding => "expanding",
    };
    format!(
        "{}: {windows}; {mode}, {} positions, train {}, evaluate {}, step {}, lookback {}",
        plan.name, shape.positions, shape.train, shape.eval, shape.step, plan.lookback
    )
}

/// A line each, or that there is none.
pub(super) fn list(lines: &[String], none: &str) -> String {
    if lines.is_empty() { none.to_owned() } else { lines.join("\n") }
}

fn row(name: &str, value: impl Display) -> String {
    format!("{name:24} {value}")
}

fn with_bytes(count: u64, bytes: u64) -> String {
    format!("{} ({})", HumanCount(count), BinaryBytes(bytes))
}
