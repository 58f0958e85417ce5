//! A1-8: every setting is defined once; errors name file, line, key and what was expected.

use std::path::Path;

use super::{Config, Sources, example, load, reference, sections};

fn of_file(text: &str) -> Sources {
    Sources { file: Some(("gateway.toml".to_owned(), text.to_owned())), ..Sources::default() }
}

fn of_set(assignments: &[&str]) -> Sources {
    Sources { set: assignments.iter().map(|text| (*text).to_owned()).collect(), ..Sources::default() }
}

fn errors(sources: &Sources) -> String {
    load(sources).expect_err("it is wrong").to_string()
}

#[test]
fn nothing_given_is_the_default() {
    assert_eq!(load(&Sources::default()), Ok(Config::default()));
    assert_eq!(load(&of_file("# nothing\n[mqtt]\n")), Ok(Config::default()));
    let config = Config::default();
    assert_eq!(config.mqtt.listen.to_string(), "127.0.0.1:1883");
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.journal.sync_gap_us, 1000);
    assert!(config.mqtt.shard_count() >= 1);
}

#[test]
fn values_of_a_file_are_read() {
    let config = load(&of_file(
        "data_dir = \"/var/lib/gateway\"\n\
         mqtt.listen = \"[::1]:0\"\n\
         [journal]\nsync_gap_us = 0\nsegment_bytes_max = 0x800_0000\n\
         [pipeline]\nbackfill_max_days = 10\n",
    ))
    .unwrap();
    assert_eq!(config.data_dir, Path::new("/var/lib/gateway"));
    assert_eq!(config.mqtt.listen.to_string(), "[::1]:0");
    assert_eq!((config.journal.sync_gap_us, config.journal.segment_bytes_max), (0, 128 << 20));
    assert_eq!(config.pipeline.backfill_max_days, 10);
}

#[test]
fn errors_of_a_file_name_file_line_key_and_what_was_expected() {
    for (text, expected) in [
        (
            "\n\n[mqtt]\nlisten = \"localhost\"\n",
            "gateway.toml:4: mqtt.listen: expected an address like \"127.0.0.1:1883\", found \"localhost\"",
        ),
        (
            "[mqtt]\nlisten = 1883",
            "gateway.toml:2: mqtt.listen: expected an address like \"127.0.0.1:1883\", found 1883",
        ),
        (
            "[mqtt]\nreceive_max = 0",
            "gateway.toml:2: mqtt.receive_max: expected a whole number from 1 to 65535, found 0",
        ),
        (
            "[mqtt]\n# more\nreceive_max = \"1024\"",
            "gateway.toml:3: mqtt.receive_max: expected a whole number from 1 to 65535, found \"1024\"",
        ),
        (
            "[mqtt]\nreceive_max = 1.5",
            "gateway.toml:2: mqtt.receive_max: expected a whole number from 1 to 65535, found 1.5",
        ),
        (
            "[journal]\nsync_gap_us = -1",
            "gateway.toml:2: journal.sync_gap_us: expected a whole number from 0 to 1000000, found -1",
        ),
        (
            "[journal]\nsync_gap_us = 99999999999999999999999999999999999999999",
            "gateway.toml:2: journal.sync_gap_us: expected a whole number from 0 to 1000000, \
             found 99999999999999999999999999999999999999999",
        ),
        (
            "[journal]\nframe_bytes_max = 1048577",
            "gateway.toml:2: journal.frame_bytes_max: expected a multiple of 4096 from 65536 to 67108864, found 1048577",
        ),
        ("data_dir = \"\"", "gateway.toml:1: data_dir: expected the path of a directory, found \"\""),
        ("data_dir = [1,\n2]", "gateway.toml:1: data_dir: expected the path of a directory, found [1,…"),
        ("mqtt = 1", "gateway.toml:1: mqtt: expected a section [mqtt] with settings in it"),
        (
            "[mqtt]\nlisten_on = 1",
            "gateway.toml:2: mqtt.listen_on: unknown setting; did you mean mqtt.listen?",
        ),
        (
            "[mqtt]\nsync_gap_us = 1",
            "gateway.toml:2: mqtt.sync_gap_us: unknown setting; did you mean journal.sync_gap_us?",
        ),
        ("datadir = \"x\"", "gateway.toml:1: datadir: unknown setting; did you mean data_dir?"),
        ("xyz = 1", "gateway.toml:1: xyz: unknown setting; `sensor-gateway config reference` lists all"),
        ("\n[mqqt]\nlisten = 1", "gateway.toml:2: mqqt: unknown section; did you mean mqtt?"),
        ("[[mqtt]]", "gateway.toml:1: mqtt: expected a section [mqtt] with settings in it"),
        (
            "[mqtt]\nlisten = \"0.0.0.0:1883\"",
            "gateway.toml:2: mqtt.listen: other machines could reach 0.0.0.0:1883, and this build has no authentication \
             yet: listen on 127.0.0.1 or [::1]",
        ),
    ] {
        assert_eq!(errors(&of_file(text)), expected, "{text}");
    }
    // The limits that are documented are those that are checked, also beyond 32 bits.
    let told = errors(&of_set(&["mqtt.partial_bytes_max=0"]));
    assert_eq!(
        told,
        "--set mqtt.partial_bytes_max: expected a whole number from 1048576 to 17179869184, found \"0\""
    );
    assert!(reference().contains("| a whole number from 1048576 to 17179869184 |"));
    let syntax = errors(&of_file("[mqtt]\nlisten = \n"));
    assert!(syntax.starts_with("gateway.toml:2: not valid TOML: ") && !syntax.contains('\n'), "{syntax}");
    let twice = errors(&of_file("[mqtt]\nshards = 1\nshards = 2\n"));
    assert!(twice.starts_with("gateway.toml:3: not valid TOML: "), "{twice}");
}

