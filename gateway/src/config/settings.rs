//! Every setting of the gateway, each defined once.

use std::net::SocketAddr;
use std::path::PathBuf;

use codecs::property_catalogue::Domain;

use super::error::Problem;
use super::kind::{
    Kind, blocks, directory, integer, list, loopback_address, optional_directory, optional_file,
};
use super::load::Reader;
use crate::log::{FRAME_HEADER_LEN, RECORD_HEADER_LEN};
use crate::record::{CONTROL_HEAD_LEN, MESSAGE_HEAD_LEN, REFUSED_BYTES_MAX};
use crate::retention::RetentionSpans;
use crate::rules::{Pattern, RULES_MAX, RankRule};

const HOUR_US: i64 = 3_600_000_000;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Longest agency code in bytes: 64 characters of any script.
const AGENCY_BYTES_MAX: usize = 256;
/// What the headers of a frame and of its first record take, generously.
const FRAME_ROOM_BYTES: usize = 4096;

const _: () = assert!(
    FRAME_HEADER_LEN
        + RECORD_HEADER_LEN
        + CONTROL_HEAD_LEN
        + REFUSED_BYTES_MAX
        + MESSAGE_HEAD_LEN
        + AGENCY_BYTES_MAX
        < FRAME_ROOM_BYTES
);

/// One part of the configuration.
#[derive(Clone, Debug)]
pub struct Section {
    /// Empty for the settings that stand before the first section.
    pub name: &'static str,
    /// Markdown, one line of text per line of the doc comment, each with a leading space.
    pub doc: &'static str,
    pub settings: Vec<Setting>,
}

/// What is known about a setting beside its value.
#[derive(Clone, Debug)]
pub struct Setting {
    pub section: &'static str,
    pub key: &'static str,
    pub doc: &'static str,
    /// As written in TOML.
    pub default: String,
    /// Type and limits in words.
    pub expected: String,
}

impl Setting {
    /// `mqtt.listen`, or `data_dir`.
    pub fn path(&self) -> String {
        if self.section.is_empty() { self.key.to_owned() } else { format!("{}.{}", self.section, self.key) }
    }
}

fn setting<T>(section: &'static str, key: &'static str, doc: &'static str, kind: &Kind<T>) -> Setting {
    Setting { section, key, doc, default: kind.default_toml.clone(), expected: kind.expected.clone() }
}

