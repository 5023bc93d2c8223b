//! Which scenarios a command line means.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::scenario::script::Script;
use crate::scenario::{SUITES, Scenario, ScenarioError};

/// Why no scenario could be chosen.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// A scenario file is bad.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The folder of scenarios cannot be read.
    #[error("read the scenarios in `{}`: {source}; name a file, or run this in the project's folder", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

/// The folder of scenarios: `scenarios` in the working directory, or that of the checkout which this program
/// was built from.
pub fn folder() -> PathBuf {
    let here = PathBuf::from("scenarios");
    if here.is_dir() { here } else { Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios") }
}

/// Every scenario in `free` mode of a folder and of the folders below it, in order of their paths.
///
/// # Errors
///
/// A [`SuiteError`]; one bad file is enough.
pub fn all(folder: &Path) -> Result<Vec<Scenario>, SuiteError> {
    let files = files(folder)?.into_iter().filter(|file| !is_script(file));
    Ok(files.map(|file| Scenario::read(&file)).collect::<Result<_, _>>()?)
}

/// Every scenario in `lockstep` mode of a folder and of the folders below it, in order of their paths.
///
/// # Errors
///
/// A [`SuiteError`]; one bad file is enough.
pub fn scripts(folder: &Path) -> Result<Vec<Script>, SuiteError> {
    let files = files(folder)?.into_iter().filter(|file| is_script(file));
    Ok(files.map(|file| Script::read(&file)).collect::<Result<_, _>>()?)
}

/// The scenarios in `lockstep` mode that the words of a command line name, as [`choose`] does; without words all.
///
/// # Errors
///
/// A [`SuiteError`] if a scenario cannot be read.
pub fn choose_scripts(folder: &Path, words: &[String]) -> Result<Vec<Script>, SuiteError> {
    if words.is_empty() {
        return scripts(folder);
    }
    let mut chosen: Vec<Script> = Vec::new();
    for word in words {
        let found = if is_file(word) {
            vec![Script::read(Path::new(word))?]
        } else {
            let is_suite = SUITES.contains(&word.as_str());
            let wanted = |script: &Script| {
                if is_suite { script.suites.contains(word) } else { script.id.contains(word) }
            };
            scripts(folder)?.into_iter().filter(wanted).collect()
        };
        let known: Vec<String> = chosen.iter().map(|script| script.id.clone()).collect();
        chosen.extend(found.into_iter().filter(|script| !known.contains(&script.id)));
    }
    Ok(chosen)
}

/// Whether the file is a scenario in `lockstep` mode. One that cannot be read is not.
fn is_script(file: &Path) -> bool {
    fs::read_to_string(file).is_ok_and(|text| Script::is_one(&text))
}

fn is_file(word: &str) -> bool {
    Path::new(word).extension().is_some_and(|extension| extension == "toml") || word.contains('/')
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, SuiteError> {
    let mut files = Vec::new();
    collect(folder, &mut files)
        .map_err(|source| SuiteError::Folder { path: folder.into(), source })?;
    files.sort();
    Ok(files)
}

/// The scenarios of both modes that the words of a command line name: a path of a file, the name of a suite, or a part of an
/// id. Without words it is the suite `demo`. None at all is not an error here.
///
/// # Errors
///
/// A [`SuiteError`] if a scenario cannot be read.
pub fn choose(folder: &Path, words: &[String]) -> Result<(Vec<Scenario>, Vec<Script>), SuiteError> {
    let default = ["demo".to_owned()];
    let words = if words.is_empty() { &default } else { words };
    let is_of_script = |word: &&String| is_file(word) && is_script(Path::new(word));
    let of_free = words.iter().filter(|word| !is_of_script(word));
    let of_scripts = words.iter().filter(|word| !is_file(word) || is_of_script(word));
    let mut chosen: Vec<Scenario> = Vec::new();
    let mut add = |scenario: Scenario| {
        if !chosen.iter().any(|known| known.id == scenario.id) {
            chosen.push(scenario);
        }
    };
    for word in of_free {
        if is_file(word) {
            add(Scenario::read(Path::new(word))?);
            continue;
        }
        let is_suite = SUITES.contains(&word.as_str());
        let wanted = |scenario: &Scenario| {
            if is_suite { scenario.suites.contains(word) } else { scenario.id.contains(word) }
        };
        all(folder)?.into_iter().filter(wanted).for_each(&mut add);
    }
    let words: Vec<String> = of_scripts.cloned().collect();
    let scripts = if words.is_empty() { Vec::new() } else { choose_scripts(folder, &words)? };
    Ok((chosen, scripts))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(words: &[&str]) -> Vec<String> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
        choose(&folder, &words).unwrap().0.into_iter().map(|scenario| scenario.id).collect()
    }

    #[test]
    fn both_modes_are_chosen_by_the_same_words() {
        let chosen = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
            let (free, scripts) = choose(&folder, &words).unwrap();
            let scripts: Vec<_> = scripts.into_iter().map(|script| script.id).collect();
            (free.len(), scripts)
        };
        assert_eq!(chosen(&[]), (1, Vec::new()), "the suite demo has no scenario in lockstep");
        assert_eq!(chosen(&["lost-update"]), (0, vec!["lost-update".to_owned()]));
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/threads/lost-update.toml");
        assert_eq!(chosen(&[file.to_str().unwrap()]), (0, vec!["lost-update".to_owned()]));
        let (free, scripts) = chosen(&["smoke"]);
        assert!(0 < free && scripts.contains(&"lost-update".to_owned()));
    }

    #[test]
    fn words_are_suites_files_or_parts_of_ids_and_nothing_is_chosen_twice() {
        assert_eq!(ids(&[]), ["demo"]);
        assert_eq!(ids(&["smoke"]), ["smoke"]);
        assert_eq!(ids(&["smo", "smoke", "ci"]), ["smoke"]);
        assert_eq!(ids(&["no-such-id"]), Vec::<String>::new());
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/demo.toml");
        assert_eq!(ids(&[file.to_str().unwrap(), "demo"]), ["demo"]);
    }
}
