//! A hit makes no system call: the kernel would kill it. Where a filter is on already, as in many containers, it cannot
//! be asked to, and nothing is proved.

use std::process::Command;

use crate::peer::example;
use crate::support::Site;

/// What a process says whose look-ups are watched by the kernel; `None` if the kernel does not.
fn watched(what: &str) -> Option<String> {
    let site = Site::empty();
    let output = Command::new(example("no_system_call")).arg(what).arg(site.database()).output();
    let output = output.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    if said.starts_with("refused") {
        eprintln!("strict mode is refused here: nothing is proved");
        return None;
    }
    Some(said)
}

#[test]
fn a_hit_its_bytes_and_a_batch_make_no_system_call() {
    assert!(watched("hits").is_none_or(|said| said == "survived\nover\n"));
}

/// The canary: the kernel does kill.
#[test]
fn a_look_up_that_has_to_refresh_makes_one_and_is_killed() {
    assert!(watched("refresh").is_none_or(|said| said == "over\n"));
}