#[test]
fn all_that_is_wrong_is_told_from_the_top() {
    let text = "[store]\nflush_interval_ms = 1\n[mqtt]\nwrong = 1\nlisten = \"x\"\n";
    let told = errors(&of_file(text));
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 3, "{told}");
    assert!(lines.iter().any(|line| line.starts_with("gateway.toml:2: store.flush_interval_ms: expected")));
    assert!(lines.iter().any(|line| line.starts_with("gateway.toml:4: mqtt.wrong: unknown setting")));
    assert!(lines.iter().any(|line| line.starts_with("gateway.toml:5: mqtt.listen: expected")));
}

#[test]
fn other_origins_are_named() {
    assert_eq!(
        errors(&of_set(&["mqtt.listen=localhost"])),
        "--set mqtt.listen: expected an address like \"127.0.0.1:1883\", found \"localhost\""
    );
    assert_eq!(
        errors(&of_set(&["mqtt.recieve_max=1"])),
        "--set mqtt.recieve_max: unknown setting; did you mean mqtt.receive_max?"
    );
    assert_eq!(errors(&of_set(&["mqtt.listen"])), "--set: expected section.key=value, found \"mqtt.listen\"");
    let environment = |variable: &str, value: &str| Sources {
        environment: vec![(variable.to_owned(), value.to_owned())],
        ..Sources::default()
    };
    assert_eq!(
        errors(&environment("SENSOR_GATEWAY_JOURNAL__SYNC_GAP_US", "fast")),
        "SENSOR_GATEWAY_JOURNAL__SYNC_GAP_US: expected a whole number from 0 to 1000000, found \"fast\""
    );
    assert_eq!(
        errors(&environment("SENSOR_GATEWAY_MQTT__LISTN", "x")),
        "SENSOR_GATEWAY_MQTT__LISTN: unknown setting; did you mean mqtt.listen?"
    );
    for foreign in ["SENSOR_GATEWAY_LOG", "SENSOR_GATEWAY_SERVICE_HOST", "OTHER__KEY", "SENSOR_GATEWAY_"] {
        assert_eq!(load(&environment(foreign, "x")), Ok(Config::default()), "{foreign}");
    }
    let option =
        Sources { options: vec![("--mqtt-listen", "mqtt.listen", "1883".to_owned())], ..Sources::default() };
    assert_eq!(errors(&option), "--mqtt-listen: expected an address like \"127.0.0.1:1883\", found \"1883\"");
}

#[test]
fn later_sources_win_and_earlier_ones_are_checked_all_the_same() {
    let mut sources = of_file("[mqtt]\nshards = 1\nreceive_max = 1\n[http]\nlisten = \"127.0.0.1:1\"\n");
    let shards = |sources: &Sources| load(sources).unwrap().mqtt.shards;
    assert_eq!(shards(&sources), 1);
    sources.environment.push(("SENSOR_GATEWAY_MQTT__SHARDS".to_owned(), "2".to_owned()));
    assert_eq!(shards(&sources), 2);
    sources.set.push("mqtt.shards=3".to_owned());
    assert_eq!(shards(&sources), 3);
    sources.set.push(" mqtt.shards = 4".to_owned());
    sources.set.push("http.listen=\"127.0.0.1:2\"".to_owned());
    assert_eq!(shards(&sources), 4);
    assert_eq!(load(&sources).unwrap().http.listen.port(), 2);
    sources.options.push(("--http-listen", "http.listen", "127.0.0.1:3".to_owned()));
    assert_eq!(load(&sources).unwrap().http.listen.port(), 3);
    assert_eq!(load(&sources).unwrap().mqtt.receive_max, 1);

    sources.environment.push(("SENSOR_GATEWAY_HTTP__LISTEN".to_owned(), "nowhere".to_owned()));
    assert!(errors(&sources).starts_with("SENSOR_GATEWAY_HTTP__LISTEN: "));
}

