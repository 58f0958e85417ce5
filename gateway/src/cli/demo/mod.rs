//! `demo`: a gateway on this machine, a simulated city over real MQTT, and at the end the proof that nothing was lost.
//!
//! ```text
//!  recorded series, city ──MQTT──▶ gateway ──feed──▶ subscriber     what goes on, every second: meter, phase, screen
//!     └─ truth ledger                 └─ data directory
//!            └───────────────────────────┴──▶ after the stop: books and verify (outcome)
//! ```
//!
//! Everything lies in one directory, `./demo-data` if no other is asked for; a later start goes on from there, with the same
//! city. A demo never writes into the directory that a configuration names for the real gateway.

mod devices;
mod feed;
mod meter;
mod outcome;
mod phase;
mod place;
mod screen;
mod story;
#[cfg(test)]
mod tests;
mod words;

use std::io::{self, IsTerminal, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, bounded, never, select, tick};
use firmware_sim::city::{AGENCIES_FILE, City, STATIONS_FILE, Station};
use firmware_sim::{replay, time};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::devices::{CityPlan, Devices, DevicesConfig, Ended, Event};
use self::feed::{FeedWatch, StationNames};
use self::meter::Meter;
use self::phase::Phase;
use self::place::Place;
use self::screen::Screen;
use self::story::Story;
use self::words::{counted, duration, grouped};
use super::arguments::DemoArguments;
use super::run::{ServedGateway, ended_by_itself};
use super::{Backend, CommonArguments, Damage, Exit, Failure, Signal};
use crate::books::{Ledger, LedgerFilter};
use crate::config::Config;

const DATA_DIR: &str = "demo-data";
/// How often the screen is brought up to date.
const REFRESH: Duration = Duration::from_secs(1);
/// Messages of one directory: at the end all of them are compared with the store, which takes some 1,400 bytes of memory for each
/// (measured with eight readings in the middle).
const MESSAGES_MAX: u64 = 500_000;
/// A region stays cut off for so long after the city began, or for `--duration-s` where that is shorter.
const STORM_S_MAX: u32 = 45;
/// A storm that keeps less than this is no hours of it: that is said.
const SHORT_STORM_US: i64 = 10 * 60 * 1_000_000;
const HOUR_US: f64 = 3.6e9;

