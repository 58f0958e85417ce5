//! Runs seeds of the simulation (`docs/simulation.md`).

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use e2e_tests::simulation::{BUGS, Options, Report, Violation, calm, run};
use gateway::disk::Crash;

const USAGE: &str = "\
usage: simulate [--seeds N] [--from N]          many seeds
       simulate --seed N [-v]                   one, told with -v
       simulate --seed N --kill-at STEP         one without other faults, and a crash in that step of the disk
       simulate --seed N --power-loss-at STEP
       simulate --sweep N                       a crash in every step of that seed, one run for each
with [--bug NAME] and [--threads N]";

/// Stops looking for more behind so many.
const VIOLATIONS_MAX: usize = 20;
const PROGRESS_PAUSE: Duration = Duration::from_secs(5);

struct Arguments {
    seeds: u64,
    from: u64,
    threads: usize,
    sweep: Option<u64>,
    one: bool,
    options: Options,
}

fn arguments() -> Option<Arguments> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let options = Options::default();
    let mut parsed = Arguments { seeds: 1_000, from: 1, threads, sweep: None, one: false, options };
    let mut given = std::env::args().skip(1);
    while let Some(option) = given.next() {
        if option == "-v" {
            parsed.options.tell = true;
            continue;
        }
        let value = given.next()?;
        let number = || value.parse().ok();
        match &*option {
            "--seeds" => parsed.seeds = number()?,
            "--from" => parsed.from = number()?,
            "--threads" => parsed.threads = value.parse().ok()?,
            "--sweep" => parsed.sweep = Some(number()?),
            "--seed" => (parsed.one, parsed.options.seed) = (true, number()?),
            "--kill-at" => parsed.options.crash_at = Some((number()?, Crash::Kill)),
            "--power-loss-at" => parsed.options.crash_at = Some((number()?, Crash::PowerLoss)),
            "--bug" => parsed.options.bug = Some(*BUGS.iter().find(|bug| format!("{bug:?}") == value)?),
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
    if arguments.one {
        return match run(arguments.options) {
            Ok(report) => {
                println!("seed {}: fine, {report:?}", arguments.options.seed);
                ExitCode::SUCCESS
            }
            Err(violation) => {
                println!("{violation}");
                ExitCode::FAILURE
            }
        };
    }
    let runs = match arguments.sweep {
        Some(seed) => match calm(seed) {
            Ok(report) => sweep(seed, report.steps, arguments.options),
            Err(violation) => {
                println!("{violation}");
                return ExitCode::FAILURE;
            }
        },
        None => (arguments.from..arguments.from + arguments.seeds)
            .map(|seed| Options { seed, ..arguments.options })
            .collect(),
    };
    let violations = many(&runs, arguments.threads);
    for violation in &violations {
        println!("{violation}");
    }
    if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn sweep(seed: u64, steps: u64, options: Options) -> Vec<Options> {
    let crashes = (1..=steps).flat_map(|step| [Crash::Kill, Crash::PowerLoss].map(|crash| (step, crash)));
    crashes.map(|crash_at| Options { seed, crash_at: Some(crash_at), ..options }).collect()
}

fn many(runs: &[Options], threads: usize) -> Vec<Violation> {
    let begin = Instant::now();
    let next = AtomicU64::new(0);
    let sums = Mutex::new((0_u64, Report::default()));
    let violations = Mutex::new(Vec::new());
    let told = Mutex::new(begin);
    let work = || {
        while lock(&violations).len() < VIOLATIONS_MAX
            && let Some(options) = runs.get(next.fetch_add(1, Ordering::Relaxed) as usize)
        {
            match run(*options) {
                Ok(report) => {
                    let mut sums = lock(&sums);
                    sums.0 += 1;
                    sums.1 += report;
                }
                Err(violation) => {
                    let sentence = violation.sentence.lines().next().unwrap_or_default();
                    eprintln!("seed {}: {sentence}", violation.options.seed);
                    lock(&violations).push(violation);
                }
            }
            let mut told = lock(&told);
            if told.elapsed() >= PROGRESS_PAUSE {
                *told = Instant::now();
                let done = next.load(Ordering::Relaxed).min(runs.len() as u64);
                eprintln!("{done} of {} runs, {:.0} s", runs.len(), begin.elapsed().as_secs_f64());
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let (runs, report) = *lock(&sums);
    println!("{runs} runs fine in {:.0} s: {report:#?}", begin.elapsed().as_secs_f64());
    let mut violations = violations.into_inner().unwrap_or_else(PoisonError::into_inner);
    violations.sort_by_key(|violation| violation.options.seed);
    violations
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic is a bug of this program; what it counted is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
