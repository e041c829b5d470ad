//! `mlxe`: models from the command line.

mod args;
mod bench;
mod fit;
mod generate;
mod info;
mod load;
mod options;
mod pull;
mod run;
mod search;
mod storage;
mod text;

use std::process::ExitCode;

use clap::Parser;
use mlx_engine::ErrorKind;

use args::{Command, Options};

/// Errors, with the exit code they end the program with.
type Result<T = ()> = std::result::Result<T, Failure>;

/// Why a command failed.
struct Failure {
    message: String,
    code: u8,
}

impl From<mlx_engine::Error> for Failure {
    fn from(error: mlx_engine::Error) -> Self {
        let code = match error.kind() {
            ErrorKind::InvalidArgument => 2,
            ErrorKind::Cancelled => 130,
            _ => 1,
        };
        Failure { message: error.to_string(), code }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure { message: error.to_string(), code: 1 }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = mlx_engine::process::set(&options.process.options()).map_err(Failure::from);
    let result = result.and_then(|()| match options.command {
        Command::Run(a) => run::run(&a),
        Command::Generate(a) => generate::generate(&a),
        Command::Logits(a) => generate::logits(&a),
        Command::Pull(a) => pull::pull(&a),
        Command::Search(a) => search::search(&a),
        Command::Fit(a) => fit::fit(&a),
        Command::List(a) => storage::list(&a),
        Command::Verify(a) => storage::verify(&a),
        Command::Rm(a) => storage::remove(&a),
        Command::Prune(a) => storage::prune(&a),
        Command::Import(a) => storage::import(&a),
        Command::Mv(a) => storage::relocate(&a),
        Command::Load(a) => load::load_command(&a),
        Command::Tokenize(a) => text::tokenize(&a),
        Command::Template(a) => text::template(&a),
        Command::Info(a) => info::info(&a),
        Command::Models(a) => info::models(&a),
        Command::Bench(a) => bench::bench(&a),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has had enough.
        Err(failure) if failure.message.contains("Broken pipe") => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("mlxe: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}
