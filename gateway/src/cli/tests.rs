//! A1-8: commands against a backend that knows a few rows.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use clap::Parser;
use crossbeam::channel::{Receiver, Sender, bounded, unbounded};

use super::control::{self, ControlServer, Question, SOCKET_NAME};
use super::{Access, Arguments, Backend, Damage, Exit, Failure, Running, Signal, dispatch, run_until};
use crate::config::Config;
use crate::query::fake::FakeView;
use crate::query::{GatewayView, Quiet};

/// What happened to the gateways of a [`FakeBackend`].
type Log = Arc<Mutex<Vec<&'static str>>>;

#[derive(Debug)]
struct FakeBackend {
    log: Log,
    failure: (Sender<Failure>, Receiver<Failure>),
    refuse: Option<Failure>,
}

impl FakeBackend {
    fn new() -> Self {
        Self { log: Log::default(), failure: unbounded(), refuse: None }
    }

    fn log(&self) -> Vec<&'static str> {
        self.log.lock().unwrap().clone()
    }
}

#[derive(Debug)]
struct FakeRunning {
    log: Log,
    failed: Receiver<Failure>,
}

impl Backend for FakeBackend {
    fn start(&self, _: Arc<Config>, _: Damage) -> Result<Box<dyn Running>, Failure> {
        if let Some(failure) = &self.refuse {
            return Err(failure.clone());
        }
        self.log.lock().unwrap().push("start");
        Ok(Box::new(FakeRunning { log: self.log.clone(), failed: self.failure.1.clone() }))
    }

    fn open_offline(&self, _: Arc<Config>, _: Access) -> Result<Arc<dyn GatewayView>, Failure> {
        self.log.lock().unwrap().push("offline");
        Ok(Arc::new(FakeView::default()))
    }

    fn open_while_full(&self, _: Arc<Config>, _: Damage) -> Result<Arc<dyn GatewayView>, Failure> {
        self.log.lock().unwrap().push("full");
        Ok(Arc::new(FakeView::default()))
    }
}

impl Running for FakeRunning {
    fn mqtt_addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 4711))
    }

    fn http_connections_max(&self) -> usize {
        16
    }

    fn view(&self) -> Arc<dyn GatewayView> {
        Arc::new(FakeView::default())
    }

    fn failed(&self) -> Receiver<Failure> {
        self.failed.clone()
    }

    fn stop(self: Box<Self>) -> Result<(), Failure> {
        self.log.lock().unwrap().push("stop");
        Ok(())
    }
}

fn command(backend: &FakeBackend, arguments: &[&str]) -> (Result<(), Failure>, String) {
    let arguments = ["sensor-gateway"].iter().chain(arguments);
    let arguments = Arguments::try_parse_from(arguments).expect("valid usage");
    let mut out = Vec::new();
    let result = dispatch(&arguments, backend, &mut out);
    (result, String::from_utf8(out).unwrap())
}

fn data_dir(dir: &tempfile::TempDir) -> &str {
    dir.path().to_str().unwrap()
}

fn config(dir: &Path) -> Arc<Config> {
    let mut config = Config { data_dir: dir.to_owned(), ..Config::default() };
    config.http.listen.set_port(0);
    Arc::new(config)
}

/// Writes lines into a channel, so that a test sees them when they come.
struct Lines(Sender<String>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(String::from_utf8_lossy(bytes).into_owned()).unwrap();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.send("(flushed)".to_owned()).unwrap();
        Ok(())
    }
}

/// Where a gateway has run.
fn used_directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(crate::log::JOURNAL_DIR)).unwrap();
    dir
}