/// P7: without authentication nobody listens beyond this machine.
#[test]
fn only_loopback_may_be_listened_on() {
    for address in ["0.0.0.0:1883", "[::]:1883", "192.168.1.10:1883", "[::ffff:10.0.0.1]:1883"] {
        for key in ["mqtt.listen", "http.listen"] {
            let told = errors(&of_set(&[&format!("{key}={address}")]));
            assert!(told.contains("no authentication yet") && !told.contains('\n'), "{told}");
        }
    }
    for address in ["127.0.0.1:0", "127.3.4.5:1", "[::1]:1883", "[::ffff:127.0.0.1]:1"] {
        load(&of_set(&[&format!("mqtt.listen={address}")])).unwrap();
    }
}

#[test]
fn settings_that_do_not_fit_together_are_refused() {
    assert_eq!(
        errors(&of_file("[mqtt]\npacket_bytes_max = 1048576\n")),
        "journal.frame_bytes_max (by default): a frame of 1048576 bytes can't hold the largest packet: with \
         mqtt.packet_bytes_max = 1048576 it must have 1052928 bytes at least"
    );
    let told = errors(&of_set(&["journal.frame_bytes_max=33554432"]));
    assert!(
        told.starts_with("journal.segment_bytes_max (by default): a segment must hold four frames"),
        "{told}"
    );
    let told = errors(&of_set(&["journal.log_bytes_max=67108864"]));
    assert!(told.starts_with("--set journal.log_bytes_max: a log must hold four segments"), "{told}");
    // The journal's own segments would fit (A1-4: a configuration that passes starts).
    let large_packets = ["mqtt.packet_bytes_max=8388608", "journal.frame_bytes_max=16777216"];
    let told = errors(&of_set(
        &[&large_packets[..], &["mqtt.session_queue_bytes_max=8388608", "journal.log_bytes_max=268435456"]]
            .concat(),
    ));
    assert!(
        told.starts_with("--set journal.log_bytes_max: the observation log must hold four segments"),
        "{told}"
    );
    let told = errors(&of_set(&["mqtt.session_queue_bytes_max=65536"]));
    assert!(told.starts_with("--set mqtt.session_queue_bytes_max: a subscriber's queue must hold"), "{told}");
    let told = errors(&of_set(&["store.rows_in_memory_max=10000"]));
    assert!(
        told.starts_with("--set store.rows_in_memory_max: it must be at least store.flush_rows_max"),
        "{told}"
    );
}

/// Each default is a valid value of its own setting, from the file and from the command line.
#[test]
fn defaults_are_valid_where_they_are_typed() {
    for setting in sections().iter().flat_map(|section| &section.settings) {
        let (path, default) = (setting.path(), &setting.default);
        assert_eq!(load(&of_file(&format!("{path} = {default}"))), Ok(Config::default()), "{path}");
        assert_eq!(load(&of_set(&[&format!("{path}={default}")])), Ok(Config::default()), "{path}");
        assert!(!setting.doc.trim().is_empty(), "{path} has no text");
    }
}

/// The example as it stands, and with every setting taken out of its comment.
#[test]
fn the_example_is_valid_and_complete() {
    let text = example();
    assert_eq!(load(&of_file(&text)), Ok(Config::default()));
    let mut uncommented = 0;
    let active: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ").filter(|rest| rest.contains(" = ")) {
            Some(setting) => {
                uncommented += 1;
                format!("{setting}\n")
            }
            None => format!("{line}\n"),
        })
        .collect();
    assert_eq!(load(&of_file(&active)), Ok(Config::default()), "{active}");
    assert_eq!(uncommented, sections().iter().map(|section| section.settings.len()).sum::<usize>());
}

#[test]
fn the_generated_pages_are_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (path, command, page) in [
        ("docs/reference/config.md", "config reference", reference()),
        ("deploy/sensor-gateway.example.toml", "config example", example()),
    ] {
        let kept = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        assert!(kept == page, "{path} is stale: write it anew with `sensor-gateway {command} > {path}`");
    }
}
