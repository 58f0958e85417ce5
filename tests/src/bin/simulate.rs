//! Runs seeds of the simulation: `cargo run --profile e2e -p e2e-tests --bin simulate -- --seeds 10000`.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use e2e_tests::simulation::{BUGS, Bug, Options, Violation, run};

const USAGE: &str =
    "usage: simulate [--seeds N] [--from N] [--threads N] | --seed N [-v] ; both take [--bug NAME]";

struct Arguments {
    seeds: u64,
    from: u64,
    threads: usize,
    seed: Option<u64>,
    tell: bool,
    bug: Option<Bug>,
}

fn arguments() -> Option<Arguments> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut parsed = Arguments { seeds: 1_000, from: 1, threads, seed: None, tell: false, bug: None };
    let mut given = std::env::args().skip(1);
    while let Some(option) = given.next() {
        if option == "-v" {
            parsed.tell = true;
            continue;
        }
        let value = given.next()?;
        match &*option {
            "--seeds" => parsed.seeds = value.parse().ok()?,
            "--from" => parsed.from = value.parse().ok()?,
            "--threads" => parsed.threads = value.parse().ok()?,
            "--seed" => parsed.seed = Some(value.parse().ok()?),
            "--bug" => parsed.bug = Some(*BUGS.iter().find(|bug| format!("{bug:?}") == value)?),
            _ => return None,
        }
    }
    Some(parsed)
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!("{USAGE}\nbugs that can be planted: {BUGS:?}");
        return ExitCode::from(2);
    };
    if let Some(seed) = arguments.seed {
        let options = Options { seed, tell: arguments.tell, bug: arguments.bug, ..Options::default() };
        return match run(options) {
            Ok(report) => {
                println!("seed {seed}: fine, {report:?}");
                ExitCode::SUCCESS
            }
            Err(violation) => {
                println!("seed {seed}: {}", violation.sentence);
                ExitCode::FAILURE
            }
        };
    }
    let violations = many(&arguments);
    for violation in &violations {
        println!(
            "seed {}: {}\n  again: {}",
            violation.seed,
            violation.sentence,
            command(violation.seed, arguments.bug)
        );
    }
    if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn command(seed: u64, bug: Option<Bug>) -> String {
    let bug = bug.map_or(String::new(), |bug| format!(" --bug {bug:?}"));
    format!("cargo run --profile e2e -p e2e-tests --bin simulate -- --seed {seed}{bug} -v")
}

/// Stops looking for more behind so many.
const VIOLATIONS_MAX: usize = 20;
const PROGRESS_PAUSE: Duration = Duration::from_secs(5);

fn many(arguments: &Arguments) -> Vec<Violation> {
    let next = AtomicU64::new(arguments.from);
    let end = arguments.from + arguments.seeds;
    let violations = Mutex::new(Vec::new());
    let sums = [const { AtomicU64::new(0) }; 5];
    let begin = Instant::now();
    let told = Mutex::new(begin);
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let is_enough = violations
                        .lock()
                        .is_ok_and(|all: std::sync::MutexGuard<'_, Vec<_>>| all.len() >= VIOLATIONS_MAX);
                    if seed >= end || is_enough {
                        return;
                    }
                    match run(Options { seed, bug: arguments.bug, ..Options::default() }) {
                        Ok(report) => {
                            for (sum, count) in sums.iter().zip([
                                1,
                                report.messages,
                                report.rows,
                                report.crashes,
                                report.questions,
                            ]) {
                                sum.fetch_add(count, Ordering::Relaxed);
                            }
                        }
                        Err(violation) => {
                            eprintln!(
                                "seed {seed}: {}",
                                violation.sentence.lines().next().unwrap_or_default()
                            );
                            if let Ok(mut all) = violations.lock() {
                                all.push(violation);
                            }
                        }
                    }
                    if let Ok(mut told) = told.lock()
                        && told.elapsed() >= PROGRESS_PAUSE
                    {
                        *told = Instant::now();
                        eprintln!(
                            "{} of {} seeds, {:.0} s",
                            seed - arguments.from,
                            arguments.seeds,
                            begin.elapsed().as_secs_f64()
                        );
                    }
                }
            });
        }
    });
    let [seeds, messages, rows, crashes, questions] = sums.map(AtomicU64::into_inner);
    println!(
        "{seeds} seeds fine in {:.0} s: {messages} messages, {rows} rows at the end, {crashes} ends of a gateway, {questions} questions",
        begin.elapsed().as_secs_f64()
    );
    let mut violations = violations.into_inner().unwrap_or_default();
    violations.sort_by_key(|violation| violation.seed);
    violations
}