pub(super) fn demo(
    common: &CommonArguments,
    arguments: &DemoArguments,
    backend: &dyn Backend,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let stop = interrupts()?;
    let mut screen = Screen::new(out, io::stdout().is_terminal());
    demo_until(common, arguments, MESSAGES_MAX, backend, &stop, &mut screen)
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

/// The demo until `stop` says something, its time is over, or something fails. `messages_max`: of the directory.
fn demo_until(
    common: &CommonArguments,
    arguments: &DemoArguments,
    messages_max: u64,
    backend: &dyn Backend,
    stop: &Receiver<Signal>,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    let mut common = common.clone();
    common.data_dir.get_or_insert_with(|| DATA_DIR.to_owned());
    let mut config = load(&common)?;
    place::check_ports(&config)?;
    let recorded =
        replay::extract().map_err(|error| Failure::environment(format!("recorded series: {error}")))?.series;
    let recorded_messages = recorded.iter().map(|series| series.messages.len() as u64).sum();
    let mut place = Place::open(&config.data_dir, recorded_messages, arguments)?;
    let mut plan = CityPlan {
        stations: place.facts.stations,
        seed: place.facts.seed,
        from_us: past_begins_us(&place, arguments),
        messages_max,
    };
    let names = tell_things(&mut config, &place, &plan)?;
    let config = Arc::new(config);

    let gateway = ServedGateway::start(&config, Damage::Refuse, backend)?;
    let broker = reachable(gateway.mqtt_addr());
    let lived = gateway
        .view()
        .ledger(&LedgerFilter::default())
        .map_err(|error| Failure::environment(error.to_string()))
        .and_then(|before| {
            let recorded_left = if place.is_replayed { 0 } else { recorded_messages };
            plan.messages_max = messages_max.saturating_sub(before.messages.received + recorded_left);
            let city = plan.build(broker, place.ledger.clone())?;
            introduce(screen, &gateway, &place, &city, &before, recorded_left, arguments);
            if arguments.storm && place.facts.covered_until_us == Some(plan.from_us) {
                say_short_storm(&plan, screen);
            }
            let feed = FeedWatch::start(broker, names)?;
            let devices = Devices::start(DevicesConfig {
                broker,
                ledger: place.ledger.clone(),
                recorded: (!place.is_replayed).then_some(recorded),
                city,
                storm: arguments.storm.then(|| (storm_begins_us(&plan), storm_lasts(arguments))),
            })?;
            let meter = Meter::new(&config.data_dir, devices.control.clone(), before);
            let run = Run { gateway: &gateway, devices: &devices, feed: &feed, meter, plan: &plan, messages_max };
            let lived = run.live(arguments, stop, screen);
            screen.say("Stopping: first the stations, which wait for what is not acknowledged yet; then the gateway.");
            let is_full = matches!(lived, Ok(true));
            let ended = end_devices(devices, feed, is_full, screen);
            // What is remembered must be true also if the gateway can't stop in order: acknowledged is durable.
            let covered_until_us = ended.as_ref().ok().and_then(|ended| ended.covered_until_us);
            covered_until_us.map_or(Ok(()), |until_us| place.cover(until_us))?;
            lived.and(ended).map(drop)
        });
    let stopped = gateway.stop();
    lived.and(stopped)?;
    outcome::show(config, backend, &place.ledger, place.facts.runs, screen)
}

/// The configuration, in which a healthy station of the city is fresh unless the user says otherwise.
fn load(common: &CommonArguments) -> Result<Config, Failure> {
    let late_max_s = common.load()?.api.late_max_s;
    common.load_over(vec![("api.fresh_max_s", devices::FRESH_MAX_S.min(late_max_s).to_string())])
}

/// The past of a city: `--past-h` at most, and nothing that an earlier run has sent.
fn past_begins_us(place: &Place, arguments: &DemoArguments) -> i64 {
    let earliest_us = time::now_us() - (arguments.past_h * HOUR_US) as i64;
    place.facts.covered_until_us.map_or(earliest_us, |covered_us| covered_us.max(earliest_us))
}

/// The storm is older than the demo: it has kept a region away for the last two thirds of the past.
fn storm_begins_us(plan: &CityPlan) -> i64 {
    plan.from_us + (time::now_us() - plan.from_us) / 3
}

fn storm_lasts(arguments: &DemoArguments) -> Duration {
    let seconds = arguments.duration_s.map_or(STORM_S_MAX, |seconds| seconds.min(STORM_S_MAX));
    Duration::from_secs(seconds.into())
}

/// Writes what an operator would tell the gateway of the city, and lets the gateway read it; gives the stations' names.
fn tell_things(config: &mut Config, place: &Place, plan: &CityPlan) -> Result<StationNames, Failure> {
    // Nothing is sent by this one: it only knows its stations.
    let city = plan.build(config.mqtt.listen, place.ledger.clone())?;
    let at = place.things.display();
    city.write_things(&place.things).map_err(|error| Failure::environment(format!("{at}: {error}")))?;
    config.things.stations_file = place.things.join(STATIONS_FILE);
    config.things.agencies_file = place.things.join(AGENCIES_FILE);
    let name =
        |station: &Station| (format!("{}/{}", station.agency.code, station.code), station.name.clone());
    Ok(city.stations().iter().map(name).collect())
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
    place: &Place,
    city: &City,
    before: &Ledger,
    recorded_left: u64,
    arguments: &DemoArguments,
) {
    let (mqtt, http) = (reachable(gateway.mqtt_addr()), reachable(gateway.http_addr()));
    let data_dir = place.data_dir.display();
    screen.print_prominently(&format!("Open in a browser:  http://{http}/"));
    screen.say(&format!(
        "A sensor gateway and a simulated city of {} run on this machine. Its data lie in {data_dir}.",
        counted(place.facts.stations.into(), "station")
    ));
    if before.messages.received > 0 {
        screen.say(&format!(
            "It goes on where it stopped: same city, {} in the books from {} before.",
            counted(before.messages.received, "message"),
            counted(place.facts.runs - 1, "run")
        ));
    }
    if recorded_left > 0 {
        screen.say(&format!(
            "First come {} recorded messages of air, water, weather and traffic in other places{}; then the city sends its own.",
            grouped(recorded_left),
            // An earlier start was stopped in the middle of them.
            if before.messages.received > 0 { " (what is known already counts as duplicate)" } else { "" }
        ));
    }
    if let Some(seconds) = arguments.duration_s {
        screen.say(&format!("It ends after {} of live readings.", duration(seconds.into())));
    }
    screen.say("Look at it from another terminal:");
    let program = std::env::args().next().unwrap_or_else(|| "sensor-gateway".to_owned());
    screen.print(&format!("  mosquitto_sub -h {} -p {} -t 'feed/v1/#' -v", mqtt.ip(), mqtt.port()));
    if let Some(station) = city.stations().first() {
        let (agency, code) = (station.agency.code, &station.code);
        screen.print(&format!(
            "  {program} query --data-dir {data_dir} --datastream {agency}/{code} --format table"
        ));
    }
}

/// Ends stations and subscriber, and says what they did in this run.
fn end_devices(
    devices: Devices,
    feed: FeedWatch,
    is_full: bool,
    screen: &mut Screen<'_>,
) -> Result<Ended, Failure> {
    let control = devices.control.clone();
    // The last readings are still on their way to the subscriber while the devices wait.
    let ended = devices.stop();
    let feed_messages = feed.stop();
    let summary = control.summary();
    screen.say(&format!(
        "In this run the stations sent {}; {} were acknowledged. A subscriber of the feed got {}.",
        counted(summary.messages_sent, "message"),
        grouped(summary.messages_acked),
        counted(feed_messages, "message")
    ));
    let ended = ended?;
    let Ended { waiting, missed, .. } = ended;
    // A full directory takes nothing at the next start either.
    if waiting > 0 && !is_full {
        screen.say(&format!(
            "{} are not sent yet; the next start sends them, as far back as its --past-h reaches.",
            counted(waiting, "measurement")
        ));
    }
    if missed > 0 {
        screen.say(&format!(
            "{} were never sent: stations without a memory have no past to send. No gateway can know of them.",
            counted(missed, "measurement")
        ));
    }
    Ok(ended)
}

/// All that runs while the demo lives.
struct Run<'a> {
    gateway: &'a ServedGateway,
    devices: &'a Devices,
    feed: &'a FeedWatch,
    meter: Meter,
    plan: &'a CityPlan,
    messages_max: u64,
}

