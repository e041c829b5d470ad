//! `mlxe`: models from the command line.

mod args;
mod bench;
mod failure;
mod fit;
mod generate;
mod info;
mod load;
mod numbers;
mod options;
mod out;
mod pull;
mod run;
mod score;
mod search;
mod storage;
mod text;

use std::process::ExitCode;

use clap::Parser;

use args::{Command, Options};

fn main() -> ExitCode {
    let options = Options::parse();
    let result = mlx_engine::process::set(&options.process.options()).map_err(failure::Failure::from);
    let result = result.and_then(|()| match options.command {
        Command::Run(a) => run::run(&a),
        Command::Generate(a) => generate::generate(&a),
        Command::Logits(a) => generate::logits(&a),
        Command::Score(a) => score::score(&a),
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
        Err(failure) => {
            // Whoever reads our output may have had enough; that is no failure.
            if !failure.message.is_empty() {
                eprintln!("mlxe: {}", out::clean(&failure.message));
            }
            ExitCode::from(failure.code)
        }
    }
}
