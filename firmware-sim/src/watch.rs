//! A subscriber: what a gateway publishes, handed over message by message.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, Incoming, MqttOptions, QoS};
use tokio::time::sleep;

use crate::client::{RunError, host_and_port};

/// How often it looks whether it is to stop.
const TICK: Duration = Duration::from_millis(50);
/// Before the next attempt to connect.
const RECONNECT_DELAY: Duration = Duration::from_millis(200);
/// Largest packet either way.
const PACKET_BYTES_MAX: usize = 1 << 20;
/// SUBSCRIBE and DISCONNECT that wait to be written.
const REQUESTS_MAX: usize = 4;

/// What to listen to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchConfig {
    /// `HOST:PORT`.
    pub broker: String,
    pub client_id: String,
    /// MQTT topic filter; subscribed with QoS 0.
    pub filter: String,
}

/// A message as it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    /// It was there before the subscription.
    pub retained: bool,
}

/// Listens on the calling thread, in a runtime of its own, until `stop`. A lost connection is opened again; what came
/// meanwhile is missed.
pub fn run(
    config: &WatchConfig,
    stop: &AtomicBool,
    each: &mut dyn FnMut(Watched<'_>),
) -> Result<(), RunError> {
    let (host, port) = host_and_port(&config.broker)?;
    let mut options = MqttOptions::new(&config.client_id, host, port);
    options.set_clean_session(true);
    options.set_keep_alive(Duration::from_secs(30));
    options.set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RunError::Runtime)?;
    runtime.block_on(async {
        let (client, mut event_loop) = AsyncClient::new(options, REQUESTS_MAX);
        while let Some(event) = next_event(&mut event_loop, stop).await {
            match event {
                Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                    client.try_subscribe(config.filter.as_str(), QoS::AtMostOnce)?;
                }
                Ok(Event::Incoming(Incoming::Publish(publish))) => each(Watched {
                    topic: &publish.topic,
                    payload: &publish.payload,
                    retained: publish.retain,
                }),
                Ok(_) => {}
                Err(_) => {
                    // The requests of the lost connection; the next one subscribes anew.
                    event_loop.clean();
                    event_loop.pending.clear();
                    sleep(RECONNECT_DELAY).await;
                }
            }
        }
        Ok(())
    })
}

/// `None`: it is to stop.
async fn next_event(event_loop: &mut EventLoop, stop: &AtomicBool) -> Option<Result<Event, ConnectionError>> {
    // rumqttc's poll may lose a packet when it is dropped half way, so it is kept until it has an answer.
    let mut poll = std::pin::pin!(event_loop.poll());
    loop {
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        tokio::select! {
            biased;
            event = &mut poll => return Some(event),
            () = sleep(TICK) => {}
        }
    }
}