settings! {
    /// The validated configuration of one gateway.
    config {
        /// Directory of everything the gateway keeps; it is made if it is missing. One gateway at a time may use it.
        data_dir: PathBuf = directory("sensor-gateway-data");
    }

    /// The MQTT front end: the listener and what a client can make grow.
    mqtt: Mqtt {
        /// Address of the MQTT listener (3.1.1 and 5.0 over TCP). Port 0 takes a free one.
        listen: SocketAddr = loopback_address(1883);
        /// Threads that serve connections. 0 takes half the cores, at least one.
        shards: usize = integer(0, 0..=256);
        /// Largest packet that a client may send, header included.
        packet_bytes_max: usize = integer(256 << 10, 1 << 10..=16 << 20);
        /// Receive Maximum that the gateway announces: QoS 1 and 2 messages of one client that may wait for their acknowledgement.
        receive_max: u16 = integer(1024, 1..=65_535);
        /// Longest Keep Alive; a client that asks for more, or for none, gets this one. 0 takes whatever the client wants.
        keep_alive_s_max: u16 = integer(0, 0..=65_535);
        /// Connections that may be open at once.
        connections_max: usize = integer(100_000, 1..=10_000_000);
        /// Time from the TCP connection to a whole CONNECT packet.
        connect_timeout_ms: u64 = integer(10_000, 100..=600_000);
        /// What may wait for one subscriber, sent and unsent bytes together; a subscriber that needs more is cut off.
        session_queue_bytes_max: usize = integer(1 << 20, 64 << 10..=1 << 30);
        /// Incomplete packets of all connections of a shard together.
        partial_bytes_max: usize = integer(64 << 20, 1 << 20..=16 << 30);
        /// PUBLISH packets of one connection that may wait in memory while the journal is full; beyond, the connection is not read for some seconds, then what waits is refused (5.0: PUBACK with reason 0x97; 3.1.1: the connection is closed without PUBACK). Nothing of it was acknowledged.
        hold_bytes_max: usize = integer(256 << 10, 0..=1 << 30);
        /// The same for all connections of a shard together.
        hold_pool_bytes_max: usize = integer(64 << 20, 0..=16 << 30);
        /// How long a PUBLISH may wait for the journal before it is refused in the same way.
        hold_ms_max: u64 = integer(15_000, 100..=86_400_000);
        /// Wills of all clients of a shard together; a CONNECT that would go beyond is refused.
        will_bytes_max: usize = integer(64 << 20, 0..=16 << 30);
        /// Longest client identifier.
        client_id_bytes_max: usize = integer(256, 23..=4096);
        /// Longest topic name and topic filter.
        topic_bytes_max: usize = integer(1024, 64..=65_535);
        /// Subscriptions of one client.
        subscriptions_per_client_max: usize = integer(100, 1..=100_000);
        /// Retained messages of clients, all together (the feeds' retained values do not count).
        retained_messages_max: usize = integer(100_000, 0..=10_000_000);
        /// Topics and payloads of those retained messages.
        retained_bytes_max: usize = integer(64 << 20, 0..=16 << 30);
    }

    /// Health, metrics and the query interface.
    http: Http {
        /// Address of the HTTP listener. Port 0 takes a free one.
        listen: SocketAddr = loopback_address(8080);
        /// How long the gateway may work on one question before it gives up; streams have as long for their first bytes.
        question_ms_max: u64 = integer(10_000, 10..=100_000);
        /// Listeners to `/api/v1/events` at once. Each holds one of HTTP's connections: an eighth of the open files allowed (`ulimit -n`), 16 to 128.
        event_listeners_max: usize = integer(32, 0..=100);
    }

    /// What the HTTP interface says.
    api: Api {
        /// Age of a station's newest observation up to which the station is "fresh".
        fresh_max_s: u32 = integer(900, 1..=31_536_000);
        /// Age up to which it is "late"; beyond, it is "silent".
        late_max_s: u32 = integer(7_200, 1..=31_536_000);
    }

    /// The console, a web page at the HTTP address.
    console: Console {
        /// Directory whose files are served under `/map/` in place of the map data that are built in (same names: `land.geojson`, `rivers.geojson`, `districts.geojson`, `README.md`, `licences/…`). Empty = the built-in ones.
        map_dir: PathBuf = optional_directory();
    }

    /// What the operator says about agencies and stations: UTF-8 CSV files, read at start.
    things: Things {
        /// Stations: `agency,station,name,name_en,commune,latitude,longitude`. Empty = none.
        stations_file: PathBuf = optional_file();
        /// Agencies: `agency,name,name_en`. Empty = none.
        agencies_file: PathBuf = optional_file();
    }

    /// The journal of raw messages and the observation log.
    journal: Journal {
        /// Shortest time between two syncs while little is waiting: more messages share one sync, and acknowledgements come later by as much. 0 gives the lowest latency.
        sync_gap_us: u64 = integer(1_000, 0..=1_000_000);
        /// Size of a segment file of the journal. One of the observation log holds four of its frames (2 MiB and four `mqtt.packet_bytes_max` each: 12 MiB with the default) and is larger where this is smaller than that.
        segment_bytes_max: u64 = blocks(64 * MIB, 4 * MIB..=GIB);
        /// Largest frame, which is what one sync makes durable.
        frame_bytes_max: u64 = blocks(MIB, 64 * KIB..=64 * MIB);
        /// All segments of one log together; beyond, the gateway stops acknowledging until space is released.
        log_bytes_max: u64 = blocks(16 * GIB, 64 * MIB..=64 * 1024 * GIB);
    }

    /// From messages to observations.
    pipeline: Pipeline {
        /// How far before its receive time a reading may lie; older ones are quarantined.
        backfill_max_days: u32 = integer(7_305, 1..=36_500);
        /// How far after its receive time a reading may lie; later ones are quarantined.
        clock_skew_max_s: u32 = integer(300, 0..=86_400);
        /// Stations that may register themselves for one agency.
        stations_per_agency_max: u32 = integer(100_000, 1..=10_000_000);
        /// Datastreams that may register themselves for one station.
        datastreams_per_station_max: u32 = integer(1_000, 1..=1_000_000);
        /// Datastreams of the whole gateway.
        datastreams_max: u32 = integer(1_000_000, 1..=100_000_000);
        /// Client names that the gateway keeps apart in its books.
        clients_max: u32 = integer(1_000_000, 1..=100_000_000);
        /// Undated messages that a re-send is recognised among.
        resend_window: usize = integer(65_536, 0..=16_777_216);
        /// How much the word of a client weighs: the first rule whose pattern fits the client identifier gives the rank, without one it is 0. Under one datastream and time the highest rank is in force, then the latest; a lower rank that says something else is `outranked`: counted, not stored. `["operator-* = 30", "archive = 20"]` expresses operator > text file, the legal record > live MQTT. `*` stands for any characters. A client chooses its identifier itself: while there are no logins, whoever can connect can take a rank.
        ranks: Vec<RankRule> = list("`client pattern = rank` with ranks from 0 to 255", RULES_MAX);
        /// Datastreams (patterns of `{agency}/{station}/{property}`) whose different readings of one time are all kept, each with an ordinal of its own, where others take the later one for a correction: 10 Hz readings with stamps of whole seconds. A reading with the value and `seq` of an earlier one of that time is a re-send; without `seq` the value alone decides, since a repetition looks like a re-send. Ranks decide nothing there.
        same_time_keep: Vec<Pattern> = list("a pattern each", RULES_MAX);
    }

    /// The embedded store of observations.
    store: Store {
        /// Longest time until new rows lie in a store file.
        flush_interval_ms: u64 = integer(10_000, 100..=3_600_000);
        /// New rows that are flushed at once, however young they are.
        flush_rows_max: usize = integer(500_000, 1_000..=10_000_000);
        /// Rows that may wait in memory; beyond, the pipeline waits for the store.
        rows_in_memory_max: usize = integer(2_000_000, 10_000..=100_000_000);
        /// Late rows that may wait to be compared with what is stored.
        late_rows_max: usize = integer(1_000_000, 1_000..=100_000_000);
    }

    /// How long observations are kept, in days of their phenomenonTime by the domain of their property. 0 = for ever. What is older is not shown any more, goes from the disk a little later, and is not taken in again.
    retention: Retention {
        /// Observations of the domain `disaster`.
        disaster_days: u32 = integer(0, 0..=36_500);
        /// Observations of the domain `environment`.
        environment_days: u32 = integer(0, 0..=36_500);
        /// Observations of the domain `greenery`.
        greenery_days: u32 = integer(0, 0..=36_500);
        /// Observations of the domain `lighting`.
        lighting_days: u32 = integer(0, 0..=36_500);
        /// Observations of properties that no catalogue knows.
        other_days: u32 = integer(0, 0..=36_500);
        /// Observations of the domain `safety`.
        safety_days: u32 = integer(0, 0..=36_500);
        /// Observations of the domain `traffic`.
        traffic_days: u32 = integer(0, 0..=36_500);
        /// Observations of the domain `water`.
        water_days: u32 = integer(0, 0..=36_500);
        /// Hours of the books, in days of their receive time: older closed hours go, their sums and the digest of the last one stay. 0 = for ever.
        books_days: u32 = integer(0, 0..=36_500);
        /// The machine's clock may be so much further than time has passed since the last commit, a stop of the gateway included; further ahead nothing expires by it (state `clock_leapt`). Receive times do not follow a clock that is as far behind. Raise it for one start behind a long stop, if the clock is right.
        clock_leap_max_hours: u32 = integer(24, 1..=876_000);
    }

    /// What could not be decoded, kept with its reason.
    quarantine: Quarantine {
        /// Quarantined payloads, reasons and topics together. Nothing that was acknowledged is dropped: while it is full, clients that have added to it may publish nothing more under `obs/`.
        bytes_max: u64 = integer(GIB, MIB..=1024 * GIB);
        /// What one client may have in quarantine; beyond, what it publishes under `obs/` is refused before it is acknowledged. Others notice nothing.
        client_bytes_max: u64 = integer(64 * MIB, 4 * KIB..=1024 * GIB);
    }

    /// The books: what became of every message and every reading.
    books: Books {
        /// Rows (agency, client, station) that one hour keeps apart; what finds no room is counted under "(other)".
        keys_per_hour_max: usize = integer(10_000, 1..=1_000_000);
    }
}