impl Run<'_> {
    /// Shows what goes on until the end; true where the directory has its most messages by then.
    fn live(
        mut self,
        arguments: &DemoArguments,
        stop: &Receiver<Signal>,
        screen: &mut Screen<'_>,
    ) -> Result<bool, Failure> {
        let view = self.gateway.view();
        let failed = self.gateway.failed();
        let ticks = tick(REFRESH);
        let mut events = self.devices.events.clone();
        let mut story = Story::new(self.plan.from_us, self.plan.stations);
        let live_max = arguments.duration_s.map(|seconds| Duration::from_secs(seconds.into()));
        let mut live_since: Option<Instant> = None;
        let mut is_full = false;
        loop {
            select! {
                recv(stop) -> _ => return Ok(is_full),
                recv(failed) -> failure => return Err(failure.unwrap_or_else(|_| ended_by_itself())),
                recv(ticks) -> _ => {
                    let phase = self.devices.phase();
                    story.tell(&phase, screen);
                    if phase == Phase::Live {
                        let since = *live_since.get_or_insert_with(Instant::now);
                        if live_max.is_some_and(|max| since.elapsed() >= max) {
                            return Ok(is_full);
                        }
                    }
                    self.meter.show(&phase.sentence(self.plan.stations), view.as_ref(), self.feed, screen);
                }
                recv(events) -> event => match event {
                    Ok(Event::Replayed { messages, took }) => {
                        let (messages, took_s) = (grouped(messages), took.as_secs_f64());
                        screen.say(&format!("{messages} recorded messages were acknowledged in {took_s:.1} s."));
                    }
                    Ok(Event::Full) => {
                        say_full(self.messages_max, live_max.is_some(), screen);
                        if live_max.is_some() {
                            return Ok(true);
                        }
                        is_full = true;
                        events = never();
                    }
                    Ok(Event::Failed(sentence)) => return Err(Failure::environment(sentence)),
                    Err(_) => return Err(Failure::environment("the simulated devices ended by a bug of the demo")),
                },
            }
        }
    }
}

/// Where an earlier run has just sent the past, a storm has little to keep.
fn say_short_storm(plan: &CityPlan, screen: &mut Screen<'_>) {
    let past_us = time::now_us() - plan.from_us;
    if past_us >= SHORT_STORM_US {
        return;
    }
    screen.say(&format!(
        "The storm will keep little: all that was measured until {} ago is sent already. For hours of it name a new directory \
         with --data-dir.",
        duration(past_us.unsigned_abs() / 1_000_000)
    ));
}

fn say_full(messages_max: u64, ends_now: bool, screen: &mut Screen<'_>) {
    let what_next = if ends_now { "" } else { " The gateway goes on until Ctrl-C." };
    screen.say(&format!(
        "This directory has its {} messages, the most that are compared at the end: the stations fall silent.{what_next} Remove the \
         directory, or name a new one with --data-dir, to begin anew.",
        grouped(messages_max)
    ));
}
