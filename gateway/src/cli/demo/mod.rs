//! `demo`: a gateway on this machine, recorded readings and then simulated stations over real MQTT, and at the end the proof
//! that nothing was lost.
//!
//! ```text
//!  devices ──MQTT──▶ gateway ──feed──▶ subscriber      what goes on, every second: screen
//!     └─ truth ledger    └─ data directory
//!            └──────────────────┴──▶ after the stop: books and verify (outcome)
//! ```
//!
//! Everything lies in one directory, `./demo-data` if no other is asked for; a later start goes on from there. A demo never
//! writes into the directory that a configuration names for the real gateway.

mod devices;
mod feed;
mod outcome;
mod place;
mod screen;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, bounded, never, select, tick};
use firmware_sim::replay;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::devices::{Devices, DevicesConfig, Event};
use self::feed::FeedWatch;
use self::place::Place;
use self::screen::{Meter, Phase, Screen, grouped};
use super::arguments::DemoArguments;
use super::run::{ServedGateway, ended_by_itself};
use super::{Backend, CommonArguments, Damage, Exit, Failure, Signal};
use crate::books::LedgerFilter;
use crate::config::Config;

const DATA_DIR: &str = "demo-data";
/// How often the screen is brought up to date.
const REFRESH: Duration = Duration::from_secs(1);
/// Messages of one directory: at the end all of them are compared with the store, which takes some 400 bytes of memory for each.
const MESSAGES_MAX: u64 = 2_000_000;

pub(super) fn demo(
    common: &CommonArguments,
    arguments: &DemoArguments,
    backend: &dyn Backend,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let stop = interrupts()?;
    let mut screen = Screen::new(out, io::stdout().is_terminal());
    demo_until(common, arguments, backend, &stop, &mut screen)
}