impl Config {
    /// What one setting alone can't show.
    pub(super) fn check_together(&self, reader: &Reader<'_>) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut refuse =
            |key: &str, sentence: String| problems.push(Problem { origin: reader.origin(key), sentence });
        let message_bytes =
            (self.mqtt.packet_bytes_max + self.mqtt.client_id_bytes_max + FRAME_ROOM_BYTES) as u64;
        if self.journal.frame_bytes_max < message_bytes {
            refuse(
                "journal.frame_bytes_max",
                format!(
                    "a frame of {} bytes can't hold the largest packet: with mqtt.packet_bytes_max = {} it must have \
                     {message_bytes} bytes at least",
                    self.journal.frame_bytes_max, self.mqtt.packet_bytes_max
                ),
            );
        }
        if self.journal.segment_bytes_max < 4 * self.journal.frame_bytes_max {
            refuse(
                "journal.segment_bytes_max",
                format!(
                    "a segment must hold four frames: with journal.frame_bytes_max = {} it must have {} bytes at least",
                    self.journal.frame_bytes_max,
                    4 * self.journal.frame_bytes_max
                ),
            );
        }
        if self.journal.log_bytes_max < 4 * self.journal.segment_bytes_max {
            refuse(
                "journal.log_bytes_max",
                format!(
                    "a log must hold four segments: with journal.segment_bytes_max = {} it must have {} bytes at least",
                    self.journal.segment_bytes_max,
                    4 * self.journal.segment_bytes_max
                ),
            );
        }
        let log_bytes_min = 4 * self.observation_segment_bytes();
        if self.journal.log_bytes_max >= 4 * self.journal.segment_bytes_max
            && self.journal.log_bytes_max < log_bytes_min
        {
            refuse(
                "journal.log_bytes_max",
                format!(
                    "the observation log must hold four segments of four of its frames: with mqtt.packet_bytes_max = {} it \
                     must have {log_bytes_min} bytes at least",
                    self.mqtt.packet_bytes_max
                ),
            );
        }
        if self.mqtt.session_queue_bytes_max < self.mqtt.packet_bytes_max {
            refuse(
                "mqtt.session_queue_bytes_max",
                format!(
                    "a subscriber's queue must hold the largest packet: mqtt.packet_bytes_max is {}",
                    self.mqtt.packet_bytes_max
                ),
            );
        }
        if self.api.late_max_s < self.api.fresh_max_s {
            refuse(
                "api.late_max_s",
                format!("it must be at least api.fresh_max_s, which is {}", self.api.fresh_max_s),
            );
        }
        if self.store.rows_in_memory_max < self.store.flush_rows_max {
            refuse(
                "store.rows_in_memory_max",
                format!("it must be at least store.flush_rows_max, which is {}", self.store.flush_rows_max),
            );
        }
        problems
    }