/// A question to the wrong directory makes no gateway's data there (B1-2).
#[test]
fn b1_2_a_question_begins_no_directory() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let backend = FakeBackend::new();
    for question in ["query", "ledger", "quarantine list", "quarantine erase --all"] {
        let arguments: Vec<&str> = question.split(' ').chain(["--data-dir", data_dir(&dir)]).collect();
        let (result, _) = command(&backend, &arguments);
        let failure = result.unwrap_err();
        assert_eq!(failure.exit, Exit::Environment);
        assert!(failure.sentence.contains("there is no gateway's data"), "{failure}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    std::fs::write(&file, "x").unwrap();
    let (result, _) = command(&backend, &["ledger", "--data-dir", file.to_str().unwrap()]);
    assert!(result.unwrap_err().sentence.contains("this is no directory"));
    assert!(backend.log().is_empty());
    for (arguments, part) in [
        (
            ["quarantine", "list", "--reason", "nosuch"],
            "there is no reason \"nosuch\"; there are format_unknown",
        ),
        (["quarantine", "list", "--topic", "a/#/b"], "is no MQTT topic filter"),
    ] {
        let failure = command(&backend, &arguments).0.unwrap_err();
        assert!(failure.exit == Exit::Environment && failure.sentence.contains(part), "{failure}");
    }
}

#[test]
fn options_are_taken_before_and_behind_the_command() {
    for arguments in [
        vec!["sensor-gateway", "--data-dir", "x", "query", "--datastream", "a/b/c", "--revisions"],
        vec!["sensor-gateway", "query", "--datastream", "a/b/c", "--revisions", "--data-dir", "x"],
    ] {
        let arguments = Arguments::try_parse_from(arguments).unwrap();
        assert_eq!(arguments.common.data_dir.as_deref(), Some("x"));
    }
    let error = Arguments::try_parse_from(["sensor-gateway", "query", "--datastrem", "x"]).unwrap_err();
    assert_eq!(error.exit_code(), Exit::Environment as i32);
    assert!(Arguments::try_parse_from(["sensor-gateway"]).is_err());
}

#[test]
fn without_a_gateway_the_data_directory_is_opened() {
    let dir = used_directory();
    let backend = FakeBackend::new();
    let (result, out) = command(&backend, &["query", "--data-dir", data_dir(&dir), "--limit", "2"]);
    assert_eq!(result, Ok(()));
    assert_eq!(out.lines().count(), 3, "{out}");
    assert_eq!(backend.log(), ["offline"]);
    let (_, out) = command(&backend, &["ledger", "--data-dir", data_dir(&dir)]);
    assert!(out.starts_with("durable 12, processed 11\n"), "{out}");
    let (_, out) = command(&backend, &["quarantine", "show", "7", "--data-dir", data_dir(&dir)]);
    assert!(out.contains("not_json"), "{out}");
}

#[test]
fn a_running_gateway_is_asked_through_its_socket() {
    let dir = used_directory();
    let view = Arc::new(FakeView { many: Some(100_000), ..FakeView::default() });
    let mut server = ControlServer::start(dir.path(), view).unwrap();
    let mode = std::fs::metadata(dir.path().join(SOCKET_NAME)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let backend = FakeBackend::new();
    let (result, out) = command(&backend, &["query", "--data-dir", data_dir(&dir)]);
    assert_eq!(result, Ok(()));
    assert_eq!(out.lines().count(), 100_001);
    assert!(out.ends_with(",99999\n"));
    assert!(backend.log().is_empty(), "the data directory was not opened");

    server.stop();
    assert!(!dir.path().join(SOCKET_NAME).exists());
    command(&backend, &["query", "--data-dir", data_dir(&dir)]).0.unwrap();
    assert_eq!(backend.log(), ["offline"]);
}

#[test]
fn a_socket_of_a_dead_gateway_is_no_gateway() {
    let dir = used_directory();
    drop(std::os::unix::net::UnixListener::bind(dir.path().join(SOCKET_NAME)).unwrap());
    let backend = FakeBackend::new();
    command(&backend, &["query", "--data-dir", data_dir(&dir)]).0.unwrap();
    assert_eq!(backend.log(), ["offline"]);
    // The next gateway takes its place.
    let server = ControlServer::start(dir.path(), Arc::new(FakeView::default())).unwrap();
    command(&backend, &["query", "--data-dir", data_dir(&dir)]).0.unwrap();
    assert_eq!(backend.log(), ["offline"]);
    drop(server);
}

#[test]
fn failures_come_through_the_socket_behind_what_was_said() {
    let dir = used_directory();
    let view = Arc::new(FakeView { broken: true, ..FakeView::default() });
    let _server = ControlServer::start(dir.path(), view).unwrap();
    let backend = FakeBackend::new();
    let (result, out) = command(&backend, &["query", "--data-dir", data_dir(&dir), "--format", "ndjson"]);
    assert_eq!(result, Err(Failure::environment("the store file 7.parquet is damaged")));
    assert_eq!(out.lines().count(), 5);

    let question = Question { name: "tea".to_owned(), parameters: Vec::new() };
    let answered = control::ask(dir.path(), &question, &mut Quiet(Vec::new())).unwrap();
    assert_eq!(answered, Err(Failure::environment("command: there is no \"tea\"")));
}

/// A Unix socket's address holds 108 bytes.
#[test]
fn a_long_data_directory_has_a_socket_too() {
    let dir = used_directory();
    let long: PathBuf = dir.path().join("x".repeat(120));
    std::fs::create_dir(&long).unwrap();
    let mut server = ControlServer::start(&long, Arc::new(FakeView::default())).unwrap();
    assert!(long.join(SOCKET_NAME).exists());
    let backend = FakeBackend::new();
    command(&backend, &["query", "--data-dir", long.to_str().unwrap()]).0.unwrap();
    assert!(backend.log().is_empty());
    server.stop();
    assert!(!long.join(SOCKET_NAME).exists());
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    struct Closed;
    impl io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let dir = used_directory();
    let backend = FakeBackend::new();
    let arguments =
        Arguments::try_parse_from(["sensor-gateway", "query", "--data-dir", data_dir(&dir)]).unwrap();
    assert_eq!(dispatch(&arguments, &backend, &mut Closed), Ok(()));
    let view = Arc::new(FakeView { many: Some(1_000_000), ..FakeView::default() });
    let mut server = ControlServer::start(dir.path(), view).unwrap();
    assert_eq!(dispatch(&arguments, &backend, &mut Closed), Ok(()));
    server.stop();
}

#[test]
fn wrong_questions_and_places_are_one_clear_line() {
    let dir = used_directory();
    let backend = FakeBackend::new();
    for (arguments, sentence) in [
        (vec!["query", "--from", "yesterday"], "from: the time is not RFC 3339"),
        (vec!["query", "--datastream", "a/b/c/d"], "datastream: expected agency/station/property"),
        (vec!["quarantine", "show", "x"], "position: expected a whole number"),
        (vec!["ledger", "--set", "mqtt.listen=x"], "--set mqtt.listen: expected an address"),
        (vec!["ledger", "--data-dir", "/nowhere/at/all"], "/nowhere/at/all: there is no such data directory"),
        (vec!["run", "--config", "/nowhere.toml"], "/nowhere.toml: can't be read: No such file"),
        (
            vec!["run", "--http-listen", "0.0.0.0:8080"],
            "--http-listen: other machines could reach 0.0.0.0:8080",
        ),
    ] {
        let mut all = vec!["--data-dir", data_dir(&dir)];
        if arguments.contains(&"--data-dir") {
            all.clear();
        }
        all.extend(arguments);
        let (result, out) = command(&backend, &all);
        let failure = result.expect_err("wrong");
        assert!(failure.sentence.starts_with(sentence), "{failure}");
        assert!(!failure.sentence.contains('\n'));
        assert_eq!((failure.exit, out.as_str()), (Exit::Environment, ""));
    }
    assert!(backend.log().is_empty());
}

#[test]
fn configuration_files_are_checked() {
    let dir = used_directory();
    let file = dir.path().join("gateway.toml");
    let name = file.to_str().unwrap();
    std::fs::write(&file, "[mqtt]\nlisten = \"127.0.0.1:0\"\n").unwrap();
    let backend = FakeBackend::new();
    assert_eq!(command(&backend, &["config", "check", name]), (Ok(()), format!("{name}: fine\n")));
    assert_eq!(command(&backend, &["config", "check", "--config", name]).0, Ok(()));
    std::fs::write(&file, "[mqtt]\nlisten = \"localhost\"\n").unwrap();
    let failure = command(&backend, &["config", "check", name]).0.unwrap_err();
    assert_eq!(failure.exit, Exit::Environment);
    assert_eq!(
        failure.sentence,
        format!("{name}:2: mqtt.listen: expected an address like \"127.0.0.1:1883\", found \"localhost\"")
    );
    assert!(command(&backend, &["config", "reference"]).1.contains("`mqtt.listen`"));
    assert!(command(&backend, &["config", "example"]).1.contains("# listen = \"127.0.0.1:1883\""));
}

#[test]
fn run_says_ready_once_and_stops_in_order() {
    let dir = used_directory();
    let backend = FakeBackend::new();
    let (stop, stopped) = bounded(1);
    let (lines, said) = unbounded();
    std::thread::scope(|scope| {
        let (backend, config) = (&backend, config(dir.path()));
        let run =
            scope.spawn(move || run_until(config, Damage::Refuse, backend, &stopped, &mut Lines(lines)));
        let mut line = said.recv().unwrap();
        while !line.ends_with('\n') {
            line.push_str(&said.recv().unwrap());
        }
        let http =
            line.strip_prefix("ready mqtt=127.0.0.1:4711 http=127.0.0.1:").expect("the line of the contract");
        assert!(http.trim_end().parse::<u16>().unwrap() > 0, "{line}");
        assert_eq!(said.recv().unwrap(), "(flushed)");
        // HTTP and the socket answer while it runs.
        std::net::TcpStream::connect(line.trim_end().split("http=").nth(1).unwrap()).unwrap();
        assert!(dir.path().join(SOCKET_NAME).exists());
        stop.send(Signal).unwrap();
        assert_eq!(run.join().unwrap(), Ok(()));
    });
    assert_eq!(said.try_iter().count(), 0, "nothing else on stdout");
    assert_eq!(backend.log(), ["start", "stop"]);
    assert!(!dir.path().join(SOCKET_NAME).exists());
}

#[test]
fn a_failing_gateway_ends_run_with_its_exit_code() {
    let dir = used_directory();
    let backend = FakeBackend::new();
    let failure = Failure::new(Exit::Journal, "journal/7.log: write failed: I/O error");
    backend.failure.0.send(failure.clone()).unwrap();
    let (_stop, stopped) = bounded::<Signal>(1);
    assert_eq!(
        run_until(config(dir.path()), Damage::Refuse, &backend, &stopped, &mut Vec::new()),
        Err(failure)
    );
    assert_eq!(backend.log(), ["start", "stop"]);
}

#[test]
fn run_refuses_what_it_can_not_have() {
    let dir = used_directory();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = (*config(dir.path())).clone();
    config.http.listen = taken.local_addr().unwrap();
    let backend = FakeBackend::new();
    let (_stop, stopped) = bounded::<Signal>(1);
    let failure =
        run_until(Arc::new(config.clone()), Damage::Refuse, &backend, &stopped, &mut Vec::new()).unwrap_err();
    assert_eq!(failure.exit, Exit::Environment);
    assert!(failure.sentence.starts_with(&format!("http.listen {}: ", config.http.listen)), "{failure}");
    assert!(backend.log().is_empty(), "nothing was started");

    // The data directory vanished: what was started is stopped again.
    config.http.listen.set_port(0);
    config.data_dir = dir.path().join("gone");
    let failure =
        run_until(Arc::new(config), Damage::Refuse, &backend, &stopped, &mut Vec::new()).unwrap_err();
    assert!(failure.sentence.contains("the control socket can't be made"), "{failure}");
    assert_eq!(backend.log(), ["start", "stop"]);

    let refused = Failure::environment("the directory is locked by another gateway");
    let backend = FakeBackend { refuse: Some(refused.clone()), ..FakeBackend::new() };
    assert_eq!(
        run_until(self::config(dir.path()), Damage::Refuse, &backend, &stopped, &mut Vec::new()),
        Err(refused)
    );
}
