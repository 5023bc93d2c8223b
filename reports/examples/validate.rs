//! Validates a report against the checked-in schema and prints its summary. Exits with 1 if it is not valid, or
//! if the run that it reports did not pass.
//!
//! ```console
//! $ cargo run --release -p reports --example validate -- reports/out/latest/report.json
//! ```

use std::error::Error;
use std::fs;
use std::process::ExitCode;

use reports::{Report, Status};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: validate REPORT.json");
        return Ok(ExitCode::from(2));
    };
    let schema = include_str!("../schema/report.v1.schema.json");
    let validator = jsonschema::validator_for(&serde_json::from_str(schema)?)?;
    let report = serde_json::from_str(&fs::read_to_string(&path)?)?;
    let faults: Vec<_> = validator.iter_errors(&report).collect();
    for fault in &faults {
        println!("{}: {fault}", fault.instance_path());
    }
    let report = Report::read(&path)?;
    println!("{:#}", serde_json::to_value(&report.summary)?);
    let good = faults.is_empty() && report.summary.status == Status::Passed;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