    /// Largest observation frame: what closes a frame (1 MiB), one message of the largest size behind it, quarantined and
    /// retained at once, and its rows, texts and definitions (at most 1,024 readings).
    pub fn observation_frame_bytes_max(&self) -> u64 {
        self.observation_frame_bytes_max_of(MIB)
    }

    /// The same for frames that are closed at another size.
    pub fn observation_frame_bytes_max_of(&self, frame_bytes: u64) -> u64 {
        (2 * frame_bytes + 4 * self.mqtt.packet_bytes_max as u64)
            .next_multiple_of(crate::disk::BLOCK_BYTES as u64)
    }

    /// A segment of the observation log holds four of its frames.
    pub fn observation_segment_bytes(&self) -> u64 {
        self.journal.segment_bytes_max.max(4 * self.observation_frame_bytes_max())
    }
}

impl Retention {
    pub fn clock_leap_max_us(&self) -> i64 {
        i64::from(self.clock_leap_max_hours) * HOUR_US
    }

    /// How far the machine's clock may be behind the time of retention. An undated reading that gets such a time is kept for half of
    /// its time still, whatever slack ahead an operator allows.
    pub fn clock_apart_max_us(&self) -> i64 {
        self.clock_leap_max_us().min(self.spans().shortest_us() / 2)
    }

    pub fn spans(&self) -> RetentionSpans {
        RetentionSpans::of_days(|domain| match domain {
            Domain::Disaster => self.disaster_days,
            Domain::Environment => self.environment_days,
            Domain::Greenery => self.greenery_days,
            Domain::Lighting => self.lighting_days,
            Domain::Other => self.other_days,
            Domain::Safety => self.safety_days,
            Domain::Traffic => self.traffic_days,
            Domain::Water => self.water_days,
        })
    }
}

impl Mqtt {
    /// `shards`, or half the cores where it is 0.
    pub fn shard_count(&self) -> usize {
        match self.shards {
            0 => std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)),
            shards => shards,
        }
    }
}
