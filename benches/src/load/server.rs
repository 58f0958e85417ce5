//! The server that is measured: found running, or started and stopped.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::error::LoadError;
use super::options::LoadOptions;

const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a listening server may still take to print its `ready` line, if it prints one.
const READY_LINE_TIMEOUT: Duration = Duration::from_millis(500);
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Server {
    pub(super) mqtt_address: SocketAddr,
    /// Where a gateway answers HTTP.
    pub(super) http_address: Option<String>,
    pub(super) pid: Option<u32>,
    child: Option<Child>,
}

impl Server {
    pub(super) fn attach(options: &LoadOptions) -> Result<Self, LoadError> {
        let mut server = Self {
            mqtt_address: resolve(&options.connect)?,
            http_address: options.http.clone(),
            pid: options.pid,
            child: None,
        };
        if let Some(command) = &options.start {
            server.start(command)?;
        }
        Ok(server)
    }

    fn start(&mut self, command: &str) -> Result<(), LoadError> {
        // Somebody else's port says nothing about this server; its ready line may still name another one.
        let occupied = TcpStream::connect(self.mqtt_address).is_ok();
        // `exec`: the shell becomes the server, so that its process id is the child's.
        let mut child = Command::new("sh")
            .args(["-c", &format!("exec {command}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let ready_line = read_ready_line(&mut child);
        self.pid = Some(child.id());
        self.child = Some(child);
        let deadline = Instant::now() + START_TIMEOUT;
        let mut listening_since = None;
        loop {
            if let Ok(line) = ready_line.recv_timeout(POLL_INTERVAL) {
                return self.take_ready_line(&line);
            }
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                return Err(LoadError::Start(format!("`{command}` ended with {status}")));
            }
            if !occupied && TcpStream::connect(self.mqtt_address).is_ok() {
                let since = *listening_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= READY_LINE_TIMEOUT {
                    return Ok(());
                }
            }
            if Instant::now() > deadline {
                let occupied = if occupied { "; another process had its port before" } else { "" };
                return Err(LoadError::Start(format!(
                    "neither a ready line nor an open port after {} s{occupied}",
                    START_TIMEOUT.as_secs()
                )));
            }
        }
    }

    /// `ready mqtt=ADDR http=ADDR`
    fn take_ready_line(&mut self, line: &str) -> Result<(), LoadError> {
        for word in line.split_ascii_whitespace() {
            match word.split_once('=') {
                Some(("mqtt", address)) => self.mqtt_address = resolve(address)?,
                Some(("http", address)) => self.http_address = Some(address.to_owned()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Asks a started server to end, and waits for it.
    pub(super) fn stop(mut self) {
        let Some(child) = &mut self.child else { return };
        let _ = Command::new("kill").arg(child.id().to_string()).status();
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
                self.child = None;
                return;
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Reads the server's stdout to its end, so that it never blocks on it, and hands over its `ready` line.
fn read_ready_line(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = channel();
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if line.starts_with("ready ") {
                    // Nobody waits any more: then it does not matter.
                    let _ = sender.send(line);
                }
            }
        });
    }
    receiver
}

fn resolve(address: &str) -> Result<SocketAddr, LoadError> {
    let found = address.to_socket_addrs().ok().and_then(|mut all| all.next());
    found.ok_or_else(|| LoadError::Options(format!("`{address}` is no address like 127.0.0.1:1883")))
}
