//! The report as the outside sees it: its schema, its files, its table. One binary, so that it links
//! once.

mod example;
mod files;
mod folder;
mod golden;
mod schema;
mod totals;
mod words;