/// The first SIGINT or SIGTERM ends the demo in order; the second one at once.
fn interrupts() -> Result<Receiver<Signal>, Failure> {
    let failed = |error: io::Error| Failure::environment(format!("signals can't be received: {error}"));
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(failed)?;
    let (sender, receiver) = bounded(1);
    let watch = move || {
        let mut forever = signals.forever();
        if forever.next().is_some() {
            // A full channel means that the signal is known already.
            let _ = sender.try_send(Signal);
        }
        if forever.next().is_some() {
            std::process::exit(Exit::CheckFailed as i32);
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(watch).map_err(failed)?;
    Ok(receiver)
}

/// The demo until `stop` says something, its time is over, or something fails.
fn demo_until(
    common: &CommonArguments,
    arguments: &DemoArguments,
    backend: &dyn Backend,
    stop: &Receiver<Signal>,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    let mut common = common.clone();
    common.data_dir.get_or_insert_with(|| DATA_DIR.to_owned());
    let config = Arc::new(common.load()?);
    place::check_ports(&config)?;
    let recorded =
        replay::extract().map_err(|error| Failure::environment(format!("recorded series: {error}")))?.series;
    let recorded_messages = recorded.iter().map(|series| series.messages.len() as u64).sum();
    let place = Place::open(&config.data_dir, recorded_messages)?;

    let gateway = ServedGateway::start(&config, Damage::Refuse, backend)?;
    let broker = reachable(gateway.mqtt_addr());
    let received = gateway
        .view()
        .ledger(&LedgerFilter::default())
        .map(|ledger| ledger.messages.received)
        .map_err(|error| Failure::environment(error.to_string()));
    let lived = received.and_then(|received| {
        introduce(screen, &gateway, &config, &place, recorded_messages, received, arguments);
        let feed = FeedWatch::start(broker)?;
        let devices = Devices::start(DevicesConfig {
            broker,
            ledger: place.ledger.clone(),
            recorded: (!place.is_replayed).then_some(recorded),
            stations: arguments.stations as usize,
            messages_per_s: rate(arguments),
            duration: arguments.duration_s.map(|seconds| Duration::from_secs(seconds.into())),
            messages_max: MESSAGES_MAX.saturating_sub(received),
        })?;
        let phase = if place.is_replayed { Phase::Live } else { Phase::Replay };
        let meter =
            Meter::new(&config.data_dir, devices.control.clone(), arguments.stations, phase, received);
        let lived = live(&gateway, &devices, &feed, meter, stop, screen);
        screen.say(
            "Stopping: first the devices, which wait for what is not acknowledged yet; then the gateway.",
        );
        // The last readings are still on their way to the subscriber while the devices wait.
        let devices_ended = devices.stop();
        let feed_seen = feed.stop();
        screen.say(&format!("The subscriber saw {} messages of the feed.", grouped(feed_seen)));
        lived.and(devices_ended)
    });
    let stopped = gateway.stop();
    lived.and(stopped)?;
    outcome::show(config, backend, &place.ledger, screen)
}

fn rate(arguments: &DemoArguments) -> f64 {
    arguments.rate.unwrap_or(f64::from(arguments.stations) / 2.0)
}

/// Where a client on this machine reaches a listener.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let mut addr = listener;
    if addr.ip().is_unspecified() {
        let is_v4 = addr.is_ipv4();
        addr.set_ip(if is_v4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    addr
}

/// What is going on, and where to look.
fn introduce(
    screen: &mut Screen<'_>,
    gateway: &ServedGateway,
    config: &Config,
    place: &Place,
    recorded_messages: u64,
    received: u64,
    arguments: &DemoArguments,
) {
    let (mqtt, http) = (reachable(gateway.mqtt_addr()), reachable(gateway.http_addr()));
    let data_dir = config.data_dir.display();
    let program = std::env::args().next().unwrap_or_else(|| "sensor-gateway".to_owned());
    screen.say(&format!("A sensor gateway runs: MQTT at {mqtt}, HTTP at {http}, its data in {data_dir}."));
    let stations = grouped(arguments.stations.into());
    if place.is_replayed {
        screen.say(&format!(
            "It goes on where it stopped, with {} messages in its books. The recorded readings are among them and are not \
             sent again. Now {stations} simulated stations send live.",
            grouped(received)
        ));
    } else {
        if received > 0 {
            screen.say(&format!(
                "It goes on where it stopped, with {} messages in its books. The replay of recorded readings was cut short: \
                 it starts over, and what is known already is told to be a duplicate.",
                grouped(received)
            ));
        }
        screen.say(&format!(
            "First {} recorded messages of air, water, weather and traffic are replayed into it over MQTT; then {stations} \
             simulated stations send live.",
            grouped(recorded_messages)
        ));
    }
    screen.say("Look at it from another terminal:");
    screen.say(&format!("  mosquitto_sub -h {} -p {} -t 'feed/v1/#' -v", mqtt.ip(), mqtt.port()));
    screen.say(&format!("  curl http://{http}/api/v1/ledger"));
    screen.say(&format!(
        "  {program} query --data-dir {data_dir} --datastream BJMEMC/Aotizhongxin --limit 20 --format table"
    ));
    if arguments.duration_s.is_none() {
        screen.say(
            "Ctrl-C ends it and shows the books and whether every acknowledged reading is in the store.",
        );
    }
}

/// Shows what goes on until the end.
fn live(
    gateway: &ServedGateway,
    devices: &Devices,
    feed: &FeedWatch,
    mut meter: Meter,
    stop: &Receiver<Signal>,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    let view = gateway.view();
    let failed = gateway.failed();
    let ticks = tick(REFRESH);
    let mut events = devices.events.clone();
    loop {
        select! {
            recv(stop) -> _ => return Ok(()),
            recv(failed) -> failure => return Err(failure.unwrap_or_else(|_| ended_by_itself())),
            recv(ticks) -> _ => meter.show(view.as_ref(), feed, screen),
            recv(events) -> event => match event {
                Ok(Event::Replayed { messages, took }) => {
                    meter.phase = Phase::Live;
                    let (messages, took_s) = (grouped(messages), took.as_secs_f64());
                    screen.say(&format!("{messages} recorded messages were acknowledged in {took_s:.1} s."));
                }
                Ok(Event::TimeOver) => return Ok(()),
                Ok(Event::Full) => {
                    let most = grouped(MESSAGES_MAX);
                    screen.say(&format!(
                        "The demo has sent its {most} messages, which is the most that it compares at the end. The stations are \
                         silent now; the gateway goes on until Ctrl-C. Remove the data directory to begin anew."
                    ));
                    events = never();
                }
                Ok(Event::Failed(sentence)) => return Err(Failure::environment(sentence)),
                Err(_) => return Err(Failure::environment("the simulated devices ended by a bug of the demo")),
            },
        }
    }
}
