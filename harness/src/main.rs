//! The binary `harness`; everything is in the library but the functions of the C library that DuckDB's I/O calls go to.

harness::export_io_symbols!();

fn main() -> std::process::ExitCode {
    harness::cli::main().into()
}
