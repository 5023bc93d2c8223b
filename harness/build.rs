//! Hands the compiler's version, the target and the profile to the report's provenance.

use std::env;
use std::process::Command;

fn main() {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().ok();
    let version = version.and_then(|output| String::from_utf8(output.stdout).ok());
    let version =
        version.as_deref().and_then(|text| text.split_whitespace().nth(1)).unwrap_or("unknown");
    println!("cargo::rustc-env=HARNESS_RUSTC={version}");
    for (name, variable) in [("HARNESS_TARGET", "TARGET"), ("HARNESS_PROFILE", "PROFILE")] {
        println!(
            "cargo::rustc-env={name}={}",
            env::var(variable).unwrap_or_else(|_| "unknown".into())
        );
    }
    println!("cargo::rerun-if-changed=build.rs");
}
